"""The judges of what operators rely on refuse what is wrong."""

from cluster.swarm.history import Answer, History, Kind
from cluster.swarm.names import DIRECTORY, EMPTY, create, delete, make_directory, put_back
from cluster.swarm.operators import KEPT, judge_safe_mode, judge_trash
from cluster.swarm.plan import JUDGE
from cluster.swarm.safe_masters import judge_kept_safe_mode
from master.events import (
    CloneStarted,
    FileCreated,
    FileDeleted,
    FileReclaimed,
    LogReplayed,
    RemovalOrdered,
    SafeModeEntered,
    SafeModeLeft,
)
from master.namespace.hidden_names import hidden_name
from runtime.events import Event, Record
from tests.unit.swarm_histories import Past

NO_HISTORY = History()


def records(*events: tuple[float, Event], cause: str = "", ahead: float = 0.0) -> list[tuple[float, Record]]:
    """What a master recorded whose clock is so many seconds ahead."""
    return [
        (moment, Record(number, int((moment + ahead) * 1e6), "master", cause, event))
        for number, (moment, event) in enumerate(events)
    ]


def deleted(path: str, moment: float, kept: int | None = None) -> tuple[float, Event]:
    return moment, FileDeleted(path, hidden_name(path, int(moment * 1e6), kept), 1)


def reclaimed(path: str, moment: float, since: float, kept: int | None = None) -> tuple[float, Event]:
    return moment, FileReclaimed(hidden_name(path, int(since * 1e6), kept), 1)


def test_what_is_forgotten_before_its_time_is_found():
    history = records(deleted("/a", 10.0), reclaimed("/a", 31.0, 10.0))
    assert not list(judge_trash(NO_HISTORY, history, 20.0, judge=JUDGE))
    [text] = judge_trash(NO_HISTORY, history, 30.0, judge=JUDGE)
    assert "deleted as /a 21.0 s before" in text and "30 s" in text
    own = records(deleted("/a", 10.0, 50), reclaimed("/a", 31.0, 10.0, 50))
    assert len(list(judge_trash(NO_HISTORY, own, 20.0, judge=JUDGE))) == 1


def test_a_time_may_be_shorter_by_as_much_as_two_clocks_are_apart():
    late = records(deleted("/a", 10.0), ahead=-2.0)
    gone = FileReclaimed(late[0][1].event.hidden, 1)
    assert not list(judge_trash(NO_HISTORY, late + records((28.1, gone)), 20.0, judge=JUDGE))
    [text] = judge_trash(NO_HISTORY, late + records((27.8, gone)), 20.0, judge=JUDGE)
    assert "17.8 s before" in text


def test_what_somebody_asked_for_may_be_forgotten_at_any_time():
    history = records(deleted("/a", 10.0)) + records(reclaimed("/a", 11.0, 10.0), cause="operation-7")
    assert not list(judge_trash(NO_HISTORY, history, 20.0, judge=JUDGE))


def test_a_directory_whose_word_is_not_kept_is_found():
    history = History()
    said = history.new(JUDGE, Kind.SET_POLICY, 1.0, path=KEPT, count=40)
    gone = history.new(JUDGE, Kind.DELETE, 2.0, path=f"{KEPT}/a")
    said.answer = gone.answer = Answer.VALUE
    cause = f"operation-{gone.number}"
    assert not list(judge_trash(history, records(deleted(f"{KEPT}/a", 2.0, 40), cause=cause), 20.0, judge=JUDGE))
    [text] = judge_trash(history, records(deleted(f"{KEPT}/a", 2.0), cause=cause), 20.0, judge=JUDGE)
    assert "its directory says 40 s" in text
    said.answer = Answer.DOUBTFUL
    assert not list(judge_trash(history, records(deleted(f"{KEPT}/a", 2.0), cause=cause), 20.0, judge=JUDGE))


def test_what_safe_mode_forbids_is_found():
    start, left = LogReplayed(0, 0, 0, ""), SafeModeLeft("all are there")
    clone, name = CloneStarted(1, "cs1", "cs2"), FileCreated("/a", 3)
    for history, wrong in (
        (records((0.0, start), (1.0, left), (2.0, clone), (3.0, name)), 0),
        (records((0.0, start), (1.0, name)), 0),
        (records((0.0, start), (1.0, clone)), 1),
        (records((0.0, start), (1.0, RemovalOrdered("cs1", 1)), (2.0, left)), 1),
        (records((0.0, start), (1.0, left), (2.0, SafeModeEntered()), (3.0, name), (4.0, clone)), 2),
        (records((0.0, start), (1.0, SafeModeEntered()), (2.0, left), (3.0, name)), 1),
        (records((0.0, SafeModeEntered()), (1.0, SafeModeLeft("said so", by_hand=True)), (2.0, name)), 0),
        (records((0.0, SafeModeEntered()), (1.0, start), (2.0, left), (3.0, name)), 0),
        (records((0.0, SafeModeEntered()), (1.0, start), (1.1, SafeModeEntered()), (2.0, left), (3.0, name)), 1),
    ):
        assert len(list(judge_safe_mode(history))) == wrong, history


def test_a_change_that_is_done_while_an_operator_keeps_the_names_is_found_whoever_acts():
    past = Past()
    past.add(Kind.ENTER_SAFE_MODE, (0.0, 1.0))
    past.add(Kind.CREATE, (0.5, 2.0), path="/under-way")
    past.add(Kind.CREATE, (2.0, 3.0), path="/a", answer=Answer.REFUSED)
    assert list(judge_kept_safe_mode(past.history)) == []
    past.add(Kind.CREATE, (3.0, 4.0), path="/b")
    past.add(Kind.LEAVE_SAFE_MODE, (5.0, 6.0))
    past.add(Kind.CREATE, (5.5, 7.0), path="/c")
    assert [operations for _, operations in judge_kept_safe_mode(past.history)] == [(1, 4)]


def test_what_is_restored_stands_where_it_is_put_and_takes_nobodys_place():
    state = EMPTY
    for action in (make_directory("/d", parents=False), create("/d/a", 5)):
        state = action(state).state or state
    gone = delete("/d", recursive=True)(state).state
    assert gone == EMPTY
    back = put_back("/d", [("", DIRECTORY), ("/a", 5)])
    assert back(gone).state == state
    assert back(state).reasons == {"AlreadyExists"}
    assert put_back("/none/d", [("", 7)])(gone).reasons == {"NotFound"}
