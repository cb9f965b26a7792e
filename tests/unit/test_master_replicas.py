"""The table of replicas' states as a state machine."""

import random

import pytest

from master.chunks.chunk_table import ChunkTable
from master.chunks.replicas import KEPT, TRANSITIONS, ReplicaState, ReplicaTable

S = ReplicaState


def table() -> tuple[ReplicaTable, ChunkTable]:
    """A table with one chunk, 1, and no replica."""
    chunks = ChunkTable()
    chunks.create(chunks.reserve_handle(), goal=3)
    return ReplicaTable(chunks), chunks


def path_to(state: ReplicaState) -> list[ReplicaState]:
    """Legal steps from ABSENT to a state, not through ORPHAN (its chunk is known here)."""
    paths: dict[ReplicaState, list[ReplicaState]] = {S.ABSENT: []}
    queue = [S.ABSENT]
    for before in queue:
        for after in TRANSITIONS[before]:
            if after not in paths:
                paths[after] = [*paths[before], after]
                queue.append(after)
    return paths[state]


def in_state(state: ReplicaState) -> ReplicaTable:
    replicas, _ = table()
    for step in path_to(state):
        replicas.change(1, "cs1", step, version=1)
    return replicas


@pytest.mark.parametrize("before", S)
@pytest.mark.parametrize("after", S)
def test_a_state_changes_only_as_the_table_says(before: ReplicaState, after: ReplicaState) -> None:
    replicas = in_state(before)
    assert replicas.state(1, "cs1") is before
    if after is before or after in TRANSITIONS[before]:
        replicas.change(1, "cs1", after, version=1)
        assert replicas.state(1, "cs1") is after
        replicas.check_invariants()
    else:
        with pytest.raises(AssertionError, match="cannot become"):
            replicas.change(1, "cs1", after, version=1)


def test_every_state_can_be_reached_and_left_and_every_replica_can_end() -> None:
    assert set(TRANSITIONS) == set(S)
    for state in S:
        assert state in path_to(state) or state is S.ABSENT
        assert TRANSITIONS[state]
        assert state is S.ABSENT or S.ABSENT in TRANSITIONS[state], f"a {state.value} replica is never gone"


def test_nothing_that_counts_or_may_be_needed_is_condemned_in_one_step() -> None:
    condemned_from = {state for state in S if S.CONDEMNED in TRANSITIONS[state]}
    assert condemned_from == {*KEPT, S.ORPHAN}


def test_a_server_has_one_state_for_a_chunk_and_current_ones_are_in_the_chunk_table() -> None:
    replicas, chunks = table()
    replicas.change(1, "cs1", S.CURRENT)
    replicas.change(1, "cs2", S.STALE, version=3, reason="left out")
    assert chunks.replicas(1) == ("cs1",) and replicas.servers_in(1, S.STALE, S.CORRUPT) == ("cs2",)
    assert replicas.version(1, "cs2") == 3 and replicas.reason(1, "cs2") == "left out"
    assert replicas.version(1, "cs1") == 0 and replicas.reason(1, "cs9") == ""
    replicas.change(1, "cs2", S.STALE, version=4)
    assert [replica.version for replica in replicas.others(1)] == [4]
    replicas.change(1, "cs2", S.CURRENT)
    assert chunks.replicas(1) == ("cs1", "cs2") and replicas.others(1) == () and replicas.exceptions() == []


def test_of_a_server_that_is_given_up_only_what_is_forming_is_remembered() -> None:
    replicas, chunks = table()
    chunks.create(chunks.reserve_handle(), goal=1)
    replicas.change(1, "cs1", S.CURRENT)
    replicas.change(2, "cs1", S.FORMING)
    replicas.change(3, "cs1", S.ORPHAN, version=1)
    replicas.change(1, "cs2", S.CURRENT)
    assert replicas.drop_server("cs1") == [1]
    assert chunks.replicas(1) == ("cs2",) and replicas.exceptions() == [2]
    replicas.check_invariants()


def test_of_a_chunk_that_is_forgotten_only_orders_that_are_under_way_are_remembered() -> None:
    replicas, chunks = table()
    for number, state in enumerate((S.STALE, S.UNSURE, S.FORMING, S.CORRUPT)):
        replicas.change(1, f"cs{number}", state, version=1)
    replicas.change(1, "cs3", S.CONDEMNED, version=1)
    chunks.forget(1)
    replicas.forget(1)
    assert {other.server: other.state for other in replicas.others(1)} == {"cs2": S.FORMING, "cs3": S.CONDEMNED}
    replicas.check_invariants()


def test_the_table_agrees_with_a_dictionary_under_random_work() -> None:
    chance = random.Random(7)
    replicas, chunks = table()
    for _ in range(4):
        chunks.create(chunks.reserve_handle(), goal=3)
    model: dict[tuple[int, str], ReplicaState] = {}
    for step in range(5000):
        handle, server = chance.randrange(1, 6), f"cs{chance.randrange(5)}"
        before = model.get((handle, server), S.ABSENT)
        if step % 97 == 0:
            replicas.drop_server(server)
            model = {key: state for key, state in model.items() if key[1] != server or state is S.FORMING}
            continue
        model[handle, server] = after = chance.choice(TRANSITIONS[before])
        replicas.change(handle, server, after, version=step)
        replicas.check_invariants()
        for (known, name), state in model.items():
            assert replicas.state(known, name) is state
    others = {(one.handle, one.server) for handle in replicas.exceptions() for one in replicas.others(handle)}
    assert others == {key for key, state in model.items() if state not in (S.ABSENT, S.CURRENT)}
