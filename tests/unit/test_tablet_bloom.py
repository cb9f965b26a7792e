"""Bloom filters: what every policy keeps, the bits of each on the disk, and files that name their policy."""

import asyncio
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from pybloom_live import BloomFilter

import tablet.engine
from runtime.errors import Corrupted, IncompatibleFormat, InvalidRequest
from runtime.real.disk import RealDisk
from tablet.engine.model import schema
from tablet.engine.model.schema import LocalityGroup, Schema
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.bloom import blocked, sliced
from tablet.engine.sstable.bloom.blocked import WORD_BITS, BlockedPolicy, keys_per_word
from tablet.engine.sstable.bloom.named import POLICIES, policy_of
from tablet.engine.sstable.bloom.policy import PARTITION_KEYS, Filter, column_key
from tablet.engine.sstable.bloom.sliced import SlicedPolicy
from tablet.engine.sstable.directory import Directory
from tablet.engine.sstable.properties import TableProperties
from tablet.engine.sstable.reader import SSTable
from tablet.engine.sstable.writer import SSTableWriter
from tablet.engine.tree.manifest import FILE, load_manifest
from tablet.engine.world.storage import DiskStorage
from tablet.tools.inspection import inspect
from tests.unit.tablet_support import chunk_of, make_table

each_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))


def keys(count: int, seed: int = 1) -> list[bytes]:
    source = random.Random(seed)
    return [b"%016d" % source.randrange(10**16) for _ in range(count)]


def knows(found: Filter, key: bytes) -> bool:
    return found.may_contain(key)


def test_the_policies_are_those_that_a_schema_can_name():
    assert {name: policy.name for name, policy in POLICIES.items()} == {name: name for name in schema._LEAST_RATES}


@each_policy
@given(st.lists(st.binary(max_size=30), min_size=1), st.floats(0.001, 0.5), st.data())
def test_no_key_that_was_put_in_is_ever_denied_before_and_after_it_was_stored(policy, held, rate, data):
    built = policy.build(held, rate)
    again = policy.decode(built.encode())
    assert all(knows(built, key) and knows(again, key) for key in held)
    stranger = data.draw(st.binary(max_size=30))
    assert knows(built, stranger) == knows(again, stranger)
    assert again.encode() == built.encode()
    assert (again.keys, again.shape, again.fill_ratio) == (len(held), built.shape, built.fill_ratio)


@pytest.mark.parametrize("rate", [1e-9, 0.0001, 0.003])
def test_rates_for_which_pybloom_live_needs_longer_hashes_deny_no_key_either(rate):
    held = [*keys(300), b"\xff\x00", b""]
    found = SlicedPolicy().decode(SlicedPolicy().build(held, rate).encode())
    assert all(knows(found, key) for key in held)


def test_a_block_with_more_keys_than_a_partition_has_a_filter_that_denies_none():
    held = keys(3 * PARTITION_KEYS)
    for policy in POLICIES.values():
        found = policy.decode(policy.build(held, 0.01).encode())
        assert all(knows(found, key) for key in held[::50])


@each_policy
@pytest.mark.parametrize("rate", [0.3, 0.1, 0.01, 0.004])
@pytest.mark.parametrize("count", [5000, 13_000, PARTITION_KEYS])
def test_the_measured_rate_of_false_positives_is_the_configured_one(policy, rate, count):
    built = policy.build(keys(count), rate)
    strangers = [b"x" + key for key in keys(20_000, seed=3)]
    mistaken = sum(knows(built, key) for key in strangers) / len(strangers)
    assert 0.6 * rate < mistaken < 1.35 * rate


@each_policy
def test_what_is_no_filter_is_corrupted(policy):
    data = policy.build(keys(100), 0.01).encode()
    for wrong in (b"", b"abc", data[:60], data[:-3], data + b"\0" * 8, bytes(len(data)), b"\xff" * len(data)):
        with pytest.raises(Corrupted):
            policy.decode(wrong)


@each_policy
@given(data=st.binary(max_size=80))
def test_any_bytes_are_a_filter_or_corrupted(policy, data):
    try:
        found = policy.decode(data)
    except Corrupted:
        return
    knows(found, b"key")
    assert found.keys >= 0


