"""The persistent state: one way to change it."""

import dataclasses
import random

import pytest

from master.log.records import (
    AdmissionAttempted,
    ChunkAllocated,
    ChunkReplaced,
    DirectoriesMade,
    DrainChanged,
    EntryMoved,
    EntryRemoved,
    EpochBegun,
    FileCreated,
    FileSystemFounded,
    GoalChanged,
    HandlesReserved,
    Record,
    ReplicaAdded,
    ServerJoined,
    ServerRemoved,
    SnapshotTaken,
    VersionAttempted,
    VersionConfirmed,
    decode,
    encode,
)
from master.log.state import MasterState
from master.namespace import paths
from master.namespace.hidden_names import hidden_name
from master.namespace.namespace import FileEntry
from runtime.errors import Corrupted, TabletopError


def random_history(seed: int, steps: int) -> tuple[MasterState, list[Record]]:
    """A state and the records that led to it."""
    chance = random.Random(seed)
    state, history = MasterState(), list[Record]()

    def do(record: Record) -> None:
        history.append(record)
        state.apply(record)

    def request(step: int) -> tuple[int, int, int]:
        return chance.randrange(4), step, max(0, step - 50)

    def servers(step: int) -> tuple[str, ...]:
        return tuple(f"cs{(step + more) % 7}" for more in range(chance.randrange(1, 4)))

    do(FileSystemFounded(1 + seed, 65536))
    do(EpochBegun(1))
    do(HandlesReserved(100_000))
    for step in range(steps):
        files = [path for path, _ in state.namespace.files_in("/") if not paths.is_hidden(path)]
        hidden = [name for name, _ in state.namespace.children(paths.HIDDEN_ROOT, after="", limit=99)]
        path = "/" + "/".join(str(chance.randrange(4)) for _ in range(chance.randrange(1, 4)))
        other = "/" + "/".join(str(chance.randrange(4)) for _ in range(chance.randrange(1, 4)))
        try:
            match chance.randrange(12):
                case 0:
                    state.namespace.check_create(path)
                    do(FileCreated(path, chance.randrange(1, 4), step, state.chunks.reserve_handle(), *request(step)))
                case 1:
                    if missing := state.namespace.plan_directories(path, parents=True):
                        do(DirectoriesMade(tuple(missing), step, *request(step)))
                case 2 | 3 if files:
                    name = chance.choice(files)
                    count = len(state.namespace.file(name).handles)
                    do(ChunkAllocated(name, count, state.chunks.reserve_handle(), 1, servers(step)))
                case 4:
                    state.namespace.check_delete(path, recursive=True)
                    do(EntryMoved(path, hidden_name(path, state.unused_stamp(step)), "", 3, *request(step)))
                case 5:
                    state.namespace.check_rename(path, other, replace=True)
                    replaced = ""
                    if isinstance(state.namespace.find(other), FileEntry):
                        replaced = hidden_name(other, state.unused_stamp(step))
                    do(EntryMoved(path, other, replaced))
                case 6 if hidden:
                    do(EntryRemoved(chance.choice(hidden)))
                case 7 if hidden:
                    name = chance.choice(hidden)
                    state.namespace.check_rename(name, path, replace=False)
                    do(EntryMoved(name, path, ""))
                case 9 if files:
                    name = chance.choice(files)
                    do(GoalChanged(name, chance.randrange(1, 4), state.namespace.file(name).goal, *request(step)))
                case 10 if state.namespace.files < 200:
                    state.namespace.check_snapshot(path, other)
                    count = sum(1 for _ in state.namespace.files_in(path))
                    first, state.chunks.next_handle = state.chunks.next_handle, state.chunks.next_handle + count
                    do(SnapshotTaken(path, other, first, count, *request(step)))
                case 11 if files:
                    name = chance.choice(files)
                    if handles := state.namespace.file(name).handles:
                        index = chance.randrange(len(handles))
                        do(ChunkReplaced(name, index, state.chunks.reserve_handle(), 1, servers(step)))
                case 8 if len(state.chunks):
                    handle = chance.choice(list(state.chunks.handles()))
                    attempted = AdmissionAttempted if chance.random() < 0.3 else VersionAttempted
                    do(attempted(handle, state.chunks.attempted(handle) + 1))
                    if chance.random() < 0.7:
                        do(VersionConfirmed(handle, state.chunks.attempted(handle), servers(step)))
                    do(ReplicaAdded(handle, f"cs{chance.randrange(7)}"))
                    do(ServerJoined(f"cs{step % 7}"))
        except TabletopError:
            pass
    return state, history


def small_facts(state: MasterState) -> tuple[object, ...]:
    requests = list(state.requests.rows())
    return state.servers, state.handle_limit, state.last_stamp, state.identity, state.epoch, requests


