"""What a filter cannot show is not read: counted in blocks and cells, with the answer compared to that of a full read.

Each test also asks without the push-down (`unaided`), for the same answer at a higher price: so it fails if a push-down
is lost, and if it leaves out too much.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tablet.engine
from runtime.errors import InvalidRequest, NotFound
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.model import fragments
from tablet.engine.model.filter_tree import (
    ApplyLabel,
    BlockAll,
    CellsPerColumn,
    CellsPerRow,
    CellsPerRowOffset,
    Chain,
    Condition,
    FamilyRegex,
    Interleave,
    PassAll,
    QualifierRange,
    QualifierRegex,
    RowRegex,
    RowSample,
    Sink,
    StripValue,
    TimestampRange,
    ValueRange,
    ValueRegex,
)
from tablet.engine.model.filters import RowFilter
from tablet.engine.model.ranges import RowRange
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.serving import scanning
from tablet.engine.world.options import Options

ROWS = 400
GENERATIONS = 3


@pytest.fixture
def table(tmp_path: Path) -> Iterator[EmbeddedTablet]:
    """400 rows with a cell in each of two groups, in three SSTables whose timestamps do not overlap; no caches."""
    with tablet.engine.open(tmp_path, Options(block_cache_bytes=0, scan_cache_bytes=0)) as opened:
        opened.set_locality_group(LocalityGroup(block_bytes=1024, compression="none"))
        opened.set_locality_group(LocalityGroup("other", block_bytes=1024, compression="none"))
        opened.create_family("f")
        opened.create_family("g", group="other")
        for generation in range(GENERATIONS):
            for number in range(ROWS):
                row, stamp = f"{number:04}", 1000 * generation + number
                opened.put(row, "f:a", b"%d" % number, stamp)
                opened.put(row, "g:a", bytes(50), stamp)
            opened.flush()
        yield opened


def blocks_read(table: EmbeddedTablet) -> int:
    figures = table.figures()
    return sum(cache.hits + cache.misses for cache in (figures.block_cache, figures.pinned_blocks))


def cost(table: EmbeddedTablet, wanted: RowFilter | None, **where) -> tuple[int, list]:
    """The blocks that a scan asks for, and what it shows."""
    before = blocks_read(table)
    found = [(row.key, row.cells, row.labels) for row in table.scan(wanted=wanted, **where)]
    return blocks_read(table) - before, found


def unaided(wanted: RowFilter) -> RowFilter:
    """A filter that shows the same, and of which nothing can be pushed down: the first part might judge any cell."""
    return Chain(Interleave(PassAll(), Chain(CellsPerRow(1), BlockAll())), CellsPerRowOffset(0), wanted)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("wanted", "share"),
    [
        (FamilyRegex("f"), 1 / 2),  # One of two groups, and the smaller one.
        (QualifierRange("f", "a", "b"), 1 / 2),
        (Chain(CellsPerColumn(1), FamilyRegex("f|x")), 1 / 2),
        (Interleave(Chain(FamilyRegex("f"), ApplyLabel("l")), QualifierRange("f")), 1 / 2),
        (TimestampRange(0, 1000), 0.4),  # One of three SSTables.
        (TimestampRange(2000, None), 0.4),
        (Condition(Chain(TimestampRange(0, 500), ValueRegex("1.*")), TimestampRange(100, 700)), 0.4),
    ],
)
def test_a_scan_reads_only_groups_and_files_that_can_influence_the_result(table, wanted, share, reverse):
    blocks, found = cost(table, wanted, reverse=reverse)
    full_blocks, expected = cost(table, unaided(wanted), reverse=reverse)
    assert found == expected
    assert found
    assert blocks <= share * full_blocks, f"{blocks} of {full_blocks} blocks"


@pytest.mark.parametrize("reverse", [False, True])
def test_a_row_expression_narrows_a_scan_to_the_keys_it_can_match(table, reverse):
    everything, _ = cost(table, None)
    for wanted in (RowRegex("012."), Chain(ValueRegex(".*"), RowRegex("0129|012[0-8]"))):
        blocks, found = cost(table, wanted, reverse=reverse)
        assert [row for row, _, _ in found] == sorted((b"%04d" % n for n in range(120, 130)), reverse=reverse)
        assert blocks <= everything / 6
    before = table.figures().tables[0].bloom_checks
    blocks, found = cost(table, RowRegex("0123"), reverse=reverse)
    assert [row for row, _, _ in found] == [b"0123"]
    assert table.figures().tables[0].bloom_checks == before + 1, "a single key is looked up"
    assert blocks == 2 * GENERATIONS
    assert cost(table, BlockAll(), reverse=reverse) == (0, [])


def test_single_keys_and_ranges_read_their_own_blocks_only(table):
    everything, _ = cost(table, None)
    blocks, found = cost(table, None, rows=["0003", "0390", "9999", RowRange("0100", "0110")])
    assert [row for row, _, _ in found] == [b"0003", *(b"%04d" % n for n in range(100, 110)), b"0390"]
    assert blocks <= everything / 5  # A block that is asked for again, for more of its rows, is counted again.


def test_a_point_read_reads_only_groups_and_files_that_can_influence_the_result(table):
    def blocks_of(wanted: RowFilter) -> int:
        before = blocks_read(table)
        found, expected = table.read("0123", wanted), table.read("0123", unaided(wanted))
        assert found == expected
        total = blocks_read(table) - before
        before = blocks_read(table)
        table.read("0123", unaided(wanted))
        return total - (blocks_read(table) - before)

    assert blocks_of(PassAll()) == 2 * GENERATIONS
    assert blocks_of(FamilyRegex("f")) == GENERATIONS
    assert blocks_of(TimestampRange(1000, 2000)) == 2
    assert blocks_of(Chain(FamilyRegex("f"), TimestampRange(1000, 2000))) == 1
    assert blocks_of(Chain(FamilyRegex("f"), QualifierRegex("a"), CellsPerColumn(1))) == 1, "the newest file is enough"
    assert blocks_of(RowRegex("9.*")) == 0
    assert blocks_of(Chain(FamilyRegex("g"), QualifierRegex("nowhere"))) == 0, "the Bloom filters know the column"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many value bytes scans have copied out of fragments since it was asked last."""
    counted = [0]

    def counting(decode):
        def counted_decode(fragment: bytes) -> fragments.Entries:
            entries = decode(fragment)
            counted[0] += sum(len(value) for *_, value in entries)
            return entries

        return counted_decode

    for name in ("decode_fragment", "decode_without_values"):
        monkeypatch.setattr(scanning, name, counting(getattr(fragments, name)))

    def since_last() -> int:
        found, counted[0] = counted[0], 0
        return found

    return since_last