@pytest.mark.parametrize("rate", [0.3, 0.05, 0.01, 0.004])
def test_bits_set_in_bulk_are_those_that_pybloom_live_sets(rate):
    found = [*keys(500), b"\xff\x00", b"\xc3\xa4", b"", column_key(b"r\xfe", b"f:\xfd")]
    ours = SlicedPolicy().build(found, rate)
    theirs = BloomFilter(len(found), rate)
    for key in found:
        theirs.add(key.decode("latin-1"), skip_check=True)
    assert ours.bloom.bitarray == theirs.bitarray
    probes = [*found[:50], *keys(200, seed=2)]
    assert [knows(ours, key) for key in probes] == [key.decode("latin-1") in theirs for key in probes]


def test_a_full_partition_stays_below_the_librarys_limit_for_short_hashes():
    assert SlicedPolicy().build(keys(PARTITION_KEYS), 0.004).bloom.bits_per_slice < 2**15


def test_a_library_that_sets_other_bits_is_refused_before_a_key_is_missed(monkeypatch):
    stored = SlicedPolicy().build([b"a"], 0.01).encode()

    class Other(BloomFilter):  # type: ignore[misc]
        def add(self, key: str, skip_check: bool = False) -> bool:
            return bool(super().add(key + "x", skip_check))

    monkeypatch.setattr(sliced, "BloomFilter", Other)
    sliced._check_library.cache_clear()
    for act in (lambda: SlicedPolicy().build([b"a"], 0.01), lambda: SlicedPolicy().decode(stored)):
        with pytest.raises(IncompatibleFormat, match="pybloom-live does not set the bits"):
            act()
    monkeypatch.undo()
    sliced._check_library.cache_clear()
    assert knows(SlicedPolicy().decode(stored), b"a")


