"""The matrix as a picture, in the manner of the paper's: one square for each structure, workload and fault.

The colour is the global effect; the symbols are what the struck node did. A frame marks a cell that is explained, a
cross one that is amiss.
"""

from html import escape

from cluster.cords.matrix import Group, Matrix
from cluster.cords.terms import Effect, Fault, Local, Workload

_CELL_WIDTH, _CELL_HEIGHT = 30, 20
_LABELS, _HEAD, _GAP = 300, 110, 12
COLOURS = {
    Effect.CORRUPTION: "#7f0000",
    Effect.DATA_LOSS: "#d7301f",
    Effect.UNAVAILABLE: "#fc8d59",
    Effect.WRITE_UNAVAILABLE: "#fdbb84",
    Effect.QUERY_FAILURE: "#fee8c8",
    Effect.REDUCED_REDUNDANCY: "#c6dbef",
    Effect.CORRECT: "#e5f5e0",
}


def svg_of(matrix: Matrix) -> str:
    """An SVG document."""
    rows = matrix.rows()
    groups = {(group.kind, group.structure, group.workload, group.fault): group for group in matrix.groups}
    workloads = [workload for workload in Workload if any(group.workload is workload for group in matrix.groups)]
    faults = [fault for fault in Fault if any(group.fault is fault for group in matrix.groups)]
    block = len(faults) * _CELL_WIDTH + _GAP
    places = _row_places(rows)
    bottom = max(places.values(), default=_HEAD) + _CELL_HEIGHT
    width, height = max(_LABELS + len(workloads) * block, 900), bottom + 190
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="11" role="img">',
        "<title>One fault in one block of one node: what the node does, and what comes of it</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    lines += _heads(workloads, faults, block)
    before = ""
    for kind, structure in rows:
        y = places[kind, structure]
        if kind != before:
            lines.append(_text(4, y - 5, kind, weight="bold"))
            before = kind
        lines.append(_text(16, y + 14, structure))
        for column, workload in enumerate(workloads):
            for place, fault in enumerate(faults):
                group = groups.get((kind, structure, workload, fault))
                x = _LABELS + column * block + place * _CELL_WIDTH
                lines += _square(group, x, y) if group is not None else []
    return "\n".join([*lines, *_legend(bottom + 24), "</svg>"]) + "\n"


def _row_places(rows: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
    places, y, before = {}, _HEAD, ""
    for kind, structure in rows:
        y += _CELL_HEIGHT if kind != before else 0
        before = kind
        places[kind, structure] = y
        y += _CELL_HEIGHT
    return places


def _heads(workloads: list[Workload], faults: list[Fault], block: int) -> list[str]:
    lines = []
    for column, workload in enumerate(workloads):
        x = _LABELS + column * block
        lines.append(_text(x, 16, workload.value, weight="bold"))
        for place, fault in enumerate(faults):
            at = x + place * _CELL_WIDTH + 18
            turned = f'transform="rotate(-60 {at} {_HEAD})"'
            lines.append(f'<text x="{at}" y="{_HEAD}" {turned}>{escape(fault.value)}</text>')
    return lines


def _square(group: Group, x: int, y: int) -> list[str]:
    is_quiet = group.local == (Local.NOT_ACCESSED,)
    colour = "#f7f7f7" if is_quiet and group.effect is Effect.CORRECT else COLOURS[group.effect]
    frame = "#cc0000" if group.is_amiss else "#555555" if group.explanation is not None else "#ffffff"
    symbols = "".join(local.value for local in group.local)
    told = f"{group.kind}, {group.structure}, {group.workload.value}, {group.fault.value}: {group.effect.words}"
    explained = f" [{group.explanation.name}]" if group.explanation is not None else ""
    lines = [
        f'<g><title>{escape(told + explained)}</title><rect x="{x}" y="{y}" width="{_CELL_WIDTH - 2}" '
        f'height="{_CELL_HEIGHT - 2}" fill="{colour}" stroke="{frame}"/>',
        f'<text x="{x + _CELL_WIDTH // 2 - 1}" y="{y + 13}" text-anchor="middle">{escape(symbols)}</text>',
    ]
    if group.is_amiss:
        right, low = x + _CELL_WIDTH - 2, y + _CELL_HEIGHT - 2
        lines.append(f'<path d="M{x} {y}L{right} {low}M{x} {low}L{right} {y}" stroke="#cc0000"/>')
    return [*lines, "</g>"]


def _legend(y: int) -> list[str]:
    lines = [_text(4, y, "Local behaviour", weight="bold"), _text(470, y, "Global effect", weight="bold")]
    for number, local in enumerate(Local, 1):
        lines += [_text(10, y + 15 * number, local.value), _text(34, y + 15 * number, local.words)]
    for number, effect in enumerate(Effect, 1):
        lines.append(
            f'<rect x="470" y="{y + 15 * number - 10}" width="16" height="11" fill="{COLOURS[effect]}" stroke="#999"/>'
        )
        lines.append(_text(492, y + 15 * number, effect.words))
    below = y + 15 * (len(Effect) + 1)
    return [
        *lines,
        _text(470, below, "dark frame: explained by name; red cross: amiss; grey: the block is not accessed"),
    ]


def _text(x: int, y: int, words: str, *, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}">{escape(words)}</text>'
