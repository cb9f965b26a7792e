"""Draws `docs/pictures/replica-states.svg` from the table of transitions in `master/chunks/replicas.py`.

    python -m scripts.draw_replica_states

The states stand on a circle, ABSENT in its middle. An arrow has the colour of the state that it leaves, and bends to
its left, so that two that lead there and back do not lie on each other. A test compares the picture with the table.
"""

import math
from pathlib import Path

from master.chunks.replicas import TRANSITIONS, ReplicaState

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "replica-states.svg"

_S = ReplicaState
_COLOURS = {
    _S.CURRENT: "#1a7f37",
    _S.UNSURE: "#9a6700",
    _S.STALE: "#57606a",
    _S.CORRUPT: "#cf222e",
    _S.SURPLUS: "#0969da",
    _S.UNREADABLE: "#bf3989",
    _S.CONDEMNED: "#1f2328",
    _S.ORPHAN: "#8250df",
    _S.FORMING: "#0a7d8c",
    _S.ABSENT: "#8c959f",
}
_CIRCLE = [state for state in _COLOURS if state is not _S.ABSENT]  # clockwise, from the top
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 860, 640, 330, 250
_BOX = (112, 34)
_BEND = 0.25


def picture() -> str:
    """The drawing, as the text of an SVG file."""
    places = _places()
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="14">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        "<defs>",
        *(_arrowhead(state) for state in _COLOURS),
        "</defs>",
    ]
    lines += [_arrow(before, after, places) for before in _COLOURS for after in TRANSITIONS[before]]
    lines += [_box(state, places[state]) for state in _COLOURS]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _places() -> dict[ReplicaState, tuple[float, float]]:
    middle = (_WIDTH / 2, _HEIGHT / 2)
    found = {_S.ABSENT: middle}
    for place, state in enumerate(_CIRCLE):
        angle = 2 * math.pi * place / len(_CIRCLE)
        found[state] = (middle[0] + _ACROSS * math.sin(angle), middle[1] - _DOWN * math.cos(angle))
    return found


def _arrowhead(state: ReplicaState) -> str:
    return (
        f'<marker id="{state.value}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z" fill="{_COLOURS[state]}"/></marker>'
    )


def _arrow(before: ReplicaState, after: ReplicaState, places: dict[ReplicaState, tuple[float, float]]) -> str:
    start, end = places[before], places[after]
    across, down = end[0] - start[0], end[1] - start[1]
    bend = ((start[0] + end[0]) / 2 + _BEND * down, (start[1] + end[1]) / 2 - _BEND * across)
    start, end = _edge(start, bend), _edge(end, bend)
    thin = after is _S.ABSENT
    return (
        f'<path class="step" data-from="{before.value}" data-to="{after.value}" '
        f'd="M{start[0]:.1f},{start[1]:.1f} Q{bend[0]:.1f},{bend[1]:.1f} {end[0]:.1f},{end[1]:.1f}" fill="none" '
        f'stroke="{_COLOURS[before]}" stroke-width="{0.8 if thin else 1.5}" opacity="{0.55 if thin else 0.9}" '
        f'marker-end="url(#{before.value})"/>'
    )


def _edge(place: tuple[float, float], toward: tuple[float, float]) -> tuple[float, float]:
    """Where the line from the middle of a box to a point leaves the box."""
    across, down = toward[0] - place[0], toward[1] - place[1]
    share = min(
        (_BOX[0] / 2 + 2) / abs(across) if across else math.inf, (_BOX[1] / 2 + 2) / abs(down) if down else math.inf
    )
    return place[0] + share * across, place[1] + share * down


def _box(state: ReplicaState, place: tuple[float, float]) -> str:
    left, top = place[0] - _BOX[0] / 2, place[1] - _BOX[1] / 2
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{_BOX[0]}" height="{_BOX[1]}" rx="8" fill="#ffffff" '
        f'stroke="{_COLOURS[state]}" stroke-width="2"/>'
        f'<text x="{place[0]:.1f}" y="{place[1] + 5:.1f}" text-anchor="middle" fill="{_COLOURS[state]}" '
        f'font-weight="bold">{state.name}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
