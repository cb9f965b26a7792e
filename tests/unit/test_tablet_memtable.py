"""The memtable: sorted, copied on write, honest about its size."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablet.engine.model.fragments import decode_fragment, encode_fragment, encode_put
from tablet.engine.model.mutations import fragment_of
from tablet.engine.model.operations import DeleteRow, SetCell
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.merge import merge_entries

mutation = st.lists(
    st.builds(SetCell, st.sampled_from([b"f:a", b"f:b"]), st.binary(max_size=5), st.integers(0, 3))
    | st.just(DeleteRow()),
    min_size=1,
    max_size=3,
).map(fragment_of)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), mutation)))
def test_a_memtable_holds_the_merge_of_its_mutations(mutations):
    memtable = Memtable()
    expected: dict[bytes, list] = {}
    for sequence, (row, entries) in enumerate(mutations, 1):
        memtable.apply(row, encode_fragment(entries), sequence)
        expected.setdefault(row, []).insert(0, entries)
        memtable.check_invariants()
    chunk = memtable.chunk(b"", 100)
    assert chunk.rows == sorted(expected) == memtable.rows()
    for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
        assert decode_fragment(fragment) == merge_entries(expected[row]) == memtable.entries(row)


@given(st.lists(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), mutation), max_size=6), max_size=4))
def test_a_batch_is_as_good_as_its_mutations_one_by_one(batches):
    batched, single = Memtable(), Memtable()
    for sequence, batch in enumerate(batches, 1):
        rows, fragments = [row for row, _ in batch], [encode_fragment(entries) for _, entries in batch]
        batched.apply_batch(rows, fragments, sequence)
        for row, fragment in zip(rows, fragments, strict=True):
            single.apply(row, fragment, sequence)
        batched.check_invariants()
    assert batched.charged_bytes == single.charged_bytes
    assert (batched.first_sequence, batched.last_sequence) == (single.first_sequence, single.last_sequence)
    assert batched.rows() == single.rows()
    assert [batched.entries(row) for row in batched.rows()] == [single.entries(row) for row in single.rows()]
    assert batched.chunk(b"", 9).single_puts == single.chunk(b"", 9).single_puts


def test_a_batch_may_hold_a_wide_row():
    memtable = Memtable()
    wide = fragment_of([SetCell(b"f:%04d" % number, b"v" * 50, 1) for number in range(200)])
    memtable.apply_batch([b"a", b"w"], [encode_put(b"f:q", 1, b"v"), encode_fragment(wide)], 1)
    memtable.apply_batch([b"a", b"w"], [encode_put(b"f:q", 2, b"v"), encode_put(b"f:0000", 2, b"n")], 2)
    memtable.check_invariants()
    assert len(memtable.entries(b"a") or ()) == 2
    assert memtable.column_after(b"w", b"f:0000", 10) is not None
    assert not memtable.chunk(b"", 9).single_puts


def test_a_reader_keeps_the_row_it_holds_while_a_writer_replaces_it():
    memtable = Memtable()
    memtable.apply(b"r", encode_put(b"f:q", 1, b"old"), 1)
    memtable.apply(b"r", encode_put(b"f:q", 2, b"mid"), 2)
    held = memtable.entries(b"r")
    memtable.apply(b"r", encode_put(b"f:q", 3, b"new"), 3)
    assert held == ((b"f:q", -2, 0, b"mid"), (b"f:q", -1, 0, b"old"))
    assert len(memtable.entries(b"r") or ()) == 3


def test_rows_come_in_pieces():
    memtable = Memtable()
    for number in range(10):
        memtable.apply(b"%d" % number, encode_put(b"f:q", 1, b""), number + 1)
    assert memtable.chunk(b"3", 4).rows == [b"3", b"4", b"5", b"6"]
    assert memtable.chunk(b"3", 4, end=b"5").rows == [b"3", b"4"]
    assert memtable.chunk(b"9x", 2).rows == []
    assert memtable.chunk(b"", 2, last=True).rows == [b"8", b"9"]
    assert memtable.chunk(b"5", 4, end=b"7", last=True).rows == [b"5", b"6"]
    assert b"5" in memtable
    assert b"55" not in memtable
    assert len(memtable) == 10
    assert (memtable.first_sequence, memtable.last_sequence) == (1, 10)


def test_many_versions_of_one_row_are_charged_one_by_one():
    memtable = Memtable()
    for version in range(200):
        memtable.apply(b"r", encode_put(b"f:q", version, b"v" * 10), version + 1)
    memtable.check_invariants()
    assert memtable.charged_bytes > 200 * 10


@pytest.mark.parametrize("read_after", [None, 0, 3, 9])
def test_rows_are_put_in_order_a_step_at_a_time_though_somebody_reads_in_between(read_after: int | None):
    memtable, choice = Memtable(), random.Random(1)
    keys = [b"%06d" % number for number in range(20_000)]
    for number, key in enumerate(choice.sample(keys, len(keys)), 1):
        memtable.apply(key, encode_put(b"f:q", 1, b"v"), number)
        if number == 5000:
            memtable.put_in_order()
    steps = 0
    for _ in memtable.order_in_steps():
        if steps == read_after:
            assert memtable.rows() == keys
        steps += 1
    assert steps > 10
    memtable.check_invariants()
    assert not memtable._unsorted and memtable.rows() == keys
