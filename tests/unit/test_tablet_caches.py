"""The caches: bounded, and told what to forget."""

from hypothesis import given
from hypothesis import strategies as st

from tablet.engine.sstable.block_cache import BlockCache, PinnedBlocks
from tablet.engine.sstable.format import Block, encode_block
from tablet.engine.tree.scan_cache import ScanCache


def block(size: int) -> Block:
    body = encode_block([b"r"], [b"x" * size], single_puts=False)
    return Block(body, len(body), "t", 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 2000))))
def test_the_block_cache_never_holds_more_than_its_limit(steps):
    cache = BlockCache(5000)
    for put, place, size in steps:
        if put:
            cache.put((1, place), block(size))
        else:
            cache.get((1, place))
        cache.check_invariants()


def test_what_was_used_longest_ago_goes_first():
    cache = BlockCache(3 * block(100).charged_bytes)
    for place in range(3):
        cache.put((1, place), block(100))
    cache.get((1, 0))
    cache.put((1, 3), block(100))
    assert [cache.get((1, place)) is not None for place in range(4)] == [True, False, True, True]
    assert (cache.figures.hits, cache.figures.misses) == (4, 1)


def test_blocks_of_a_removed_file_are_forgotten():
    cache = PinnedBlocks(1 << 20)
    cache.put((1, 0), block(10))
    cache.put((2, 0), block(10))
    cache.forget_file(1, 1)
    assert cache.get((1, 0)) is None
    assert cache.get((2, 0)) is not None
    cache.check_invariants()


KEY = ("default", b"f:q", True)


@given(st.lists(st.tuples(st.sampled_from("pgfo"), st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 400))))
def test_the_scan_cache_never_holds_more_than_its_limit(steps):
    cache = ScanCache(10_000)
    for step, row, size in steps:
        if step == "p":
            assert cache.wants(row) or cache.wants(row), "at the second time at the latest"
            cache.put(row, KEY, ((b"f:q", -1, 0, b"v" * size),), b"v" * size)
        elif step == "o":
            cache.overtaken(row)
        elif step == "g":
            cache.get(row, KEY)
        else:
            cache.forget([row])
        cache.check_invariants()


def test_the_scan_cache_answers_only_what_was_asked_before():
    cache = ScanCache(100_000)
    assert not cache.wants(b"r"), "what is read once may never be read again"
    assert cache.wants(b"r")
    cache.put(b"r", KEY, ())
    assert cache.wants(b"r"), "another thing was asked, and takes its place"
    assert cache.get(b"r", KEY) == ()
    assert cache.get(b"r", ("default", b"f:other", True)) is None
    cache.forget([b"r"])
    assert cache.get(b"r", KEY) is None


def test_a_newest_value_is_known_until_a_memtable_speaks_of_its_row():
    cache, entries = ScanCache(100_000), ((b"f:q", -1, 0, b"v"),)
    cache.put(b"r", KEY, entries, b"v")
    assert cache.newest(b"r", b"f:q") == b"v"
    assert cache.newest(b"r", b"f:other") is None
    assert cache.newest(b"s", b"f:q") is None
    assert (cache.figures.hits, cache.figures.misses) == (1, 0)
    assert cache.settled_rows() == [b"r"]
    cache.overtaken(b"r")
    cache.overtaken(b"s")
    assert cache.newest(b"r", b"f:q") is None
    assert cache.get(b"r", KEY) == entries, "the SSTables still say what they said"
    cache.check_invariants()
