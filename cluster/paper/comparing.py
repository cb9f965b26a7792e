"""Ours beside the paper's. Pure.

>>> rows = compare(Curve("writes", 0.05, {1: 6.32, 2: 12.0}))
>>> [(row.clients, round(row.deviation, 3), row.is_within) for row in rows]
[(1, 0.0, True), (2, 0.109, True)]
"""

from dataclasses import dataclass

from cluster.paper.printed import BARS, FIGURE_3, limit
from cluster.paper.throughput import Curve


@dataclass(frozen=True, slots=True)
class Row:
    """One point: MB/s. `is_within` is None where only the shape is looked at."""

    kind: str
    clients: int
    ours: float
    papers: float
    limit: float
    is_within: bool | None

    @property
    def deviation(self) -> float:
        """How far ours is from the paper's, as a part of the paper's."""
        return self.ours / self.papers - 1


def compare(curve: Curve) -> list[Row]:
    """Every point of a curve beside the paper's."""
    bar = BARS[curve.kind]
    rows = []
    for clients, ours in sorted(curve.rates.items()):
        papers = FIGURE_3[curve.kind][clients - 1]
        is_within = None if bar is None else abs(ours / papers - 1) <= bar
        rows.append(Row(curve.kind, clients, ours, papers, limit(curve.kind, clients), is_within))
    return rows
