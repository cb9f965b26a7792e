"""A recovery as SVG: how many chunks were below their goal, minute by minute. Pure.

>>> text = recovery_picture([(14.0, 900), (600.0, 400), (1200.0, 0)], floor=1080.0, papers=1392.0)
>>> text.startswith("<svg"), text.count("<polyline"), text.count("the paper's")
(True, 1, 1)
"""

from collections.abc import Iterator, Sequence
from math import ceil

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 40, 46
_OURS, _PAPERS, _LIMIT = "#0969da", "#cf222e", "#8c959f"


def recovery_picture(course: Sequence[tuple[float, int]], *, floor: float, papers: float) -> str:
    """The drawing, as the text of an SVG file. Seconds since the kill; `papers` 0: the paper has no such number."""
    minutes = ceil(max(course[-1][0], floor, papers) / 60) + 1
    most = max(chunks for _, chunks in course)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="22" font-weight="bold">chunks below their goal, by minutes since the kill</text>',
        *_axes(minutes, most),
        _mark(floor / 60, minutes, _LIMIT, f"floor {floor / 60:.1f}", _TOP + 12),
    ]
    if papers:
        lines.append(_mark(papers / 60, minutes, _PAPERS, f"the paper's {papers / 60:.1f}", _TOP + 28))
    places = [(0.0, course[0][1]), *((seconds / 60, chunks) for seconds, chunks in course)]
    points = " ".join(f"{_across(x, minutes):.1f},{_down(y, most):.1f}" for x, y in places)
    lines.append(f'<polyline points="{points}" fill="none" stroke="{_OURS}" stroke-width="2"/>')
    ours = course[-1][0] / 60
    lines.append(_mark(ours, minutes, _OURS, f"ours {ours:.1f}", _TOP + 44))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _axes(minutes: int, most: int) -> Iterator[str]:
    for quarter in range(5):
        chunks = most * quarter / 4
        y = _down(chunks, most)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dee4"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{chunks:,.0f}</text>'
    for minute in range(0, minutes + 1, max(1, minutes // 6)):
        x = _across(minute, minutes)
        yield f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{minute}</text>'


def _mark(minute: float, minutes: int, colour: str, words: str, y: int) -> str:
    x = _across(minute, minutes)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="{colour}" '
        f'stroke-dasharray="5 4"/><text x="{x - 5:.1f}" y="{y}" fill="{colour}" text-anchor="end">{words}</text>'
    )


def _across(minute: float, minutes: int) -> float:
    return _LEFT + minute / minutes * (_WIDTH - _LEFT - _RIGHT)


def _down(chunks: float, most: int) -> float:
    return _TOP + (1 - chunks / most) * (_HEIGHT - _TOP - _BOTTOM)
