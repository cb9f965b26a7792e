"""How the tablet engine's figures grow with the number of rows: as tables, and as a picture.

Every panel of the picture has the rows on a logarithmic axis and the figure on a linear one that begins at 0.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.tablet_workload import (
    ABSENT,
    ABSENT_BLOCKS,
    COLD,
    FILES,
    MEMORY,
    REOPEN,
    SCAN,
    SETTLED,
    SPACE,
    WARM,
    WRITTEN,
    Measured,
)

Found = Mapping[tuple[str, int], Measured]
"""What was measured, by contestant and rows."""


@dataclass(frozen=True, slots=True)
class Column:
    """One figure: how it is called, how it is taken from what was measured, and its digits behind the point."""

    title: str
    figure: Callable[[Measured], float | None]
    digits: int = 0

    def text(self, measured: Measured) -> str:
        """The figure, for people."""
        figure = self.figure(measured)
        return "-" if figure is None else f"{figure:,.{self.digits}f}"


def _rate(what: str) -> Callable[[Measured], float | None]:
    return lambda measured: measured.rates.get(what)


def _cost(what: str) -> Callable[[Measured], float | None]:
    return lambda measured: measured.costs.get(what)


def _reopening(measured: Measured) -> float | None:
    return 1000 / measured.rates[REOPEN] if REOPEN in measured.rates else None


COLUMNS = (
    Column("random writes /s, background work included", _rate(SETTLED)),
    Column("random reads /s", _rate(COLD)),
    Column("the same, within the cache /s", _rate(WARM)),
    Column("absent keys /s", _rate(ABSENT)),
    Column("scan, rows/s", _rate(SCAN)),
    Column("reopening and a first read, ms", _reopening, 1),
    Column("write amplification", _cost(WRITTEN), 2),
    Column("space amplification", _cost(SPACE), 2),
    Column("sorted files a read may ask", _cost(FILES)),
    Column("blocks per 100 absent keys", _cost(ABSENT_BLOCKS), 1),
    Column("peak memory, MiB", _cost(MEMORY)),
)

PANELS = tuple(COLUMNS[place] for place in (0, 1, 4, 5, 6, 10))

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
_WIDTH, _PANEL_WIDTH, _PANEL_HEIGHT = 860, 330, 150
_LEFT, _TOP, _GAP_X, _GAP_Y = 80, 60, 90, 62


def growth_tables(found: Found) -> str:
    """A Markdown table for each contestant: a line for each number of rows."""
    parts = []
    for contestant in _contestants(found):
        lines = [f"**{contestant}**", ""]
        sizes = _sizes(found, contestant)
        lines.append("| rows | " + " | ".join(f"{rows:,}" for rows in sizes) + " |")
        lines.append("|---|" + "--:|" * len(sizes))
        for column in COLUMNS:
            cells = [column.text(found[contestant, rows]) for rows in sizes]
            if set(cells) != {"-"}:
                lines.append(f"| {column.title} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def picture(found: Found) -> str:
    """The growth as an SVG picture, a line for each contestant."""
    contestants = _contestants(found)
    height = _TOP + (len(PANELS) + 1) // 2 * (_PANEL_HEIGHT + _GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14" font-weight="bold">'
        "Growth with the number of rows (values of 1,000 bytes)</text>",
    ]
    for number, contestant in enumerate(contestants):
        x, colour = _LEFT + number * 130, COLOURS[number % len(COLOURS)]
        parts.append(f'<line x1="{x}" y1="36" x2="{x + 20}" y2="36" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 26}" y="40">{contestant}</text>')
    for number, column in enumerate(PANELS):
        left = _LEFT + number % 2 * (_PANEL_WIDTH + _GAP_X)
        top = _TOP + number // 2 * (_PANEL_HEIGHT + _GAP_Y)
        parts += _panel(found, contestants, column, left, top)
    return "\n".join([*parts, "</svg>", ""])


def _panel(found: Found, contestants: Sequence[str], column: Column, left: int, top: int) -> Iterator[str]:
    curves = {contestant: _curve(found, contestant, column) for contestant in contestants}
    sizes = sorted({rows for curve in curves.values() for rows, _ in curve})
    most = round_up(max((figure for curve in curves.values() for _, figure in curve), default=1))
    bottom = top + 16 + _PANEL_HEIGHT

    def across(rows: int) -> float:
        low, high = math.log(sizes[0]), math.log(sizes[-1])
        return left + _PANEL_WIDTH * ((math.log(rows) - low) / (high - low) if high > low else 0.5)

    yield f'<text x="{left}" y="{top + 8}">{column.title}</text>'
    for step in range(5):
        y = bottom - step * _PANEL_HEIGHT / 4
        yield f'<line x1="{left}" y1="{y:.1f}" x2="{left + _PANEL_WIDTH}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{_tick(most * step / 4)}</text>'
    for rows in sizes:
        yield f'<text x="{across(rows):.1f}" y="{bottom + 18}" text-anchor="middle">{_short(rows)}</text>'
    for number, contestant in enumerate(contestants):
        points = [(across(rows), bottom - _PANEL_HEIGHT * figure / most) for rows, figure in curves[contestant]]
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points)


def round_up(value: float) -> float:
    """A round number at or above.

    >>> round_up(3.2), round_up(640_000), round_up(0)
    (4.0, 800000.0, 1.0)
    """
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 4, 8, 10, 20) if power * factor >= value)


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _short(rows: int) -> str:
    return f"{rows / 1_000_000:g} M" if rows >= 1_000_000 else f"{rows / 1_000:g} k"


def _curve(found: Found, contestant: str, column: Column) -> list[tuple[int, float]]:
    curve = [(rows, column.figure(found[contestant, rows])) for rows in _sizes(found, contestant)]
    return [(rows, figure) for rows, figure in curve if figure is not None]


def _contestants(found: Found) -> list[str]:
    return list(dict.fromkeys(contestant for contestant, _ in sorted(found, key=lambda key: key[0] != "tabletop")))


def _sizes(found: Found, contestant: str) -> list[int]:
    return sorted(rows for name, rows in found if name == contestant)
