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
bearable. Only rows that several sources have are looked into, and the merged chunk says which these are (`others`), so
that a scan need not look at all of them again: 2 % of overwritten rows cost it little more than 2 %.

What we simplify. One row's cells must fit into memory.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import compress

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
    newer_over_older,
)
from tablet.engine.model.mutations import Hidden
from tablet.engine.model.schema import Schema

_SPARSE = 8
"""If all other chunks together have so many times fewer rows than the largest, they are put in between its rows. Else
all rows are sorted anew, which costs each row the same."""


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
    if len(chunks) == 1:
        return chunks[0]
    full = [chunk for chunk in chunks if chunk.rows]
    if len(full) < 2:
        return full[0] if full else EMPTY
    sizes = [len(chunk.rows) for chunk in full]
    largest = max(sizes)
    if (sum(sizes) - largest) * _SPARSE <= largest:
        laid = full[-1]
        for newer in full[-2::-1]:
            laid = _laid_over(newer, laid)
        return laid
    merged: dict[bytes, bytes] = {}
    for chunk in reversed(full):
        merged.update(zip(chunk.rows, chunk.fragments, strict=True))
    rows = sorted(merged)
    shared = _merge_shared(full, merged) if len(rows) < sum(sizes) else set()
    return _together(full, rows, list(map(merged.__getitem__, rows)), shared)


def _laid_over(newer: Chunk, older: Chunk) -> Chunk:
    """Two chunks as one, where one has few rows among many of the other: what lies between the few is moved in runs."""
    few, many = (newer, older) if len(newer.rows) < len(older.rows) else (older, newer)
    rows, fragments = many.rows.copy(), many.fragments.copy()
    shared: set[bytes] = set()
    for row, fragment in zip(few.rows, few.fragments, strict=True):
        place = bisect_left(rows, row)
        if place < len(rows) and rows[place] == row:
            both = (fragment, fragments[place]) if few is newer else (fragments[place], fragment)
            fragments[place] = merge_fragments(both)
            shared.add(row)
        else:
            rows.insert(place, row)
            fragments.insert(place, fragment)
    return _together((newer, older), rows, fragments, shared)


def _merge_shared(chunks: Sequence[Chunk], merged: dict[bytes, bytes]) -> set[bytes]:
    """Look into the rows that several chunks have, and only these: put what is made of them into `merged`."""
    seen: set[bytes] = set()
    shared: set[bytes] = set()
    for chunk in chunks:
        shared |= seen.intersection(chunk.rows)
        seen.update(chunk.rows)
    found: dict[bytes, list[bytes]] = {row: [] for row in shared}
    for chunk in chunks:
        for row, fragment in compress(
            zip(chunk.rows, chunk.fragments, strict=True), map(found.__contains__, chunk.rows)
        ):
            found[row].append(fragment)
    merged.update({row: merge_fragments(fragments) for row, fragments in found.items()})
    return shared


def _together(chunks: Sequence[Chunk], rows: list[bytes], fragments: list[bytes], shared: set[bytes]) -> Chunk:
    """What has been made of some chunks. Its fragments that are not one cell are those, and of the rows `shared`."""
    if not shared and all(chunk.single_puts for chunk in chunks):
        return Chunk(rows, fragments, True)
    looked_into = set(shared)
    for chunk in chunks:
        if not chunk.single_puts:
            if chunk.others is None:
                return Chunk(rows, fragments, False)
            looked_into.update([chunk.rows[place] for place in chunk.others])
    return Chunk(rows, fragments, False, [bisect_left(rows, row) for row in sorted(looked_into)])


def merge_fragments(fragments: Sequence[bytes]) -> bytes:
    """`merge_entries` for encoded fragments, the newest first."""
    if len(fragments) == 1:
        return fragments[0]
    if len(fragments) == 2 and (both := newer_over_older(*fragments)) is not None:
        return both
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