@pytest.mark.parametrize("seed", range(6))
def test_replaying_the_records_gives_the_same_state(seed: int) -> None:
    state, history = random_history(seed, 300)
    state.check_invariants()
    again = MasterState()
    for record in history:
        again.apply(decode(encode(record)))
    again.finish_recovery()
    again.check_invariants()
    assert list(again.namespace.table.items(b"", None, limit=10**6)) == list(
        state.namespace.table.items(b"", None, limit=10**6)
    )
    assert again.chunks.snapshot() == state.chunks.snapshot()
    assert list(again.chunks.sharings.rows()) == list(state.chunks.sharings.rows())
    assert small_facts(again) == small_facts(state)


@pytest.mark.parametrize("seed", range(3))
def test_a_snapshot_restores_the_same_state_and_is_not_touched_by_what_follows(seed: int) -> None:
    state, _ = random_history(seed, 200)
    snapshot = state.snapshot()
    before, facts = MasterState.restored(snapshot), small_facts(state)
    expected = list(state.namespace.table.items(b"", None, limit=10**6))
    for path in [path for path, _ in state.namespace.children("/", after="", limit=9)]:
        state.apply(EntryRemoved(path))
    restored = MasterState.restored(snapshot)
    restored.check_invariants()
    assert list(restored.namespace.table.items(b"", None, limit=10**6)) == expected
    assert before.chunks.snapshot() == restored.chunks.snapshot()
    assert list(before.chunks.sharings.rows()) == list(restored.chunks.sharings.rows())
    assert small_facts(restored) == facts


def test_stamps_of_hidden_names_never_repeat_even_if_the_clock_stands_still() -> None:
    state = MasterState()
    assert [state.unused_stamp(5), state.unused_stamp(5), state.unused_stamp(3)] == [5, 6, 7]


def test_a_stamp_whose_record_is_never_logged_leaves_no_trace_in_a_snapshot() -> None:
    state = MasterState()
    before = state.snapshot().totals
    state.unused_stamp(5)
    assert state.snapshot().totals == before


def test_a_snapshot_without_a_root_is_refused() -> None:
    snapshot = MasterState().snapshot()
    with pytest.raises(Corrupted, match="no root"):
        MasterState.restored(dataclasses.replace(snapshot, leaves=[]))


def test_forgotten_chunks_are_named() -> None:
    state = MasterState()
    for record in (HandlesReserved(9), FileCreated("/a", 1, 1, 2), ChunkAllocated("/a", 0, 4, 1, ())):
        state.apply(record)
    assert state.apply(EntryRemoved("/a")) == [4]
    assert state.apply(VersionConfirmed(4, 2, ("cs1",))) == [], "a grant may end after its chunk was deleted"


def test_a_forgotten_chunk_can_still_be_named_by_records_of_a_raise_that_was_under_way() -> None:
    state = MasterState()
    assert state.apply(VersionAttempted(4, 2)) == [] and state.apply(ReplicaAdded(4, "cs1")) == []


def test_epochs_never_fall() -> None:
    state = MasterState()
    for epoch in (1, 2, 1):
        state.apply(EpochBegun(epoch))
    assert state.epoch == 2


def test_an_entry_that_an_older_log_has_hidden_is_read_brought_back_and_forgotten() -> None:
    state = MasterState()
    old = "/.deleted/0000000000000009-home|a"
    for record in (
        HandlesReserved(9),
        DirectoriesMade(("/home",), 1),
        FileCreated("/home/a", 1, 1, 2),
        ChunkAllocated("/home/a", 0, 4, 1, ()),
        EntryMoved("/home/a", old, ""),
    ):
        state.apply(record)
    state.finish_recovery()
    state.check_invariants()
    assert state.namespace.deleted_entry(old)[0] == old and state.last_stamp == 9
    state.apply(EntryMoved(old, "/home/b", ""))
    state.apply(EntryMoved("/home/b", hidden_name("/home/b", state.unused_stamp(3)), ""))
    state.check_invariants()
    [(root, _)] = state.namespace.children(paths.HIDDEN_ROOT, after="", limit=9)
    assert root == "/.deleted/0000000000000010"
    assert state.namespace.deleted_entry(root)[0] == root + "/home/b"
    assert state.apply(EntryRemoved(root)) == [4]
    state.check_invariants()


def test_drains_and_departures_are_part_of_the_state_and_of_its_snapshot() -> None:
    state = MasterState()
    for name in ("cs1", "cs2", "cs3"):
        state.apply(ServerJoined(name))
    for record in (DrainChanged("cs1", 1), DrainChanged("cs2", 1), DrainChanged("cs3", 1)):
        state.apply(decode(encode(record)))
    state.apply(DrainChanged("cs2", 0))
    state.apply(ServerRemoved("cs3"))
    state.check_invariants()
    restored = MasterState.restored(state.snapshot())
    assert list(restored.draining) == list(state.draining) == ["cs1"]
    assert list(restored.servers) == ["cs1", "cs2"]
    state.apply(ServerJoined("cs3"))
    assert "cs3" not in state.draining, "a name that is used again is not drained"
