"""Cursors over several sources, and the nearest rows of a range, against a dictionary: in both directions, whether rows
are in memory or must be read.

Each source hands its rows out in chunks of its own, cut anywhere; some give a chunk at once, others a coroutine.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.fragments import Entries, decode_fragment, encode_fragment
from tablet.engine.model.mutations import fragment_of
from tablet.engine.model.operations import DeleteRow, SetCell
from tablet.engine.sstable.reader import Few
from tablet.engine.tree import sorted_rows
from tablet.engine.tree.backwards import MergeBackwards
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.merge import merge_chunks, merge_entries
from tablet.engine.tree.nearest import nearest
from tablet.engine.tree.sorted_rows import SortedRows
from tablet.engine.tree.sources import ChainedSource, MergeCursor, Source
from tablet.engine.tree.view import Asked
from tablet.engine.world.eventual import Eventual, finished
from tests.unit.tablet_support import chunk_of

cells = st.builds(lambda value, stamp: SetCell(b"f:a", value, stamp), st.binary(max_size=1), st.integers(0, 3))
fragments = st.lists(cells | st.just(DeleteRow()), min_size=1, max_size=2).map(fragment_of)
keys = st.integers(0, 40).map(lambda number: b"%02d" % number)
contents = st.dictionaries(keys, fragments, max_size=40) | st.dictionaries(keys, fragments, max_size=2)
slow_chunks = st.lists(st.booleans(), min_size=1, max_size=4)
sources = st.lists(st.tuples(contents, st.integers(1, 12), slow_chunks), max_size=4)


class Pieces:
    """A source of chunks of at most `most` rows. `slow`: which of them, again and again, come from a coroutine."""

    def __init__(self, rows: dict[bytes, Entries], most: int, slow: Sequence[bool], *, reverse: bool) -> None:
        left = sorted(rows, reverse=reverse)
        parts = [left[start : start + most] for start in range(0, len(left), most)]
        self._chunks = [chunk_of({row: rows[row] for row in part}) for part in parts]
        self._slow = slow
        self._asked = 0

    def next(self) -> Eventual[Chunk]:
        chunk = self._chunks.pop(0) if self._chunks else EMPTY
        self._asked += 1
        return self._later(chunk) if self._slow[self._asked % len(self._slow)] else chunk

    async def _later(self, chunk: Chunk) -> Chunk:
        await asyncio.sleep(0)
        return chunk


async def all_of(source: Source) -> list[Chunk]:
    found: list[Chunk] = []
    while (chunk := await finished(source.next())).rows:
        found.append(chunk)
    assert not (await finished(source.next())).rows, "an end is an end"
    return found


@given(sources, st.booleans(), st.sampled_from([0, 3]))
@settings(deadline=None)
def test_a_cursor_gives_each_row_once_and_in_order_with_what_all_sources_know_of_it(given_sources, reverse, slice_rows):
    made = [Pieces(rows, most, slow, reverse=reverse) for rows, most, slow in given_sources]
    cursor = MergeBackwards(made, merge_chunks) if reverse else MergeCursor(made, merge_chunks, slice_rows=slice_rows)
    chunks = asyncio.run(all_of(cursor))
    if reverse:
        chunks.reverse()
    found = {
        row: decode_fragment(content)
        for chunk in chunks
        for row, content in zip(chunk.rows, chunk.fragments, strict=True)
    }
    assert [row for chunk in chunks for row in chunk.rows] == sorted(found)
    held = [rows for rows, _, _ in given_sources]
    expected = {row: merge_entries([rows[row] for rows in held if row in rows]) for rows in held for row in rows}
    assert found == expected


@given(st.lists(st.tuples(contents, st.integers(1, 12), slow_chunks), max_size=5), st.booleans())
@settings(deadline=None, max_examples=40)
def test_sources_in_a_chain_come_one_after_the_other(parts, reverse):
    made = [Pieces(rows, most, slow, reverse=reverse) for rows, most, slow in parts]
    chunks = asyncio.run(all_of(ChainedSource(made)))
    expected = [sorted(rows, reverse=reverse) for rows, _, _ in parts]
    found = [row for chunk in chunks for row in (reversed(chunk.rows) if reverse else chunk.rows)]
    assert found == [row for rows in expected for row in rows]


def test_a_chain_of_very_many_empty_sources_comes_to_its_end():
    made = [Pieces({}, 1, [True], reverse=False) for _ in range(5000)]
    assert not asyncio.run(all_of(ChainedSource([*made, Pieces({}, 1, [True], reverse=False)])))


class Blocks:
    """In place of an SSTable: it gives a few rows of one of its blocks. `slow`: as for `Pieces`."""

    def __init__(self, rows: dict[bytes, Entries], most: int, slow: Sequence[bool]) -> None:
        left = sorted(rows)
        self._blocks = [left[start : start + most] for start in range(0, len(left), most)]
        self._rows = rows
        self._slow = slow
        self._asked = 0

    def few_rows(self, start: bytes, end: bytes, few: int, last: bool) -> Eventual[Few]:
        within = [row for block in self._blocks for row in block if start <= row and (not end or row < end)]
        found: list[bytes] = []
        for block in reversed(self._blocks) if last else self._blocks:
            here = [row for row in block if row in within]
            found = here[-few:] if last else here[:few]
            if found:
                break
        answer = chunk_of({row: self._rows[row] for row in found}), len(found) < len(within)
        self._asked += 1
        return self._later(answer) if self._slow[self._asked % len(self._slow)] else answer

    async def _later(self, answer: Few) -> Few:
        await asyncio.sleep(0)
        return answer


@given(st.lists(contents, max_size=2), sources, keys, st.just(b"") | keys, st.integers(1, 5), st.booleans())
@settings(deadline=None)
def test_the_nearest_rows_of_a_range_are_all_that_any_source_knows_up_to_their_bound(
    recent, stored, start, end, few, last
):
    memtables = tuple(Memtable() for _ in recent)
    for memtable, rows in zip(memtables, recent, strict=True):
        for number, (row, entries) in enumerate(rows.items()):
            memtable.apply(row, encode_fragment(entries), number + 1)
    tables: Any = [Blocks(*given_source) for given_source in stored]
    asked = Asked(memtables, (tables,), tables, None)
    held = [*recent, *(rows for rows, _, _ in stored)]
    expected = {row: merge_entries([rows[row] for rows in held if row in rows]) for rows in held for row in rows}
    left = sorted(row for row in expected if start <= row and (not end or row < end))
    while True:
        chunk, bound = asyncio.run(finished(nearest(asked, start, end, few, last)))
        known = [row for row in left if bound is None or (row >= bound if last else row <= bound)]
        assert chunk.rows == known
        assert list(map(decode_fragment, chunk.fragments)) == [expected[row] for row in known]
        left = [row for row in left if row not in known]
        if bound is None:
            break
        assert known
        start, end = (start, bound) if last else (bound + b"\0", end)
    assert not left


@given(st.lists(st.sets(keys, max_size=30), max_size=8), st.integers(1, 4), keys | st.just(b""), st.integers(0, 6))
@settings(deadline=None)
def test_sorted_rows_are_those_of_a_sorted_list(added, piece, bound, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_rows, "PIECE_ROWS", piece)
        rows, expected = SortedRows(), []
        for some in added:
            new = [row for row in some if row not in expected]
            rows.add(new)
            expected = sorted([*expected, *new])
            rows.check_invariants()
            assert (list(rows), len(rows)) == (expected, len(expected))
            assert rows.first(bound, limit) == [row for row in expected if row >= bound][:limit]
            before = [row for row in expected if not bound or row < bound]
            assert rows.last(bound, limit) == before[max(0, len(before) - limit) :]
