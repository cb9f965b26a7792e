"""SSTables: written whole, read by block, never believed without their checksum."""

import random
from collections.abc import Iterator
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Corrupted, IncompatibleFormat, NotFound
from runtime.real.disk import RealDisk, RealFile
from tablet.engine.model.chunks import Chunk
from tablet.engine.model.fragments import decode_fragment
from tablet.engine.model.mutations import fragment_of
from tablet.engine.model.operations import DeleteFamily, DeleteRow, SetCell
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.directory import Directory
from tablet.engine.sstable.format import FOOTER_BYTES, VERSION, Block, encode_block, seal, unseal, unsealed_body
from tablet.engine.sstable.reader import NO_MORE, Lookup, SSTable
from tablet.engine.sstable.writer import SSTableWriter
from tablet.engine.tree.backwards import TableBackwards
from tablet.engine.tree.sources import Source, TableSource
from tablet.engine.world.eventual import finished
from tablet.engine.world.storage import DiskStorage
from tests.unit.tablet_support import chunk_of, make_table

ROWS = {b"row%05d" % number: b"value %d" % number * 3 for number in range(0, 2000, 2)}


@pytest.fixture
def storage(tmp_path) -> Iterator[DiskStorage]:
    yield DiskStorage(RealDisk(tmp_path))


async def all_rows(table: SSTable, **bounds: bytes) -> list[bytes]:
    source = TableSource(table, **bounds)  # type: ignore[arg-type]
    found: list[bytes] = []
    while (chunk := await finished(source.next())).rows:
        found += chunk.rows
    return found


async def find(table: SSTable, row: bytes, column: bytes | None = b"f:q") -> bytes | None:
    fragment = await finished(table.fragment(Lookup(row, column))) if may_hold(table, row, column) else None
    return decode_fragment(fragment)[0][3] if fragment is not None else None


def may_hold(table: SSTable, row: bytes, column: bytes | None = b"f:q") -> bool:
    """What the filters say, each time collected anew."""
    directory = Directory((table,))
    found = directory.asked(row, column)
    directory.count()
    return bool(found)


