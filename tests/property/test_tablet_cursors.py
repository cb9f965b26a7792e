"""Cursors over several sources against a dictionary, in both directions, whether rows are in memory or must be read.

Each source hands its rows out in chunks of its own, cut anywhere; some give a chunk at once, others a coroutine.
"""

import asyncio
from collections.abc import Sequence

import hypothesis.strategies as st
from hypothesis import given, settings

from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.fragments import Entries, decode_fragment
from tablet.engine.model.mutations import fragment_of
from tablet.engine.model.operations import DeleteRow, SetCell
from tablet.engine.tree.backwards import MergeBackwards
from tablet.engine.tree.merge import merge_chunks, merge_entries
from tablet.engine.tree.sources import ChainedSource, MergeCursor, Source
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
