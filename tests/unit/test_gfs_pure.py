"""The pure parts of the client: cutting into pieces, distance, caches, and what to do after a failed try."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gfs.distance import Spot, distance, nearest_first, plan_chain
from gfs.names.identity import FileIdentity
from gfs.names.location_cache import LeaseHolderCache, LocationCache
from gfs.names.master_link import RequestIds
from gfs.reading.pieces import cut
from gfs.writing.writing import NextTry, plan_next_try
from runtime.errors import (
    DataNotBuffered,
    InvalidRequest,
    MutationFailed,
    NoSpace,
    NotPrimary,
    StaleVersion,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from runtime.wire.common_pb2 import ChunkLocations, Location
from runtime.wire.master_pb2 import FileInfo, FindLocationsReply, LeaseHolder


@given(
    position=st.integers(0, 5000),
    length=st.integers(0, 5000),
    chunk_bytes=st.integers(1, 700),
    piece_bytes=st.integers(1, 900),
)
def test_pieces_cover_the_range_once_and_cross_no_boundary(
    position: int, length: int, chunk_bytes: int, piece_bytes: int
):
    here = position
    for piece in cut(position, length, chunk_bytes=chunk_bytes, piece_bytes=piece_bytes):
        assert piece.position == here and piece.length > 0
        assert (piece.index, piece.offset) == divmod(piece.position, chunk_bytes)
        assert piece.offset + piece.length <= chunk_bytes
        assert piece.offset // piece_bytes == (piece.offset + piece.length - 1) // piece_bytes
        here = piece.end
    assert here == position + length


def servers(*hosts: str) -> list[Location]:
    return [Location(server=f"at {host}", bulk_address=f"{host}:1") for host in hosts]


def test_a_chain_visits_every_replica_once_and_goes_on_to_the_nearest():
    dice = random.Random(6)
    for _ in range(100):
        hosts = [f"10.{dice.randrange(3)}.{dice.randrange(3)}.{number}" for number in range(1, 6)]
        replicas = servers(*hosts)
        here, left = "10.0.0.9", list(hosts)
        for replica in plan_chain(replicas, Spot(here), dice.randrange(100)):
            host = replica.bulk_address.split(":")[0]
            assert distance(here, host) == min(distance(here, other) for other in left)
            left.remove(host)
            here = host
        assert left == []


def test_a_chain_stays_in_a_rack_and_in_a_data_centre_as_long_as_it_can():
    replicas = servers("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    for replica, (centre, rack) in zip(replicas, ("xa", "yc", "xb", "xa"), strict=True):
        replica.data_centre, replica.rack = centre, rack
    for spread in range(4):
        chain = plan_chain(replicas, Spot("10.9.9.9", "b", "x"), spread)
        assert [replica.rack for replica in chain] == ["b", "a", "a", "c"]
    assert nearest_first(replicas, Spot("10.0.0.1", "c", "y"), 0)[0].rack == "c", "a rack goes before an address"


def test_equally_near_replicas_share_the_work_over_the_chunks_and_keep_their_place_for_one():
    replicas = servers("127.0.0.1", "127.0.0.1", "127.0.0.1")
    for number, replica in enumerate(replicas):
        replica.server = f"cs{number}"
    first = [nearest_first(replicas, Spot("127.0.0.1"), handle)[0].server for handle in range(300)]
    assert {name: first.count(name) for name in first} == {"cs0": 100, "cs1": 100, "cs2": 100}
    here = Spot("127.0.0.1")
    assert nearest_first(replicas[::-1], here, 7) == nearest_first(replicas, here, 7)


def reply_for(*indexes: int) -> FindLocationsReply:
    chunks = [ChunkLocations(index=index, handle=100 + index) for index in indexes]
    return FindLocationsReply(file=FileInfo(chunk_bytes=64, chunk_count=10), chunks=chunks)


def named(path: str, file_id: int = 1) -> FileIdentity:
    return FileIdentity(path, file_id)


def test_locations_are_forgotten_by_chunk_file_and_tree():
    cache = LocationCache(30.0)
    for path in ("/d", "/d/a", "/d/b/c", "/dd"):
        cache.remember(named(path), reply_for(0, 1), now=0.0)
    cache.forget_chunk(named("/dd"), 0)
    assert cache.chunk(named("/dd"), 0, now=1.0) is None and cache.chunk(named("/dd"), 1, now=1.0) is not None
    cache.forget_tree("/d")
    known = [path for path in ("/d", "/d/a", "/d/b/c", "/dd") if cache.facts(named(path), now=1.0)]
    assert known == ["/dd"]
    cache.forget(named("/dd"))
    assert cache.facts(named("/dd"), now=1.0) is None
    cache.check_invariants()


def test_what_is_remembered_of_a_file_does_not_serve_another_one_under_its_path():
    locations, holders = LocationCache(30.0), LeaseHolderCache()
    locations.remember(named("/a", 1), reply_for(0), now=0.0)
    holders.remember(named("/a", 1), LeaseHolder(index=0))
    assert locations.chunk(named("/a", 2), 0, now=1.0) is None and locations.facts(named("/a", 2), now=1.0) is None
    assert holders.holder(named("/a", 2), 0) is None


def test_the_file_used_longest_ago_makes_room_for_a_new_one():
    cache = LocationCache(30.0, most_files=2)
    cache.remember(named("/a"), reply_for(0), now=0.0)
    cache.remember(named("/b"), reply_for(0), now=0.0)
    assert cache.chunk(named("/a"), 0, now=1.0) is not None
    cache.remember(named("/c"), reply_for(0), now=2.0)
    assert [bool(cache.chunk(named(path), 0, now=3.0)) for path in ("/a", "/b", "/c")] == [True, False, True]
    cache.check_invariants()


def test_an_answer_that_was_overtaken_does_not_replace_what_is_known():
    cache, file = LocationCache(30.0), named("/a")
    newer, older = reply_for(0), reply_for(0)
    newer.chunks[0].version, older.chunks[0].version = 5, 4
    newer.file.length, older.file.length = 10, 5
    cache.remember(file, newer, now=1.0, question=2)
    cache.remember(file, older, now=2.0, question=1)
    facts, chunk = cache.facts(file, now=3.0), cache.chunk(file, 0, now=3.0)
    assert facts is not None and facts.info.length == 10 and facts.question == 2
    assert chunk is not None and chunk.version == 5


def test_a_chunk_is_not_found_below_the_version_under_which_it_was_written():
    cache, file = LocationCache(30.0), named("/a")
    cache.remember(file, reply_for(0), now=0.0)
    cache.note_written(file, 0, 100, 0)
    assert cache.chunk(file, 0, now=1.0) is not None
    cache.note_written(file, 0, 100, 3)
    cache.note_written(file, 0, 100, 2)
    assert cache.chunk(file, 0, now=1.0) is None and cache.least_version(100) == 3


def test_after_a_write_the_chunk_that_was_in_its_place_before_is_not_found_any_more():
    cache, file = LocationCache(30.0), named("/a")
    cache.remember(file, reply_for(0), now=0.0, question=1)
    cache.note_written(file, 0, 200, 1)
    assert cache.chunk(file, 0, now=1.0) is None
    newer = reply_for(0)
    newer.chunks[0].handle, newer.chunks[0].version = 200, 1
    cache.remember(file, newer, now=1.0, question=2)
    older = reply_for(0)
    older.chunks[0].version = 9
    cache.remember(file, older, now=2.0, question=1)
    found = cache.chunk(file, 0, now=3.0)
    assert found is not None and found.handle == 200


def test_the_oldest_request_without_an_answer_is_named_so_that_its_answer_is_kept():
    ids = RequestIds(9)
    first, second, third = ids.begin(), ids.begin(), ids.begin()
    assert [request.oldest for request in (first, second, third)] == [1, 1, 1]
    ids.end(second)
    assert ids.begin().oldest == 1
    ids.end(first)
    assert ids.begin().oldest == 3


def test_a_lease_holder_found_in_the_meantime_is_not_disowned_with_the_old_one():
    cache, file = LeaseHolderCache(), named("/a")
    old, new = LeaseHolder(index=3, version=1), LeaseHolder(index=3, version=2)
    cache.remember(file, old)
    cache.remember(file, new)
    cache.disown(file, old)
    assert cache.holder(file, 3) is new
    cache.disown(file, new)
    assert cache.holder(file, 3) is None
    cache.check_invariants()


def test_the_next_try_follows_from_the_error():
    def plan(error: Exception, tries: int = 1, *, shortage_may_pass: bool = True) -> NextTry:
        return plan_next_try(error, tries, 3, shortage_may_pass=shortage_may_pass)  # type: ignore[arg-type]

    assert plan(DataNotBuffered("")) is plan(MutationFailed("")) is NextTry.STEPS_3_TO_7
    for error in (NotPrimary(""), StaleVersion(""), Unavailable(""), TimedOut("")):
        assert plan(error) is NextTry.FROM_THE_START
    assert plan(MutationFailed(""), tries=3) is NextTry.FROM_THE_START
    assert plan(InvalidRequest("")) is plan(Unauthenticated("")) is NextTry.GIVE_UP
    assert plan(NoSpace("")) is NextTry.STEPS_3_TO_7
    assert plan(NoSpace(""), shortage_may_pass=False) is NextTry.GIVE_UP
