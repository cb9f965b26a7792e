"""Merging: what several sources know about a row, made one (BT 5.3).

The problem. A row's cells lie in the memtable, in frozen memtables and in many SSTables; a read must see them as one,
and a compaction must write them as one. A deletion is a marker in a newer source that hides cells of older ones, and
a merge of *some* sources must keep the marker, since still older sources may hold what it hides.

The idea. Sources are ordered by age, and only neighbours in age are ever merged. Then no sequence number per cell is
needed: a fragment laid over an older one removes what its markers hide and what it overwrites, and keeps the markers.
Laying over is associative, so merging early, late or in any grouping gives the same answer:

>>> from tablet.engine.model.mutations import fragment_of
>>> from tablet.engine.model.operations import DeleteRow, SetCell
>>> old = fragment_of([SetCell(b"f:a", b"old", 1), SetCell(b"f:b", b"old", 1)])
>>> new = fragment_of([DeleteRow(), SetCell(b"f:b", b"new", 1)])
>>> merge_entries([new, old])
((b'', 0, 3, b''), (b'f:b', -1, 0, b'new'))

Bulk work is done on *chunks*: sorted runs of whole rows, still encoded. Where the rows of the sources do not collide,
which is nearly always, a merge moves fragments without looking inside them; that is what makes a Python compaction
bearable.

What we simplify. One row's cells must fit into memory.
"""

from bisect import bisect_left
from collections.abc import Sequence

from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.fragments import (
    CELL,
    CELL_BYTES,
    PUT,
    Entries,
    Entry,
    decode_fragment,
    encode_fragment,
    family_of,
)
from tablet.engine.model.mutations import Hidden
from tablet.engine.model.schema import Schema


def merge_entries(fragments: Sequence[Entries]) -> Entries:
    """Lay fragments over one another, the newest first in the sequence. Markers are kept."""
    if len(fragments) < 2:
        return fragments[0] if fragments else ()
    kept = list(fragments[0])
    seen = {(column, minus) for column, minus, kind, _ in kept if kind == PUT}
    hidden = Hidden(kept)
    for older in fragments[1:]:
        for entry in older:
            if entry[2] == PUT:
                key = entry[:2]
                if key in seen or (hidden and hidden.hides(*key)):
                    continue
                seen.add(key)
            elif hidden and hidden.covers(entry):
                continue
            kept.append(entry)
        hidden.add(older)
    kept.sort()
    return tuple(kept)


def lay_over(newer: Entries, older: Entries) -> Entries:
    """`merge_entries` of two, quick where the newer one is a few cells and no marker."""
    for entry in newer:
        if entry[2] != PUT:
            return merge_entries((newer, older))
    entries = list(older)
    for entry in newer:
        probe = entry[:3]
        place = bisect_left(entries, probe)
        if place < len(entries) and entries[place][:3] == probe:
            entries[place] = entry
        else:
            entries.insert(place, entry)
    return tuple(entries)


def merge_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """Merge chunks of different sources, the newest first. Markers are kept."""
    full = [chunk for chunk in chunks if chunk.rows]
    if len(full) < 2:
        return full[0] if full else EMPTY
    merged: dict[bytes, bytes] = {}
    for chunk in reversed(full):
        merged.update(zip(chunk.rows, chunk.fragments, strict=True))
    total = sum(map(len, full))
    rows = sorted(merged)
    if len(rows) == total:
        return Chunk(rows, list(map(merged.__getitem__, rows)), all(chunk.single_puts for chunk in full))
    return _merge_collisions(full, rows)


def _merge_collisions(chunks: Sequence[Chunk], rows: list[bytes]) -> Chunk:
    """Where some rows occur more than once: only these are looked into."""
    merged: dict[bytes, bytes] = {}
    for chunk in reversed(chunks):
        fresh = dict(zip(chunk.rows, chunk.fragments, strict=True))
        for row in [row for row in chunk.rows if row in merged]:
            fresh[row] = merge_fragments((fresh[row], merged[row]))
        merged.update(fresh)
    return Chunk(rows, list(map(merged.__getitem__, rows)), False)


def merge_fragments(fragments: Sequence[bytes]) -> bytes:
    """`merge_entries` for encoded fragments, the newest first."""
    if len(fragments) == 1:
        return fragments[0]
    return encode_fragment(merge_entries([decode_fragment(fragment) for fragment in fragments]))


def collect_garbage(entries: Entries, schema: Schema, now: int, *, drop_markers: bool) -> Entries:
    """The entries less what the families' version policies make garbage (BT 2), less the cells of families that are
    no more, and, if nothing older remains that they could hide, less the deletion markers (BT 5.4).

    `now` is in microseconds.
    """
    kept: list[Entry] = []
    column_before, rank = b"", 0
    for entry in entries:
        column, minus, kind, _ = entry
        if kind != PUT:
            if not drop_markers:
                kept.append(entry)
            continue
        rank = rank + 1 if column == column_before else 0
        column_before = column
        family = schema.families.get(family_of(column))
        if family is not None and not family.is_garbage(rank, now + minus):
            kept.append(entry)
    return entries if len(kept) == len(entries) else tuple(kept)


def collect_chunk(chunk: Chunk, schema: Schema, now: int, *, drop_markers: bool) -> Chunk:
    """`collect_garbage` for each row; rows of which nothing is left are dropped."""
    if chunk.single_puts:
        if not schema.judges_single_cells:
            return chunk
        return _collect_single_puts(chunk, schema, now)
    rows: list[bytes] = []
    fragments: list[bytes] = []
    for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
        before = decode_fragment(fragment)
        after = collect_garbage(before, schema, now, drop_markers=drop_markers)
        if after:
            rows.append(row)
            fragments.append(fragment if after is before else encode_fragment(after))
    return Chunk(rows, fragments, False)


def _collect_single_puts(chunk: Chunk, schema: Schema, now: int) -> Chunk:
    """One cell a row: its age, and whether its family still exists, decide."""
    rows: list[bytes] = []
    fragments: list[bytes] = []
    families = schema.families
    for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
        _, _, length, timestamp, _ = CELL.unpack_from(fragment)
        family = families.get(family_of(fragment[CELL_BYTES : CELL_BYTES + length]))
        if family is not None and not family.is_garbage(0, now - timestamp):
            rows.append(row)
            fragments.append(fragment)
    return Chunk(rows, fragments, True)
