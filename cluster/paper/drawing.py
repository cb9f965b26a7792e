"""Figure 3 as SVG: our points, the paper's, and the network's limit. Pure.

>>> text = picture([Curve("writes", 0.05, {1: 6.3, 16: 38.0})])
>>> text.startswith("<svg"), text.count("<polyline"), text.count("<circle")
(True, 3, 2)
"""

from collections.abc import Iterator, Sequence
from math import ceil

from cluster.paper.printed import FIGURE_3, MOST_CLIENTS, limit
from cluster.paper.throughput import Curve

_WIDTH, _HEIGHT = 380, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 40, 46
_OURS, _PAPERS, _LIMIT = "#0969da", "#cf222e", "#8c959f"
_CLIENTS = range(1, MOST_CLIENTS + 1)
_LEGEND = ((_OURS, "ours"), (_PAPERS, "the paper's"), (_LIMIT, "the network's limit"))

Points = Sequence[tuple[int, float]]


def picture(curves: Sequence[Curve]) -> str:
    """The drawing, as the text of an SVG file: a panel for each curve."""
    width = _WIDTH * len(curves)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for number, curve in enumerate(curves):
        lines += [f'<g transform="translate({number * _WIDTH} 0)">', *_panel(curve), "</g>"]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(curve: Curve) -> Iterator[str]:
    limits = [(clients, limit(curve.kind, clients)) for clients in _CLIENTS]
    papers = list(zip(_CLIENTS, FIGURE_3[curve.kind], strict=True))
    ours = sorted(curve.rates.items())
    highest = max(rate for _, rate in (*limits, *papers, *ours))
    step = next(step for step in (2, 5, 10, 20, 25, 50, 100) if highest / step <= 7)
    top = step * ceil(highest / step)
    yield f'<text x="{_LEFT}" y="22" font-weight="bold">{curve.kind}, MB/s by number of clients</text>'
    for mark in range(0, top + 1, step):
        y = _down(mark, top)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dee4"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark}</text>'
    for clients in (1, 4, 8, 12, 16):
        yield f'<text x="{_across(clients):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{clients}</text>'
    yield _line(limits, top, _LIMIT, dashes="5 4")
    yield _line(papers, top, _PAPERS)
    yield _line(ours, top, _OURS)
    for clients, rate in ours:
        yield f'<circle cx="{_across(clients):.1f}" cy="{_down(rate, top):.1f}" r="3" fill="{_OURS}"/>'
    for number, (colour, words) in enumerate(_LEGEND):
        x = _LEFT + 90 * number
        yield f'<text x="{x}" y="{_HEIGHT - 8}" fill="{colour}">{words}</text>'


def _line(points: Points, top: float, colour: str, dashes: str = "") -> str:
    places = " ".join(f"{_across(clients):.1f},{_down(rate, top):.1f}" for clients, rate in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>'


def _across(clients: int) -> float:
    return _LEFT + (clients - 0.5) / MOST_CLIENTS * (_WIDTH - _LEFT - _RIGHT)


def _down(rate: float, top: float) -> float:
    return _TOP + (1 - rate / top) * (_HEIGHT - _TOP - _BOTTOM)