def test_a_blocked_filter_has_the_bits_that_its_format_says():
    held, rate = keys(400), 0.01
    count, words = struct.unpack_from("<II", data := BlockedPolicy().build(held, rate).encode())
    assert (count, words) == (400, -(-400 // keys_per_word(rate)))
    expected = [0] * words
    for key in held:
        digest = int.from_bytes(xxhash.xxh3_64_digest(key), "big")
        low, high = blocked._LOWER[(digest >> 48) % 4960], blocked._LOWER[(digest >> 32) % 2**16 % 4960]
        expected[digest % 2**32 % words] |= low | high << 32
    assert data[8:] == struct.pack(f"<{words}Q", *expected)


def test_the_choices_of_three_bits_are_all_there_are_in_lexicographic_order():
    assert [*blocked._LOWER[:3], blocked._LOWER[-1]] == [0b111, 0b1011, 0b10011, 0b111 << 29]
    assert len(set(blocked._LOWER)) == 4960
    assert {choice.bit_count() for choice in blocked._LOWER} == {3}


def test_a_blocked_filter_has_as_many_bits_a_key_as_the_page_says():
    for rate, bits in ((0.1, 5.9), (0.01, 12.1), (0.004, 15.8), (0.001, 23.7)):
        assert WORD_BITS / keys_per_word(rate) < bits


@pytest.fixture
def storage(tmp_path) -> DiskStorage:
    return DiskStorage(RealDisk(tmp_path))


ROWS = {b"row%05d" % number: b"value" for number in range(0, 2000, 2)}


@pytest.mark.parametrize("policy", list(POLICIES))
async def test_a_file_names_its_policy_and_is_read_with_it(storage, policy):
    table = await make_table(storage, 1, chunk_of(ROWS), LocalityGroup(block_bytes=512, bloom_policy=policy))
    assert table.properties.bloom_policy == policy
    assert {type(found) for found in table.filters} == {type(POLICIES[policy].build([b"a"], 0.01))}
    directory = Directory((table,))
    assert all(directory.asked(row, b"f:q") for row in ROWS)
    strangers = [row + b"x" for row in ROWS]
    assert sum(bool(directory.asked(row, b"f:q")) for row in strangers) < 0.02 * len(strangers)


@pytest.mark.parametrize("policy", list(POLICIES))
async def test_a_flipped_bit_in_a_filter_is_corrupted(storage, tmp_path, policy):
    table = await make_table(storage, 1, chunk_of(ROWS), LocalityGroup(bloom_policy=policy))
    (start, stored) = next((start, stored) for what, start, stored in table.parts if what == "filter 0")
    await table.close()
    whole = (tmp_path / "000001.sst").read_bytes()
    for place in range(start, start + stored, 13):
        (tmp_path / "000001.sst").write_bytes(whole[:place] + bytes((whole[place] ^ 1,)) + whole[place + 1 :])
        with pytest.raises(Corrupted, match=r"000001\.sst"):
            await SSTable.open(storage, "000001.sst", 1, BlockCache(0))


async def test_a_filter_whose_checksum_is_right_but_not_its_content_names_the_file(storage, monkeypatch):
    monkeypatch.setattr(sliced.SlicedFilter, "encode", lambda self: b"no filter")
    with pytest.raises(Corrupted, match=r"000001\.sst: the filter at offset \d+: a Bloom filter of 9 bytes"):
        await make_table(storage, 1, chunk_of(ROWS), LocalityGroup(bloom_policy="pybloom-live"))


async def test_a_policy_that_is_not_known_is_refused_with_those_that_are(storage, monkeypatch):
    said = TableProperties.to_message
    monkeypatch.setattr(TableProperties, "to_message", lambda self: said(replace(self, bloom_policy="ribbon")))
    with pytest.raises(IncompatibleFormat, match=r"000001\.sst says .* 'ribbon'; known are pybloom-live, blocked"):
        await make_table(storage, 1, chunk_of(ROWS))
    without = LocalityGroup(bloom_keys="none")
    assert (await make_table(storage, 2, chunk_of(ROWS), without)).properties.bloom_policy == "ribbon", "not needed"
    with pytest.raises(IncompatibleFormat):
        policy_of("000001.sst", "")


def policies_in(folder: Path) -> list[str]:
    """What the tools show of a tablet's SSTables, the newest first."""
    report = asyncio.run(inspect(DiskStorage(RealDisk(folder))))
    return [table.filters.policy for table in report.groups[0].tables if table.filters is not None]


def test_both_policies_are_read_in_one_tablet_after_a_change_of_the_schema(tmp_path: Path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        for number, policy in enumerate(POLICIES):
            table.set_locality_group(LocalityGroup(bloom_policy=policy))
            for row in range(number, 300, 3):
                table.put(b"row%03d" % row, b"f:q", b"of %d" % number)
            table.flush()
    assert policies_in(tmp_path) == ["blocked", "pybloom-live"]
    with tablet.engine.open(tmp_path) as table:
        for row in range(300):
            found = table.get(b"row%03d" % row, b"f:q")
            assert found == (b"of %d" % (row % 3) if row % 3 < 2 else None)
        assert table.figures().tables[0].bloom_rejections > 190
        table.compact()
        assert len(list(table.scan())) == 200
    assert policies_in(tmp_path) == ["blocked"]


def test_a_schema_with_a_policy_that_is_not_known_is_refused(tmp_path: Path):
    with pytest.raises(InvalidRequest, match="choose one of pybloom-live, blocked"):
        Schema().with_group(LocalityGroup(bloom_policy="ribbon"))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"choose 0\.001 to 0\.5 for the Bloom filter policy 'blocked'"):
        Schema().with_group(LocalityGroup(bloom_policy="blocked", false_positive_rate=0.0005))
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
    path = max(tmp_path.glob("manifest-*"))
    message = asyncio.run(load_manifest(DiskStorage(RealDisk(tmp_path)), path.name)).to_message()
    message.schema.groups[0].bloom_policy = "ribbon"
    path.write_bytes(FILE.framed(message, sequence=message.number))
    with pytest.raises(IncompatibleFormat, match="'default' has the Bloom filter policy 'ribbon'; known are"):
        tablet.engine.open(tmp_path)


async def test_the_writer_takes_the_policy_of_the_group(storage):
    writer = await SSTableWriter.create(storage, "000001.sst", LocalityGroup(bloom_policy="blocked"))
    writer.add(chunk_of(ROWS))
    assert (await writer.finish(first_sequence=1, last_sequence=2)).bloom_policy == "blocked"
