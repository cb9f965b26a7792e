"""How benchmarks print: one table a run, with the medians of several rounds and what they are compared with."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Row:
    """One thing measured: figures of each contestant, one a round, higher is better."""

    what: str
    unit: str
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, contestant: str, figure: float) -> None:
        """Note the figure of one round."""
        self.figures.setdefault(contestant, []).append(figure)

    def median(self, contestant: str) -> float | None:
        """The middle of the rounds; None if it was not measured."""
        found = self.figures.get(contestant)
        return statistics.median(found) if found else None


def machine() -> str:
    """The machine in a line, as far as the platform tells."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, CPython {platform.python_version()}"


def table(rows: Sequence[Row], contestants: Sequence[str], ratios: Sequence[tuple[str, str]] = ()) -> str:
    """A Markdown table of the medians; `ratios`: of whose to whose."""
    head = ["", *contestants, *(f"{mine} / {theirs}" for mine, theirs in ratios)]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for row in rows:
        cells = [_cell(row.median(contestant), row.unit) for contestant in contestants]
        found = [_ratio(row.median(mine), row.median(theirs)) for mine, theirs in ratios]
        lines.append("| " + " | ".join([row.what, *cells, *found]) + " |")
    return "\n".join(lines)


def _ratio(mine: float | None, theirs: float | None) -> str:
    return f"{mine / theirs:.2f}" if mine and theirs else "-"


def _cell(figure: float | None, unit: str) -> str:
    if figure is None:
        return "-"
    number = f"{figure:,.0f}" if figure >= 10 else f"{figure:.1f}" if figure >= 1 else f"{figure:.2g}"
    return f"{number} {unit}".rstrip()