def test_values_that_nobody_looks_at_are_not_copied(table, decoded):
    stripped = Chain(FamilyRegex("g"), StripValue())
    _, found = cost(table, stripped)
    assert decoded() == 0
    _, expected = cost(table, Chain(ValueRange(), stripped))
    assert found == expected
    assert decoded() == GENERATIONS * ROWS * 50


def test_rows_that_an_expression_excludes_are_not_decoded(table, decoded):
    _, found = cost(table, Chain(FamilyRegex("g"), RowRegex(".*7")))
    assert len(found) == ROWS / 10
    assert decoded() == GENERATIONS * ROWS / 10 * 50


def nested(depth: int) -> RowFilter:
    tree: RowFilter = PassAll()
    for _ in range(depth):
        tree = Chain(tree)
    return tree


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ValueRegex("a("), r"pattern of ValueRegex b'a\('.*RE2"),
        (lambda: RowRegex(r"(a)\1"), "without look-ahead and back-references"),
        (lambda: FamilyRegex("(?=a)"), "without look-ahead and back-references"),
        (lambda: ValueRegex("((a{100}){100}){100}"), "RE2"),
        (lambda: ValueRegex(7), "pattern of ValueRegex is 7"),
        (lambda: nested(20), "nested 21 deep; at most 20"),
        (lambda: Interleave(*[PassAll()] * 1000), "1,001 filters; at most 1,000"),
        (lambda: Chain("page"), "'page' is no filter"),
        (lambda: CellsPerRowOffset(-1), "count of CellsPerRowOffset is -1; give a whole number, at least 0"),
        (lambda: CellsPerRow(0), "at least 1"),
        (lambda: CellsPerColumn(True), "at least 1"),
        (lambda: CellsPerRow(1.0), "whole number"),
        (lambda: RowSample(1), "between 0 and 1"),
        (lambda: RowSample(float("nan")), "between 0 and 1"),
        (lambda: QualifierRange("f:", "a"), "not a family"),
        (lambda: QualifierRange("f", "b", "a"), "is after its end"),
        (lambda: ValueRange("b", "a"), "is after its end"),
        (lambda: ValueRange("a", start_open=1), "start_open of ValueRange is 1"),
        (lambda: TimestampRange(2, 1), "is after its end"),
        (lambda: TimestampRange(2**63), "64 bits"),
        (lambda: TimestampRange(0.5), "whole microseconds"),
        (lambda: ApplyLabel("Upper"), "lower-case"),
        (lambda: Chain(ApplyLabel("a"), ApplyLabel("b")), "put them into an Interleave"),
        (lambda: Condition(PassAll(), Chain(Sink())), "put it after the Condition"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_with_what_is_wrong(make, told):
    with pytest.raises(InvalidRequest, match=told):
        make()


def test_a_read_refuses_what_is_no_filter_and_families_that_there_are_not(table):
    class Stranger(RowFilter):
        pass

    for wanted in ("page", Stranger(), RowFilter(), Chain(Stranger())):
        with pytest.raises(InvalidRequest, match="no filter"):
            table.read("0123", wanted)
        with pytest.raises(InvalidRequest, match="no filter"):
            list(table.scan(wanted=wanted))
        with pytest.raises(InvalidRequest, match="no filter"):
            table.check_and_mutate("0123", wanted)
    with pytest.raises(NotFound, match="no column family 'x'"):
        table.read("0123", Chain(QualifierRange("x")))
    assert table.read("0123", FamilyRegex("x")) is None, "an expression need not match anything"
