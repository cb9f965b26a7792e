"""The chunk table: compact, and honest about versions."""

import random

import pytest

from master.chunks.chunk_table import SEGMENT_CHUNKS, ChunkTable
from master.chunks.sharing import Owner
from runtime.errors import Corrupted


def filled(count: int, goal: int = 2) -> ChunkTable:
    table = ChunkTable()
    for _ in range(count):
        table.create(table.reserve_handle(), goal=goal)
    return table


def test_a_new_chunk_has_version_one_no_replica_and_needs_attention() -> None:
    table = filled(1)
    chunk = table.chunk(1)
    assert (chunk.version, chunk.attempted, chunk.goal, chunk.replicas, chunk.length) == (1, 1, 2, (), 0)
    assert table.needing_attention() == [1]
    table.set_replicas(1, ("cs1", "cs2"))
    assert table.needing_attention() == []
    table.add_replica(1, "cs3")
    assert table.needing_attention() == [1]
    table.check_invariants()


def test_no_version_is_sent_out_twice() -> None:
    table = filled(1)
    table.attempt(1, 2)
    assert (table.version(1), table.attempted(1)) == (1, 2)
    with pytest.raises(AssertionError):
        table.attempt(1, 2)
    table.attempt(1, 3)
    table.confirm(1, 3, ("cs1",))
    assert (table.version(1), table.attempted(1)) == (3, 3)
    table.check_invariants()


def test_losing_a_server_names_every_chunk_it_held() -> None:
    table = filled(3 * SEGMENT_CHUNKS)
    for handle in table.handles():
        table.set_replicas(handle, ("cs1", "cs2") if handle % 3 else ("cs2", "cs3"))
    lost = table.drop_server("cs1")
    assert lost == [handle for handle in range(1, 3 * SEGMENT_CHUNKS + 1) if handle % 3]
    assert table.needing_attention() == lost
    assert table.replicas(1) == ("cs2",)
    table.check_invariants()


def test_an_open_length_only_grows_and_a_settled_one_stays() -> None:
    table = filled(1)
    table.note_length(1, 500)
    table.note_length(1, 400)
    assert table.length(1) == 500 and not table.length_is_settled(1)
    table.settle_length(1, 300)
    table.note_length(1, 900)
    assert table.length(1) == 300 and table.length_is_settled(1)
    table.unsettle_length(1)
    table.note_length(1, 310)
    assert table.length(1) == 310 and not table.length_is_settled(1)


def test_members_are_a_fact_of_the_version_and_equal_groups_are_one() -> None:
    table = filled(3)
    table.attempt(1, 2)
    table.confirm(1, 2, ("cs2", "cs1"))
    table.attempt(2, 2)
    table.confirm(2, 2, ("cs1", "cs2"))
    assert table.members(1) is table.members(2)
    table.add_member(1, "cs3")
    table.add_member(1, "cs3")
    assert table.members(1) == ("cs1", "cs2", "cs3") and table.members(2) == ("cs1", "cs2")
    table.attempt(1, 3)
    table.confirm(1, 3, ("cs3",))
    assert table.members(1) == ("cs3",), "earlier members are forgotten"
    table.forget(1)
    table.create(1, goal=1)
    assert table.members(1) == ()


def test_a_segment_that_names_an_unknown_group_is_refused() -> None:
    table = filled(1)
    table.add_member(1, "cs1")
    packed, _, _, _ = table.snapshot()
    with pytest.raises(Corrupted, match="group 1 of servers, 1 are known"):
        ChunkTable().load_segment(packed[0])


def test_a_forgotten_chunk_leaves_no_trace_and_its_handle_is_not_given_again() -> None:
    table = filled(2)
    table.set_replicas(1, ("cs1",))
    table.attempt(1, 2)
    table.forget(1)
    assert 1 not in table and len(table) == 1 and table.reserve_handle() == 3
    table.check_invariants()


def test_a_snapshot_carries_what_is_persistent_and_nothing_else() -> None:
    table = filled(2500)
    table.change_owner(7, Owner(table.chunk(7).goal), Owner(table.chunk(7).goal, is_hidden=True))
    table.set_replicas(7, ("cs1",))
    table.attempt(8, 5)
    table.attempt(8, 6, is_admission=True)
    table.confirm(9, 4, ("cs2", "cs1"))
    table.add_member(10, "cs3")
    table.forget(1200)
    packed, attempted, admissions, groups = table.snapshot()
    table.forget(7)
    copy = ChunkTable()
    copy.next_handle = 2501
    copy.load_groups(groups)
    for segment in packed:
        copy.load_segment(segment)
    copy.load_attempted(attempted, admissions)
    copy.check_invariants()
    assert len(copy) == 2499 and 1200 not in copy
    assert copy.chunk(7).is_deleted and copy.replicas(7) == ()
    assert copy.members(9) == ("cs1", "cs2") and copy.members(10) == ("cs3",) and copy.members(11) == ()
    assert copy.is_of_admission(8, 6) and not copy.is_of_admission(8, 5)
    assert copy.attempted(8) == 6 and copy.version(8) == 1 and copy.version(9) == 4
    with pytest.raises(Corrupted):
        copy.load_segment(b"short")


def test_the_table_agrees_with_dictionaries_under_random_work() -> None:
    chance = random.Random(5)
    table = ChunkTable()
    model: dict[int, tuple[str, ...]] = {}
    goals: dict[int, int] = {}
    for step in range(5000):
        action = chance.randrange(11)
        if action < 4 or not model:
            handle = table.reserve_handle()
            table.create(handle, goal=2)
            model[handle], goals[handle] = (), 2
            continue
        handle = chance.choice(list(model))
        server = f"cs{chance.randrange(6)}"
        if action < 7:
            assert table.add_replica(handle, server) == (server not in model[handle])
            model[handle] = model[handle] if server in model[handle] else (*model[handle], server)
        elif action < 8:
            assert table.drop_replica(handle, server) == (server in model[handle])
            model[handle] = tuple(name for name in model[handle] if name != server)
        elif action < 9:
            table.forget(handle)
            del model[handle]
        elif action < 10:
            before, goals[handle] = Owner(goals[handle]), chance.randrange(1, 4)
            table.change_owner(handle, before, Owner(goals[handle]))
        elif step % 50 == 0:
            assert table.drop_server(server) == sorted(key for key, names in model.items() if server in names)
            model = {key: tuple(name for name in names if name != server) for key, names in model.items()}
        if step % 200 == 0:
            assert table.needing_attention() == sorted(key for key, names in model.items() if len(names) != goals[key])
            table.check_invariants()
    assert {handle: table.replicas(handle) for handle in table.handles()} == model