@pytest.mark.parametrize("compression", ["none", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("bloom_keys", ["none", "row", "row+column"])
async def test_every_row_is_found_and_nothing_else(storage, compression, bloom_keys):
    group = LocalityGroup("default", 1024, compression, bloom_keys)
    table = await make_table(storage, 1, chunk_of(ROWS), group)
    assert table.blocks > 10
    for number in range(0, 2000, 37):
        row = b"row%05d" % number
        assert await find(table, row) == ROWS.get(row)
    assert await find(table, b"a") is None
    assert await find(table, b"z") is None
    assert await all_rows(table) == sorted(ROWS)
    assert await table.verify() == table.blocks
    await table.close()


async def test_rows_in_a_range_are_found_at_any_bounds(storage):
    table = await make_table(storage, 1, chunk_of(ROWS))
    ordered = sorted(ROWS)
    for start, end in ((b"row00100", b"row00200"), (b"row00101", b""), (b"", b"row00003"), (b"z", b""), (b"", b"a")):
        expected = [row for row in ordered if row >= start and (not end or row < end)]
        assert await all_rows(table, start=start, end=end) == expected


async def test_an_absent_row_costs_no_block(storage):
    cache = BlockCache(1 << 20)
    table = await make_table(storage, 1, chunk_of(ROWS), cache=cache)
    strangers = [b"row%05d" % number for number in range(1, 2000, 2)]
    passed = sum(may_hold(table, row) for row in strangers)
    assert passed < 0.03 * len(strangers)
    assert table.bloom_rejections == len(strangers) - passed - 1, "the last one lies behind all blocks"
    assert cache.figures.misses == 0


async def test_the_column_filter_denies_a_column_that_the_row_lacks(storage):
    table = await make_table(storage, 1, chunk_of(ROWS))
    denied = sum(not may_hold(table, row, b"f:other") for row in ROWS)
    assert denied > 0.95 * len(ROWS)
    assert all(may_hold(table, row, None) for row in ROWS)


async def test_a_deleted_row_or_family_passes_the_column_filter(storage):
    rows = {b"r1": fragment_of([DeleteRow()]), b"r2": fragment_of([DeleteFamily(b"f")]), b"r3": b"v"}
    table = await make_table(storage, 1, chunk_of(rows))
    assert may_hold(table, b"r1")
    assert may_hold(table, b"r2")
    assert table.properties.broad_markers == 2


async def test_a_row_larger_than_a_block_is_cut_between_cells_and_read_in_part(storage):
    cells = [SetCell(b"f:%04d" % number, b"v" * 100, version) for number in range(200) for version in (1, 2)]
    giant = fragment_of([DeleteFamily(b"g"), *cells])
    rows = {b"a": b"1", b"giant": giant, b"z": b"2"}
    table = await make_table(storage, 1, chunk_of(rows))
    assert table.blocks > 50
    assert may_hold(table, b"giant", None)
    assert decode_fragment(await finished(table.fragment(Lookup(b"giant", None))) or b"") == giant
    for number in (0, 1, 77, 199):
        column = b"f:%04d" % number
        part = decode_fragment(await finished(table.fragment(Lookup(b"giant", column))) or b"")
        assert [entry for entry in part if entry[0] == column] == [entry for entry in giant if entry[0] == column]
        assert any(entry[2] == 2 for entry in part), "markers come along"
        assert len(part) < 40
    assert await all_rows(table) == [b"a", b"giant", b"z"]
    source = TableSource(table)
    chunks: list[Chunk] = []
    while (chunk := await finished(source.next())).rows:
        chunks.append(chunk)
    fragments = {row: fragment for chunk in chunks for row, fragment in zip(chunk.rows, chunk.fragments, strict=True)}
    assert decode_fragment(fragments[b"giant"]) == giant
    await table.verify()


async def test_the_properties_say_what_is_in_the_file(storage):
    rows = {b"a": fragment_of([SetCell(b"f:q", b"v", -5), SetCell(b"f:q", b"v", 9), DeleteRow()]), b"b": b"v"}
    rows[b"a"] = fragment_of([DeleteRow(), SetCell(b"f:q", b"v", -5), SetCell(b"f:q", b"v", 9)])
    table = await make_table(storage, 3, chunk_of(rows))
    found = table.properties
    assert (found.rows, found.cells, found.markers, found.broad_markers) == (2, 3, 1, 1)
    assert (found.first_row, found.last_row) == (b"a", b"b")
    assert (found.oldest_timestamp, found.newest_timestamp) == (-5, 9)
    assert (found.first_sequence, found.last_sequence) == (30, 39)
    assert found.bloom_entries == 2 + 3


async def test_filters_are_partitioned_and_each_partition_is_asked_for_its_rows(storage):
    rows = {b"%08d" % number: b"" for number in range(0, 60_000, 2)}
    table = await make_table(storage, 1, chunk_of(rows), LocalityGroup(block_bytes=4096))
    assert len(table.filters) == 4
    assert all(may_hold(table, b"%08d" % number) for number in range(0, 60_000, 502))
    passed = sum(may_hold(table, b"%08d" % number) for number in range(1, 60_000, 30))
    assert passed < 60


async def test_a_file_exists_under_its_name_only_when_it_is_whole(storage):
    writer = await SSTableWriter.create(storage, "000001.sst", LocalityGroup())
    writer.add(chunk_of(ROWS))
    await writer.drain(all_of_it=True)
    assert await storage.list() == ["000001.sst.new"]
    with pytest.raises(NotFound):
        await SSTable.open(storage, "000001.sst", 1, BlockCache(0))
    await writer.finish(first_sequence=1, last_sequence=2)
    assert await storage.list() == ["000001.sst"]


async def test_a_cut_file_is_refused_at_every_length(storage, tmp_path):
    await make_table(storage, 1, chunk_of({b"a": b"1", b"b": b"2"}))
    whole = (tmp_path / "000001.sst").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "000002.sst").write_bytes(whole[:length])
        with pytest.raises((IncompatibleFormat, Corrupted), match=r"000002\.sst"):
            await SSTable.open(storage, "000002.sst", 2, BlockCache(0))


async def test_a_flipped_bit_is_found_wherever_it_is(storage, tmp_path):
    await make_table(storage, 1, chunk_of({b"a": b"1", b"b": b"2"}))
    whole = (tmp_path / "000001.sst").read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        (tmp_path / "000002.sst").write_bytes(damaged)
        with pytest.raises((IncompatibleFormat, Corrupted), match=r"000002\.sst"):
            await (await SSTable.open(storage, "000002.sst", 2, BlockCache(0))).verify()


async def test_a_foreign_file_and_one_of_a_later_version_are_told_apart(storage, tmp_path):
    (tmp_path / "000001.sst").write_bytes(b"SQLite format 3\0" * 20)
    with pytest.raises(IncompatibleFormat, match="not a whole SSTable"):
        await SSTable.open(storage, "000001.sst", 1, BlockCache(0))
    (tmp_path / "000002.sst").write_bytes(b"")
    with pytest.raises(IncompatibleFormat, match="0 bytes"):
        await SSTable.open(storage, "000002.sst", 2, BlockCache(0))
    await make_table(storage, 3, chunk_of({b"a": b"1"}))
    data = bytearray((tmp_path / "000003.sst").read_bytes())
    footer = future_footer(bytes(data[-FOOTER_BYTES:]))
    (tmp_path / "000003.sst").write_bytes(bytes(data[:-FOOTER_BYTES]) + footer)
    with pytest.raises(IncompatibleFormat, match=rf"version {VERSION + 1}"):
        await SSTable.open(storage, "000003.sst", 3, BlockCache(0))


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read of a file asks for."""
    counts: list[int] = []
    read_now = RealFile.read_now

    def counted(file: RealFile, offset: int, count: int) -> bytes:
        counts.append(count)
        return read_now(file, offset, count)

    monkeypatch.setattr(RealFile, "read_now", counted)
    return counts


async def test_of_blocks_that_are_not_compressed_a_point_read_takes_the_head_and_one_fragment(storage, read):
    rows = {b"row%05d" % number: noise(900 + number) for number in range(100)}
    table = await make_table(storage, 1, chunk_of(rows), LocalityGroup(block_bytes=16 * 1024))
    assert table.blocks < 10
    read.clear()
    for _ in range(2):
        for row, value in rows.items():
            assert await find(table, row) == value
        assert await find(table, b"row00050x") is None
    assert len(read) == table.blocks + 2 * len(rows), "heads stay in the cache"
    assert sum(read) < 1.2 * 2 * sum(map(len, rows.values()))
    read.clear()
    assert await all_rows(table) == sorted(rows)
    assert len(read) == table.blocks, "a scan of many rows takes whole blocks"
    assert await find(table, b"row00050") == rows[b"row00050"]
    assert len(read) == table.blocks + 1, "and leaves the heads where they are"


@pytest.mark.parametrize("reverse", [False, True])
async def test_the_first_rows_of_a_scan_are_read_without_their_neighbours(storage, read, reverse):
    rows = {b"row%05d" % number: noise(900 + number) for number in range(100)}
    table = await make_table(storage, 1, chunk_of(rows), LocalityGroup())
    await find(table, b"row00000"), await find(table, b"row00099")  # Their blocks' heads are in the cache now.
    read.clear()
    start, end = b"row00004", b"row00095"
    first = (await finished(table.few_rows(start, end, 4, reverse)))[0].rows
    assert first == sorted(rows)[slice(91, 95) if reverse else slice(4, 8)]
    assert len(read) == 1 and read[0] < 4 * 1100
    found = [first]
    if reverse:
        source: Source = TableBackwards(table, start=start, end=first[0])
    else:
        source = TableSource(table, start=first[-1] + b"\0", end=end)
    while (chunk := await finished(source.next())).rows:
        found.append(chunk.rows)
    assert list(chain(*(reversed(found) if reverse else found))) == sorted(rows)[4:95]


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_few_rows_are_those_of_one_block_a_wide_row_as_a_whole_and_only_those_that_count(storage, reverse):
    wide = fragment_of([SetCell(b"f:%04d" % number, b"v" * 100) for number in range(200)])
    rows = {b"%02d" % number: b"v" * 60 for number in range(30)} | {b"15": wide}
    table = await make_table(storage, 1, chunk_of(rows), LocalityGroup(block_bytes=256))
    everything = sorted(rows)
    for begin in range(31):
        for stop in range(begin, 31):
            start, end = b"%02d" % begin, b"%02d" % stop
            chunk, more = await finished(table.few_rows(start, end, 3, reverse))
            found, within = chunk.rows, everything[begin:stop]
            assert found == (within[len(within) - len(found) :] if reverse else within[: len(found)])
            assert bool(found) == bool(within)
            assert more or len(found) == len(within)
    if not reverse:
        chunk, more = await finished(table.few_rows(b"01", b"02", 1, reverse))
        assert (chunk.rows, more) == ([b"01"], False)
    chunk, _ = await finished(table.few_rows(b"15", b"16", 3, reverse))
    assert list(map(decode_fragment, chunk.fragments)) == [wide]
    table.spans = ((b"03", b"04"), (b"20", b"22"))
    chunk, more = await finished(table.few_rows(b"", b"", 3, reverse))
    assert (chunk.rows, more) == ([b"20", b"21"] if reverse else [b"03"], True)
    assert await finished(table.few_rows(b"04", b"20", 3, reverse)) == NO_MORE


async def test_damage_to_one_of_the_first_rows_of_a_scan_is_told_with_its_place(storage, tmp_path):
    rows = {b"row%05d" % number: noise(900 + number) for number in range(40)}
    table = await make_table(storage, 1, chunk_of(rows), LocalityGroup())
    path = tmp_path / table.name
    data = bytearray(path.read_bytes())
    place = data.index(rows[b"row00020"])
    data[place + 100] ^= 1
    path.write_bytes(data)
    assert (await finished(table.few_rows(b"row00008", b"", 4, False)))[0].rows == sorted(rows)[8:12]
    for last in (False, True):
        with pytest.raises(Corrupted, match=rf"{table.name}: the fragment of a row at offset {place - 20} has CRC32C"):
            await finished(table.few_rows(b"row00018", b"row00022", 4, last))


async def test_blocks_are_taken_whole_where_that_is_asked_for_or_heads_are_long(storage):
    for number, (size, cache) in enumerate(((1000, BlockCache(1 << 20, whole_blocks=True)), (20, BlockCache(1 << 20)))):
        rows = {b"row%05d" % place: noise(size + place % 10) for place in range(100)}
        table = await make_table(storage, number, chunk_of(rows), LocalityGroup(block_bytes=4096), cache)
        for row, value in rows.items():
            assert await find(table, row) == value
        assert cache.figures.misses == table.blocks
        assert cache.figures.bytes > table.properties.data_bytes, "these are not heads"


@pytest.mark.parametrize("whole_blocks", [False, True])
async def test_no_bit_of_a_block_can_turn_without_being_noticed(storage, tmp_path, whole_blocks):
    rows = {b"row%05d" % number: noise(300 + number) for number in range(10)}
    table = await make_table(storage, 1, chunk_of(rows), LocalityGroup(block_bytes=2000))
    path = tmp_path / "000001.sst"
    sound = path.read_bytes()
    end = sum(table.block_range(table.blocks - 1))
    for place in range(0, end, 7):
        path.write_bytes(sound[:place] + bytes((sound[place] ^ 1 << place % 8,)) + sound[place + 1 :])
        damaged = await SSTable.open(storage, "000001.sst", 1, BlockCache(1 << 20, whole_blocks=whole_blocks))
        refused = 0
        for row, value in rows.items():
            try:
                assert await find(damaged, row) == value
            except Corrupted as error:
                refused += 1
                assert "000001.sst" in error.message
        assert refused >= 1 or not whole_blocks
        with pytest.raises(Corrupted):
            await damaged.verify()
        await damaged.close()


def future_footer(footer: bytes) -> bytes:
    import crc32c

    from tablet.engine.sstable.format import FOOTER, MAGIC, VERSION

    *places, _, _, _ = FOOTER.unpack(footer)
    fields = FOOTER.pack(*places, VERSION + 1, 0, b"")[: -4 - len(MAGIC)]
    return fields + crc32c.crc32c(fields).to_bytes(4, "little") + MAGIC


def test_incompressible_blocks_are_stored_as_they_are():
    body = bytes(range(256))
    assert seal(body, "zstd")[:256] == body
    assert len(seal(b"a" * 1000, "zstd")) < 100
    assert unsealed_body(seal(b"a" * 1000, "lz4"), "x", 0) == b"a" * 1000


def test_a_block_of_an_unknown_compression_is_refused():
    import crc32c

    stored = b"body" + bytes([9])
    stored += crc32c.crc32c(stored).to_bytes(4, "little")
    with pytest.raises(IncompatibleFormat, match="compression 9"):
        unseal(stored, "file", 0)


@pytest.mark.parametrize("length", range(0, 40, 3))
def test_a_block_body_that_makes_no_sense_is_corrupted(length):
    body = encode_block([b"aa", b"ab"], [b"1", b"2"], single_puts=False)
    with pytest.raises(Corrupted):
        Block(body[: min(length, len(body) - 1)], min(length, len(body) - 1), "file", 0)


@given(
    st.sets(st.binary(max_size=3) | st.text("01", max_size=9).map(str.encode), min_size=1, max_size=300),
    st.lists(st.binary(max_size=3) | st.text("01", max_size=9).map(str.encode), min_size=10, max_size=30),
    st.sampled_from([b"", b"0", b"com.example/"]),
)
def test_a_block_finds_what_a_dictionary_finds(keys, strangers, prefix):
    held = {prefix + key: b"fragment of " + key for key in sorted(keys)}
    body = encode_block(list(held), list(held.values()), single_puts=False)
    block = Block(body + b"more", len(body), "x", 0)
    assert block.chunk().rows == list(held)
    for row in [*held, *strangers, *(prefix + key for key in strangers), *(row[:-1] for row in held)]:
        assert block.fragment(row) == held.get(row)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 129, 1000])
def test_a_key_is_told_from_those_that_contain_it(count):
    rows = {b"0" * number: b"%d" % number for number in range(1, 2 * count, 2)}
    body = encode_block(list(rows), list(rows.values()), single_puts=False)
    block = Block(body, len(body), "x", 0)
    assert [block.fragment(b"0" * number) for number in range(2 * count)] == [
        rows.get(b"0" * number) for number in range(2 * count)
    ]


def test_a_block_keeps_the_common_beginning_of_its_rows_once():
    rows = [b"com.example.www/page/%03d" % number for number in range(100)]
    body = encode_block(rows, [b""] * 100, single_puts=False)
    assert len(body) < 1300
    block = Block(body, len(body), "x", 0)
    for _ in range(5):
        assert block.fragment(rows[42]) == b""
        assert block.fragment(b"com.example.www/page/042x") is None
        assert block.fragment(b"other") is None
    assert block.chunk().rows == rows
