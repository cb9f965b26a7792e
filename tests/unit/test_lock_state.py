"""The lock service's pure state: plans refuse, records change, times only pass (Chubby 2)."""

import pytest

from lockservice import paths
from lockservice.interface import Change, ChangeKind, Sequencer
from lockservice.state.lock_state import LockState, Request
from lockservice.state.records import DelayEnded, SessionEnded
from runtime.errors import Conflict, InvalidRequest, NotFound, Superseded

DELAY = 3000


def state_with(sessions: int = 2) -> LockState:
    state = LockState(lease_seconds=10.0, grace_seconds=5.0)
    for client in range(1, sessions + 1):
        state.apply(state.plan_open(client), now=0.0)
    return state


def asked(session: int, number: int = 1, oldest: int | None = None) -> Request:
    return Request(session, number, number if oldest is None else oldest)


def acquire(state: LockState, session: int, path: str, number: int = 1, delay: int = DELAY) -> Sequencer:
    state.apply(state.plan_acquire(asked(session, number), path, delay_milliseconds=delay), now=0.0)
    return Sequencer(path, state.locks[path].generation, session)


def test_a_session_ends_when_nothing_was_heard_of_it_for_lease_and_grace():
    state = state_with(1)
    assert state.overdue(14.99) == []
    assert state.overdue(15.0) == [SessionEnded(1, 1)]


def test_the_end_of_a_session_moves_forward_only():
    state = state_with(1)
    state.extend(1, now=10.0)
    state.extend(1, now=2.0)
    assert state.overdue(24.99) == [] and state.overdue(25.0) == [SessionEnded(1, 1)]


def test_a_lost_session_leaves_its_lock_withheld_until_the_delay_is_over():
    state = state_with()
    held = acquire(state, 1, "/m")
    assert state.apply(SessionEnded(1, 1), now=20.0) == [Change("/m", ChangeKind.LOCK)]
    assert not state.is_held(held) and state.lock_generation("/m") == 0
    with pytest.raises(Conflict, match="lock-delay"):
        state.plan_acquire(asked(2), "/m", delay_milliseconds=0)
    assert DelayEnded("/m") not in state.overdue(22.99)
    assert DelayEnded("/m") in state.overdue(23.0)
    assert state.apply(DelayEnded("/m"), now=23.0) == [Change("/m", ChangeKind.LOCK)]
    assert acquire(state, 2, "/m").generation > held.generation


def test_a_closed_session_frees_its_lock_at_once():
    state = state_with()
    acquire(state, 1, "/m")
    state.apply(SessionEnded(1, 0), now=1.0)
    assert acquire(state, 2, "/m").session == 2


def test_a_lost_session_frees_a_lock_without_a_delay_at_once():
    state = state_with()
    acquire(state, 1, "/m", delay=0)
    state.apply(SessionEnded(1, 1), now=1.0)
    assert state.locks == {}


def test_ephemeral_files_go_with_their_session_and_others_stay():
    state = state_with()
    for number, (path, ephemeral) in enumerate([("/d/mine", True), ("/stays", False)], 1):
        state.apply(state.plan_create(asked(1, number), path, b"", ephemeral=ephemeral), now=0.0)
    told = state.apply(SessionEnded(1, 1), now=1.0)
    assert told == [
        Change("/d/mine", ChangeKind.DELETED),
        Change("/d", ChangeKind.CHILDREN),
        Change("/", ChangeKind.CHILDREN),
    ]
    assert state.names("/") == ["stays"]


def test_a_repetition_gets_the_first_answer_until_its_client_has_it():
    state = state_with()
    record = state.plan_create(asked(1, 1), "/a", b"x", ephemeral=False)
    state.apply(record, now=0.0)
    assert state.answer(asked(1, 1)) == record.generation
    state.apply(state.plan_delete(asked(1, 2, oldest=2), "/a", generation=None), now=0.0)
    with pytest.raises(Conflict, match="given up"):
        state.answer(asked(1, 1))
    assert state.answer(asked(1, 2)) == 0 and state.answer(asked(1, 3)) is None


def test_what_a_session_that_is_over_asks_for_is_refused():
    state = state_with()
    state.apply(SessionEnded(1, 0), now=0.0)
    with pytest.raises(Superseded):
        state.answer(asked(1))


def test_a_request_that_is_refused_changes_nothing():
    state = state_with()
    acquire(state, 1, "/m")
    before = list(state.as_records())
    refusals = [
        (Conflict, lambda: state.plan_acquire(asked(2), "/m", delay_milliseconds=0)),
        (Conflict, lambda: state.plan_release(asked(2), "/m")),
        (NotFound, lambda: state.plan_write(asked(2), "/f", b"", generation=None, sequencer=None)),
        (NotFound, lambda: state.plan_delete(asked(2), "/f", generation=None)),
        (InvalidRequest, lambda: state.plan_create(asked(2), "no", b"", ephemeral=False)),
        (InvalidRequest, lambda: state.plan_open(0)),
    ]
    for error, plan in refusals:
        with pytest.raises(error):
            plan()
    assert list(state.as_records()) == before


def test_a_sequencer_of_another_generation_or_session_is_not_held():
    state = state_with()
    held = acquire(state, 1, "/m")
    assert state.is_held(held)
    assert not state.is_held(Sequencer("/m", held.generation + 1, 1))
    assert not state.is_held(Sequencer("/m", held.generation, 2))
    assert not state.is_held(Sequencer("/other", held.generation, 1))


@pytest.mark.parametrize("path", ["/a", "/a/b", "/ä/日本", "/a b", "/" + "x" * 1023])
def test_paths_that_can_be(path: str):
    paths.check_path(path)


@pytest.mark.parametrize("path", ["", "a", "/", "//", "/a//b", "/a/", "/a\0", "/" + "x" * 1024, "/\ud800"])
def test_paths_that_cannot_be(path: str):
    with pytest.raises(InvalidRequest):
        paths.check_path(path)


@pytest.mark.parametrize("data", [b"", b"TTSQ", b"x" * 40, Sequencer("/m", 1, 2).to_bytes() + b"x", bytes(22)])
def test_foreign_bytes_are_no_sequencer(data: bytes):
    with pytest.raises(InvalidRequest):
        Sequencer.from_bytes(data)


def test_a_sequencer_whose_path_is_no_text_is_refused():
    data = Sequencer("/m", 1, 2).to_bytes()
    with pytest.raises(InvalidRequest):
        Sequencer.from_bytes(data[:-2] + b"\xff\xfe")
