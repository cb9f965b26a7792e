"""What a server can be measured by, beside what it counts: one figure, or one for each of several things.

Servers answer with these when they are asked, in either world; where the answer goes is not their business. In the real
world it is served to Prometheus (`runtime/real/metrics.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that rises and falls. `values` has one for each value of `label`; a figure without a label stands alone
    under "". `text` says in words what it is."""

    name: str
    text: str
    values: Mapping[str, float]
    label: str = ""
