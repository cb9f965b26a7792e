"""Draws `docs/pictures/session-states.svg` from the table of transitions in `lockservice/client/lease.py`.

    python -m scripts.draw_session_states

A test compares the picture with the table.
"""

from pathlib import Path

from lockservice.client.lease import TRANSITIONS
from lockservice.interface import SessionState

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "session-states.svg"

_S = SessionState
LABELS = {
    (_S.SAFE, _S.JEOPARDY): "the lease is over here",
    (_S.JEOPARDY, _S.SAFE): "an answer came within the grace",
    (_S.JEOPARDY, _S.EXPIRED): "the grace is over here",
    (_S.SAFE, _S.EXPIRED): "closed, or the service says so",
}
"""Why a session goes from one state to another."""
_PLACES = {_S.SAFE: (110, 150), _S.JEOPARDY: (430, 150), _S.EXPIRED: (750, 150)}
_COLOURS = {_S.SAFE: "#1a7f37", _S.JEOPARDY: "#9a6700", _S.EXPIRED: "#cf222e"}
_MEANS = {_S.SAFE: "locks are held", _S.JEOPARDY: "held, but do nothing", _S.EXPIRED: "locks and files are gone"}
_BOX = (170, 56)
_BENDS = {(_S.SAFE, _S.JEOPARDY): -36, (_S.JEOPARDY, _S.SAFE): 36, (_S.JEOPARDY, _S.EXPIRED): 0}
_WIDE_BEND = -160


def picture() -> str:
    """The drawing, as the text of an SVG file."""
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 240" font-family="sans-serif" font-size="13">',
        '<rect width="860" height="240" fill="#ffffff"/>',
        "<defs>",
        *(_arrowhead(state) for state in _COLOURS),
        "</defs>",
    ]
    lines += [_arrow(before, after) for before in _COLOURS for after in TRANSITIONS[before]]
    lines += [_box(state) for state in _COLOURS]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _arrowhead(state: SessionState) -> str:
    return (
        f'<marker id="{state.value}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z" fill="{_COLOURS[state]}"/></marker>'
    )


def _arrow(before: SessionState, after: SessionState) -> str:
    """Neighbours are joined side to side, the others by an arc over the one between."""
    (left, top), (right, _) = _PLACES[before], _PLACES[after]
    bend, toward = _BENDS.get((before, after), _WIDE_BEND), 1 if right > left else -1
    is_wide = bend == _WIDE_BEND
    inset = 0 if is_wide else toward * _BOX[0] / 2
    shift = -_BOX[1] / 2 if is_wide else (bend > 0) * 12 - (bend < 0) * 12
    start, end, height = left + inset, right - inset, top + shift
    words = height + bend / 2 + (16 if bend > 0 else -6)
    return (
        f'<path class="step" data-from="{before.value}" data-to="{after.value}" d="M{start:.0f},{height:.0f} '
        f'Q{(start + end) / 2:.0f},{height + bend:.0f} {end:.0f},{height:.0f}" fill="none" stroke="{_COLOURS[before]}" '
        f'stroke-width="1.5" marker-end="url(#{before.value})"/>'
        f'<text x="{(start + end) / 2:.0f}" y="{words:.0f}" text-anchor="middle">{LABELS[before, after]}</text>'
    )


def _box(state: SessionState) -> str:
    left, top = _PLACES[state][0] - _BOX[0] / 2, _PLACES[state][1] - _BOX[1] / 2
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{_BOX[0]}" height="{_BOX[1]}" rx="8" fill="#ffffff" '
        f'stroke="{_COLOURS[state]}" stroke-width="2"/>'
        f'<text x="{_PLACES[state][0]}" y="{top + 24:.0f}" text-anchor="middle" fill="{_COLOURS[state]}" '
        f'font-weight="bold">{state.name}</text>'
        f'<text x="{_PLACES[state][0]}" y="{top + 43:.0f}" text-anchor="middle">{_MEANS[state]}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
