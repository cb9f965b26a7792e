"""Which rows of an SSTable count: references cut to a range, or cut out of it.

Splitting a tablet, and deleting a range of its rows, changes no file. Each reference keeps those of its spans that lie
in what is left, and a reference of which no row is left is dropped (BT 5.2, 6).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tablet.engine.model.spans import Spans
from tablet.engine.tree.manifest import TableReference

Tables = Mapping[str, Sequence[TableReference]]
Share = Callable[[TableReference, Spans], int]
"""About how many bytes of a file belong to these rows; 0: nobody knows, so all are counted."""


def clipped(tables: Tables, cut: Callable[[Spans], Spans], share: Share) -> dict[str, tuple[TableReference, ...]]:
    """The references, by group and the newest first, with what `cut` leaves of their spans. One that loses no row stays
    as it is."""
    found: dict[str, tuple[TableReference, ...]] = {}
    for group, references in tables.items():
        left = [_clip(reference, cut, share) for reference in references]
        found[group] = tuple(reference for reference in left if reference is not None)
    return found


def _clip(reference: TableReference, cut: Callable[[Spans], Spans], share: Share) -> TableReference | None:
    shown = reference.shown
    left = cut(shown)
    if left == shown:
        return reference
    if not left:
        return None
    spans = cut(reference.spans)
    return replace(reference, spans=spans, share_bytes=share(reference, spans))
