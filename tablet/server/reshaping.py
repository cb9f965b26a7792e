"""Splitting and merging as pure functions over manifests: no byte of an SSTable changes (BT 5.2, 6).

A split gives each side all SSTables that have rows of it, clipped to its range. A merge lays the lists of two
neighbours into one another. A row is in one of the two only, so any order will do that keeps the order of each list;
where both sides refer to one file, as after a split, it becomes one reference again.

Snapshots go along: a snapshot is a manifest too, so each side of a split gets one that is clipped in the same way, and
a merged tablet has those that both sides have under one name, laid together. One that only one side has would be a
snapshot of half a tablet, so such tablets are not merged.

What we simplify. Sequences of the two tablets are not comparable, so the merged one remembers up to which sequence the
order of its list is all that counts (`Manifest.merged_sequence`).
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from runtime.errors import Conflict, InvalidRequest
from tablet.engine.model.spans import EVERYWHERE, Spans, contains, united, within
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.clipping import Share, clipped
from tablet.engine.tree.manifest import Manifest, TableReference
from tablet.engine.world.names import in_folder


@dataclass(frozen=True, slots=True)
class Content:
    """What the folder of a tablet says: its manifest, and its snapshots by name."""

    manifest: Manifest
    snapshots: Mapping[str, Manifest] = field(default_factory=dict)

    def references(self) -> list[TableReference]:
        """All SSTables of both."""
        manifests = (self.manifest, *self.snapshots.values())
        return [reference for manifest in manifests for reference in manifest.references()]

    def part(self, name: str, start: bytes, end: bytes, share: Share) -> "Content":
        """One side of a split: see `part_of`."""
        held = {key: part_of(one, name, start, end, share) for key, one in self.snapshots.items()}
        return Content(part_of(self.manifest, name, start, end, share), held)

    def merged_with(self, upper: "Content", name: str) -> "Content":
        """Both of two neighbours: see `merged`. Raises Conflict also if they have not the same snapshots."""
        whole = merged(self.manifest, upper.manifest, name)
        if self.snapshots.keys() != upper.snapshots.keys():
            own, others = (", ".join(one.snapshots) or "none" for one in (self, upper))
            raise Conflict(
                f"the tablets {self.manifest.tablet} and {upper.manifest.tablet} have different snapshots ({own}; "
                f"{others}), and one of a half would be left; delete those that only one of them has"
            )
        held = {}
        number = whole.next_file_number
        for key, one in self.snapshots.items():
            # Numbers of its own: what is restored must not meet a file that has the number of another one.
            held[key] = merged(one, upper.snapshots[key], name, first_number=number)
            number = held[key].next_file_number
        return Content(replace(whole, next_file_number=number), held)


def part_of(manifest: Manifest, name: str, start: bytes, end: bytes, share: Share) -> Manifest:
    """The first manifest of a tablet called `name`, which holds start <= row < end of another one. `share`: about how
    many bytes of a file some rows are."""
    tables = clipped(manifest.tables, partial(within, start=start, end=end), share)
    return replace(
        manifest,
        number=1,
        tablet=name,
        start_row=start,
        end_row=end,
        tables={group: _seen_from_beside(manifest.tablet, found) for group, found in tables.items()},
    )


def merged(lower: Manifest, upper: Manifest, name: str, *, first_number: int = 1) -> Manifest:
    """The first manifest of a tablet called `name`, which holds the rows of two neighbours. `first_number`: that of its
    first file. Raises InvalidRequest if they are none, Conflict if their schemas differ."""
    if not lower.end_row or lower.end_row != upper.start_row:
        raise InvalidRequest(
            f"the tablets {lower.tablet} and {upper.tablet} are no neighbours: one ends at {lower.end_row[:80]!r}, the "
            f"other begins at {upper.start_row[:80]!r}"
        )
    if lower.schema != upper.schema:
        raise Conflict(
            f"the tablets {lower.tablet} and {upper.tablet} have different families or locality groups; make them alike"
        )
    number, tables = first_number, {}
    for group in dict.fromkeys((*lower.tables, *upper.tables)):
        sides = []
        for side in (lower, upper):
            cut = partial(within, start=side.start_row, end=side.end_row)
            found = clipped({group: side.tables.get(group, ())}, cut, _as_before)
            sides.append(_seen_from_beside(side.tablet, found[group]))
        together = laid_together(*sides)
        tables[group] = tuple(replace(other, number=number + place) for place, other in enumerate(together))
        number += len(together)
    redo_point = max(lower.flushed_sequence, upper.flushed_sequence)
    return replace(
        lower,
        number=1,
        tablet=name,
        end_row=upper.end_row,
        tables=tables,
        next_file_number=number,
        flushed_sequence=redo_point,
        merged_sequence=redo_point,
        last_timestamp=max(lower.last_timestamp, upper.last_timestamp),
    )


def laid_together(first: Sequence[TableReference], second: Sequence[TableReference]) -> list[TableReference]:
    """One list with the order of both. A file that is in both comes once, unless their orders contradict one another:
    the rows of the two lists are apart, so then it may come twice."""
    places = {reference.name: place for place, reference in enumerate(second)}
    found: list[TableReference] = []
    taken = 0
    for reference in first:
        place = places.get(reference.name, -1)
        if place < taken:
            found.append(reference)
            continue
        found += second[taken:place]
        found.append(_as_one(reference, second[place]))
        taken = place + 1
    return [*found, *second[taken:]]


def middle_row(tables: Sequence[SSTable], start: bytes, end: bytes) -> bytes | None:
    """A row that halves the bytes of the SSTables, so far as their indexes tell; None if there is no row between."""
    weights: dict[bytes, int] = {}
    for table in tables:
        for place in range(table.blocks):
            row = table.index_entry(place)[0]
            if row > start and (not end or row < end) and contains(table.spans, row):
                weights[row] = weights.get(row, 0) + table.block_range(place)[1]
    rows = sorted(weights)
    sums: list[int] = []
    for row in rows:
        sums.append((sums[-1] if sums else 0) + weights[row])
    return rows[min(len(rows) - 1, bisect_left(sums, sums[-1] / 2))] if rows else None


def _as_before(reference: TableReference, spans: Spans) -> int:
    """What a clipped file is charged where its index is not at hand."""
    return reference.charged_bytes


def _seen_from_beside(folder: str, references: Sequence[TableReference]) -> tuple[TableReference, ...]:
    return tuple(replace(reference, name=in_folder(folder, reference.name)) for reference in references)


def _as_one(first: TableReference, second: TableReference) -> TableReference:
    """Two references to one file. Where all its rows count again, it is charged as a whole."""
    both = replace(first, spans=united(first.spans, second.spans))
    charged = min(first.file_bytes, first.charged_bytes + second.charged_bytes)
    whole = replace(both, spans=EVERYWHERE, share_bytes=0)
    return whole if both.shown == whole.shown else replace(both, share_bytes=charged)
