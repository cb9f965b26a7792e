"""Laying fragments over one another, and merging chunks."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.fragments import (
    Entries,
    decode_fragment,
    encode_fragment,
    encode_put,
    is_single_put,
    newer_over_older,
    newest_value_in,
    values_of_puts,
)
from tablet.engine.model.mutations import fragment_of
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, SetCell
from tablet.engine.model.schema import Family, MaxAge, MaxVersions, Schema
from tablet.engine.tree.merge import collect_chunk, collect_garbage, lay_over, merge_chunks, merge_entries
from tests.unit.tablet_support import chunk_of

COLUMNS = st.sampled_from([b"f:a", b"f:b", b"g:a"])
operation = (
    st.builds(SetCell, COLUMNS, st.binary(max_size=2), st.integers(0, 4))
    | st.builds(DeleteCells, COLUMNS, st.none() | st.integers(0, 4), st.none() | st.integers(0, 4))
    | st.builds(DeleteFamily, st.sampled_from([b"f", b"g"]))
    | st.just(DeleteRow())
)
mutation = st.lists(operation, max_size=4)
fragment = mutation.map(fragment_of)


def live(entries):
    return [entry for entry in entries if entry[2] == 0]


@given(st.lists(mutation, min_size=1, max_size=5))
def test_merging_fragments_equals_applying_their_operations_in_order(mutations):
    together = fragment_of([operation for operations in mutations for operation in operations])
    apart = merge_entries([fragment_of(operations) for operations in reversed(mutations)])
    assert live(apart) == live(together)


@given(fragment, fragment, fragment)
def test_merging_is_associative(new, middle, old):
    left = merge_entries([merge_entries([new, middle]), old])
    right = merge_entries([new, merge_entries([middle, old])])
    flat = merge_entries([new, middle, old])
    assert live(left) == live(right) == live(flat)
    later = fragment_of([SetCell(b"f:a", b"x", time) for time in range(5)])
    for merged in (left, right):
        assert live(merge_entries([merged, later])) == live(merge_entries([flat, later]))


@given(fragment, fragment)
def test_the_quick_way_of_laying_over_agrees_with_the_general_one(new, old):
    assert lay_over(new, old) == merge_entries([new, old])


@given(fragment, fragment)
def test_a_merged_fragment_is_sorted_and_has_each_version_once(new, old):
    merged = merge_entries([new, old])
    assert list(merged) == sorted(merged)
    versions = [entry[:2] for entry in live(merged)]
    assert len(versions) == len(set(versions))


rows = st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d"]), fragment.filter(bool), max_size=4)


@given(st.lists(rows, max_size=4))
def test_merging_chunks_equals_merging_each_row(sources):
    merged = merge_chunks([chunk_of(source) for source in sources])
    expected = {
        row: merge_entries([source[row] for source in sources if row in source])
        for row in sorted({row for source in sources for row in source})
    }
    assert dict(zip(merged.rows, map(decode_fragment, merged.fragments), strict=True)) == expected
    assert merged.rows == sorted(merged.rows)
    if merged.single_puts:
        assert all(map(is_single_put, merged.fragments))


many_rows = st.dictionaries(st.integers(0, 60).map(lambda number: b"%02d" % number), fragment.filter(bool))
one_cell = st.builds(encode_put, COLUMNS, st.integers(0, 3), st.binary(max_size=2))
mostly_one_cell = one_cell.map(decode_fragment) | one_cell.map(decode_fragment) | fragment.filter(bool)
few_rows = st.dictionaries(
    st.integers(0, 60).map(lambda number: b"%02d" % number), one_cell.map(decode_fragment), max_size=3
) | st.dictionaries(st.integers(0, 60).map(lambda number: b"%02d" % number), mostly_one_cell, max_size=3)


def many_and_few() -> st.SearchStrategy[list[dict[bytes, Entries]]]:
    """Sources of which one has many rows, of one cell each but for a few, at any age among those that have few."""
    full = st.builds(
        lambda cells, others: {
            **{b"%02d" % place: decode_fragment(cell) for place, cell in enumerate(cells)},
            **others,
        },
        st.lists(one_cell, min_size=40, max_size=60),
        few_rows,
    )
    return st.tuples(st.lists(few_rows, max_size=2), full, st.lists(few_rows, max_size=2)).map(
        lambda parts: [*parts[0], parts[1], *parts[2]]
    )


def knowing_others(source: dict[bytes, Entries]) -> Chunk:
    """A chunk that says which of its fragments are not one cell."""
    chunk = chunk_of(source)
    others = [place for place, fragment in enumerate(chunk.fragments) if not is_single_put(fragment)]
    return Chunk(chunk.rows, chunk.fragments, not others, others)


def expected_of(sources: list[dict[bytes, Entries]]) -> dict[bytes, Entries]:
    """Each row merged by itself, the newest source first."""
    rows = sorted({row for source in sources for row in source})
    return {row: merge_entries([source[row] for source in sources if row in source]) for row in rows}


def check_others(chunk: Chunk) -> None:
    """What a chunk says of its fragments that are not one cell is true."""
    found = {place for place, fragment in enumerate(chunk.fragments) if not is_single_put(fragment)}
    assert not (chunk.single_puts and found)
    assert found <= set(chunk.places_of_others()) <= set(range(len(chunk)))
    assert chunk.others is None or chunk.others == sorted(chunk.others)


@given(
    many_and_few() | st.lists(many_rows, max_size=3), st.integers(0, 61), st.sampled_from([chunk_of, knowing_others])
)
@settings(deadline=None)
def test_few_rows_among_many_are_merged_as_each_row_by_itself(sources, cut, made):
    merged = merge_chunks([made(source) for source in sources])
    expected = expected_of(sources)
    assert merged.rows == list(expected)
    assert list(map(decode_fragment, merged.fragments)) == list(expected.values())
    check_others(merged)
    for parts in (merged.split_after(b"%02d" % cut), merged.split_before(b"%02d" % cut)):
        assert [row for part in parts for row in part.rows] == merged.rows
        for part in parts:
            check_others(part)


@given(st.lists(many_and_few(), min_size=2, max_size=2))
@settings(deadline=None, max_examples=30)
def test_what_has_been_merged_is_merged_once_more(halves):
    newer, older = [merge_chunks([chunk_of(source) for source in sources]) for sources in halves]
    merged = merge_chunks([newer, older])
    expected = expected_of([expected_of(halves[0]), expected_of(halves[1])])
    assert dict(zip(merged.rows, map(decode_fragment, merged.fragments), strict=True)) == expected
    check_others(merged)


@given(one_cell | fragment.map(encode_fragment), one_cell | fragment.map(encode_fragment))
def test_the_quick_way_of_merging_two_cells_agrees_with_the_general_one(newer, older):
    quick = newer_over_older(newer, older)
    merged = merge_entries([decode_fragment(newer), decode_fragment(older)])
    assert quick is None or decode_fragment(quick) == merged
    same_column = is_single_put(newer) and is_single_put(older) and len({entry[0] for entry in merged}) == 1
    assert (quick is not None) == same_column
    if quick is not None:
        assert quick == encode_fragment(merged)


@given(one_cell | fragment.map(encode_fragment), COLUMNS)
def test_the_newest_value_in_a_fragment_is_that_of_its_first_cell_of_the_column(encoded, column):
    values = [entry[3] for entry in decode_fragment(encoded) if entry[0] == column and entry[2] == 0]
    assert newest_value_in(encoded, column) == (values[0] if values else None)


@given(st.lists(st.sampled_from([b"f:", b"f:a", b"f:ab", b"g:a", b"f:" + bytes(300)]), max_size=20))
def test_values_are_taken_from_cells_of_exactly_the_column(columns):
    rows = [b"%02d" % place for place in range(len(columns))]
    cells = [encode_put(column, 7, b"f:ab" + row) for row, column in zip(rows, columns, strict=True)]
    for wanted in {*columns, b"f:a", b"f:b"}:
        expected = [(row, b"f:ab" + row) for row, column in zip(rows, columns, strict=True) if column == wanted]
        assert values_of_puts(rows, cells, wanted) == expected


def test_chunks_are_cut_at_rows():
    chunk = chunk_of({b"a": b"1", b"c": b"2", b"e": b"3"})
    for row in (b"c", b"d"):
        assert [part.rows for part in chunk.split_after(row)] == [[b"a", b"c"], [b"e"]]
    assert chunk.split_after(b"z") == (chunk, EMPTY)
    assert chunk.split_after(b"0") == (EMPTY, chunk)
    assert chunk.since(b"c").rows == [b"c", b"e"]
    assert chunk.before(b"c").rows == [b"a"]
    assert chunk.before(b"z") is chunk


SCHEMA = Schema({b"f": Family("f", MaxVersions(1)), b"g": Family("g", MaxAge(10))})


def test_old_versions_are_collected():
    entries = fragment_of([SetCell(b"f:a", b"1", 1), SetCell(b"f:a", b"2", 2), SetCell(b"f:b", b"3", 1)])
    assert collect_garbage(entries, SCHEMA, 0, drop_markers=True) == ((b"f:a", -2, 0, b"2"), (b"f:b", -1, 0, b"3"))


def test_cells_that_are_too_old_are_collected_and_rows_that_are_empty_dropped():
    entries = {b"r": fragment_of([SetCell(b"g:a", b"1", 1)]), b"s": fragment_of([SetCell(b"g:a", b"1", 95)])}
    assert collect_chunk(chunk_of(entries), SCHEMA, 100, drop_markers=False).rows == [b"s"]


def test_cells_of_unknown_families_are_collected():
    schema = Schema({}, dropped=("f",))
    assert collect_chunk(chunk_of({b"r": b"v"}), schema, 0, drop_markers=False).rows == []


def test_markers_stay_until_nothing_older_is_left():
    entries = fragment_of([DeleteRow(), SetCell(b"f:a", b"1", 1)])
    assert collect_garbage(entries, SCHEMA, 0, drop_markers=False) is entries
    assert collect_garbage(entries, SCHEMA, 0, drop_markers=True) == ((b"f:a", -1, 0, b"1"),)


def test_single_cells_that_no_rule_judges_are_moved_unseen():
    chunk = chunk_of({b"r": b"v"})
    schema = Schema({b"f": Family("f", MaxVersions(1))})
    assert collect_chunk(chunk, schema, 0, drop_markers=True) is chunk


def test_an_unchanged_fragment_is_not_encoded_again():
    entries = fragment_of([SetCell(b"f:a", b"1", 1), SetCell(b"f:b", b"1", 1)])
    encoded = encode_fragment(entries)
    chunk = Chunk([b"r"], [encoded], False)
    assert collect_chunk(chunk, SCHEMA, 0, drop_markers=True).fragments[0] is encoded


def test_a_chunk_in_pieces_has_the_same_rows_and_no_piece_is_larger_than_it_need_be():
    sizes = [3, 3, 4, 30, 1, 9, 0, 2, 8]
    rows = [b"%02d" % place for place in range(len(sizes))]
    chunk = Chunk(rows, [bytes(size) for size in sizes], False)
    pieces = list(chunk.pieces(10))
    assert [row for piece in pieces for row in piece.rows] == rows
    assert [[len(fragment) for fragment in piece.fragments] for piece in pieces] == [[3, 3, 4], [30], [1, 9, 0], [2, 8]]
    assert not list(EMPTY.pieces(10)) and not any(piece.single_puts for piece in pieces)
