"""Mutations become fragments, and fragments survive encoding."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Corrupted, InvalidRequest
from tablet.engine.model.checks import (
    COLUMN_LIMIT_BYTES,
    LATEST_TIMESTAMP,
    MUTATION_LIMIT_BYTES,
    ROW_LIMIT_BYTES,
    check_column,
    check_fragment_size,
    check_row,
    check_timestamp,
)
from tablet.engine.model.fragments import DELETE_CELLS, decode_fragment, encode_fragment, encode_put, is_single_put
from tablet.engine.model.mutations import Hidden, fragment_of, marker_of
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, SetCell
from tablet.engine.model.rows import Cell, Row

entries = st.lists(
    st.tuples(st.binary(max_size=20), st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 3), st.binary(max_size=40))
).map(lambda found: tuple(sorted(set(found))))


@given(entries)
def test_a_fragment_decodes_to_what_was_encoded(found):
    assert decode_fragment(encode_fragment(found)) == found


@given(st.binary(max_size=200))
def test_no_bytes_make_the_decoder_fail_otherwise_than_as_corrupted(data):
    with contextlib.suppress(Corrupted):
        decode_fragment(data)


def test_the_short_encoding_of_one_cell_equals_the_general_one():
    assert encode_put(b"f:q", -7, b"value") == encode_fragment(((b"f:q", 7, 0, b"value"),))


def test_fragments_one_behind_the_other_are_one_fragment():
    first, second = ((b"f:a", -1, 0, b"1"),), ((b"f:b", -1, 0, b"2"),)
    assert decode_fragment(encode_fragment(first) + encode_fragment(second)) == first + second


def test_versions_of_one_column_do_not_repeat_its_name():
    column = b"f:" + b"q" * 100
    assert len(encode_fragment(tuple((column, -version, 0, b"") for version in range(10, 0, -1)))) < 300


@pytest.mark.parametrize("cut", range(1, len(encode_put(b"f:q", 1, b"value"))))
def test_a_fragment_that_is_cut_off_is_corrupted(cut):
    with pytest.raises(Corrupted):
        decode_fragment(encode_put(b"f:q", 1, b"value")[:cut])


def test_only_one_live_cell_is_a_single_put():
    assert is_single_put(encode_put(b"f:q", 1, b""))
    assert not is_single_put(encode_put(b"f:a", 1, b"") + encode_put(b"f:b", 1, b""))
    assert not is_single_put(b"")


def test_the_last_of_two_writes_to_one_version_stays():
    assert fragment_of([SetCell(b"f:q", b"old", 1), SetCell(b"f:q", b"new", 1)]) == ((b"f:q", -1, 0, b"new"),)


def test_cells_without_a_timestamp_take_the_present():
    assert fragment_of([SetCell(b"f:q", b"v")], now=42) == ((b"f:q", -42, 0, b"v"),)


def test_a_deletion_hides_the_cells_before_it_in_one_mutation_but_not_those_behind():
    found = fragment_of([SetCell(b"f:q", b"1", 1), SetCell(b"f:q", b"2", 2), DeleteCells(b"f:q", end=2)])
    assert [entry for entry in found if entry[2] == 0] == [(b"f:q", -2, 0, b"2")]
    found = fragment_of([DeleteCells(b"f:q"), SetCell(b"f:q", b"1", 1)])
    assert (b"f:q", -1, 0, b"1") in found


def test_a_wider_deletion_swallows_a_narrower_one():
    assert len(fragment_of([DeleteCells(b"f:q", 1, 5), DeleteCells(b"f:q")])) == 1
    assert len(fragment_of([DeleteFamily(b"f"), DeleteCells(b"f:q")])) == 1
    assert len(fragment_of([DeleteCells(b"g:q"), DeleteFamily(b"f"), DeleteRow()])) == 1
    assert len(fragment_of([DeleteCells(b"f:q", 1, 5), DeleteCells(b"f:q", 3, 9)])) == 2


def test_an_empty_range_deletes_nothing():
    assert fragment_of([DeleteCells(b"f:q", 5, 5)]) == ()
    assert fragment_of([DeleteCells(b"f:q", 9, 3)]) == ()


def test_a_range_takes_its_start_and_leaves_its_end():
    marker = marker_of(DeleteCells(b"f:q", 3, 5))
    assert marker is not None
    hidden = Hidden([marker])
    assert [timestamp for timestamp in range(8) if hidden.hides(b"f:q", -timestamp)] == [3, 4]
    assert not hidden.hides(b"f:other", -3)
    unbounded = marker_of(DeleteCells(b"f:q"))
    assert unbounded is not None
    assert unbounded[:3] == (b"f:q", -LATEST_TIMESTAMP, DELETE_CELLS)


def test_a_family_deletion_spares_families_whose_name_begins_alike():
    hidden = Hidden([(b"\0f", 0, 2, b"")])
    assert hidden.hides(b"f:q", -1)
    assert not hidden.hides(b"ff:q", -1)


def test_markers_of_rows_and_families_stand_before_all_cells():
    found = fragment_of([DeleteRow(), DeleteFamily(b"zz"), SetCell(b"a:q", b"v", 1)])
    assert [entry[2] for entry in found] == [3, 2, 0] or [entry[2] for entry in found] == [3, 0]


def test_limits_are_stated_when_they_are_passed():
    check_row(b"r" * ROW_LIMIT_BYTES)
    for wrong in (b"", b"r" * (ROW_LIMIT_BYTES + 1)):
        with pytest.raises(InvalidRequest, match=r"65,536"):
            check_row(wrong)
    check_column(b"f:")
    check_column(b"f:a:b")
    for column in (b"", b"family", b":qualifier", b"f:" + b"q" * COLUMN_LIMIT_BYTES):
        with pytest.raises(InvalidRequest):
            check_column(column)
    with pytest.raises(InvalidRequest, match="64 bits"):
        check_timestamp(2**63)
    with pytest.raises(InvalidRequest, match="split it"):
        check_fragment_size(b"r", MUTATION_LIMIT_BYTES + 1)


def test_a_row_shows_its_cells_newest_first():
    row = Row(b"r", ((b"f:a", -2, 0, b"new"), (b"f:a", -1, 0, b"old"), (b"f:b", -1, 0, b"x")))
    assert row.value("f:a") == b"new"
    assert row.value(b"f:c") is None
    assert next(iter(row)) == Cell(b"f:a", 2, b"new")
    assert len(row) == 3
    assert "f:a" in repr(row)
    assert row == Row(b"r", row._entries)
    assert row == Row(b"r", encode_fragment(row._entries))
    assert Row(b"r", encode_put(b"f:a", 2, b"new")).value("f:a") == b"new"
