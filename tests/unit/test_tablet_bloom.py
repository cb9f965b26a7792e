"""Bloom filters: the library's bits, set and asked in bulk; rates measured."""

import random

import pytest
from pybloom_live import BloomFilter

from runtime.errors import Corrupted
from tablet.engine.sstable.bloom import PARTITION_KEYS, HashedKey, build_filter, column_key, decode_filter


def keys(count: int, seed: int = 1) -> list[bytes]:
    source = random.Random(seed)
    return [b"%016d" % source.randrange(10**16) for _ in range(count)]


@pytest.mark.parametrize("rate", [0.3, 0.05, 0.01, 0.004])
def test_bits_set_in_bulk_are_those_that_pybloom_live_sets(rate):
    found = keys(500)
    ours = build_filter(found, rate)
    theirs = BloomFilter(len(found), rate)
    for key in found:
        theirs.add(key.decode(), skip_check=True)
    assert ours.bloom.bitarray == theirs.bitarray
    probes = [*found[:50], *keys(200, seed=2)]
    assert [ours.may_contain(HashedKey(key)) for key in probes] == [key.decode() in theirs for key in probes]


@pytest.mark.parametrize("rate", [0.05, 0.01, 0.0001])
@pytest.mark.parametrize("count", [1, 100, 3000])
def test_no_key_that_was_added_is_ever_denied(rate, count):
    found = keys(count)
    built = build_filter(found, rate)
    assert all(built.may_contain(HashedKey(key)) for key in found)


@pytest.mark.parametrize("rate", [0.1, 0.01])
@pytest.mark.parametrize("count", [5000, 13_000, PARTITION_KEYS])
def test_the_measured_rate_of_false_positives_is_the_configured_one(rate, count):
    built = build_filter(keys(count), rate)
    strangers = [b"x" + key for key in keys(10_000, seed=3)]
    mistaken = sum(built.may_contain(HashedKey(key)) for key in strangers) / len(strangers)
    assert mistaken < 1.35 * rate
    assert 0.35 < built.fill_ratio < 0.6


def test_bytes_beyond_ascii_are_keys_like_any_other():
    found = [b"\xff\x00", b"\xc3\xa4", b"", column_key(b"r\xfe", b"f:\xfd")]
    for rate in (0.01, 0.0001):
        built = build_filter(found, rate)
        assert all(built.may_contain(HashedKey(key)) for key in found)
        assert "\xff\x00" in built.bloom


def test_a_filter_survives_encoding():
    built = build_filter(keys(100), 0.01)
    again = decode_filter(built.encode())
    assert again.bloom.bitarray[: built.bloom.num_bits] == built.bloom.bitarray
    assert all(again.may_contain(HashedKey(key)) for key in keys(100))


def test_what_is_no_filter_is_corrupted():
    data = build_filter(keys(100), 0.01).encode()
    for wrong in (b"", b"abc", data[:60], data[:-3]):
        with pytest.raises(Corrupted):
            decode_filter(wrong)


def test_a_full_partition_stays_below_the_librarys_limit_for_short_hashes():
    assert build_filter(keys(PARTITION_KEYS), 0.004).bloom.bits_per_slice < 2**15
