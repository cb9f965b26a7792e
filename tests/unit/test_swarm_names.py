"""The judge of the namespace: histories that an order explains, and histories that none does."""

import pytest

from cluster.swarm import names
from cluster.swarm.history import Answer, Kind, Operation
from cluster.swarm.linearizability import Step, explain
from cluster.swarm.names import EMPTY
from cluster.swarm.steps import LATE_SECONDS
from cluster.swarm.verdicts import judge_history
from tests.unit.swarm_histories import Past, facts


def judged(past: Past) -> list[str]:
    return [verdict.judge for verdict in judge_history(past.history, facts()).verdicts]


def test_a_file_that_was_created_is_there():
    past = Past()
    file = past.create("/a", (1, 2))
    past.stat("/a", (3, 4), file)
    assert judged(past) == []


def test_a_file_that_was_created_and_is_not_found_later_is_a_violation():
    past = Past()
    past.create("/a", (1, 2))
    past.refused(Kind.STAT, (3, 4), "NotFound", path="/a")
    assert judged(past) == ["namespace"]


def test_a_look_at_the_same_time_may_come_before_or_after():
    past = Past()
    past.create("/a", (1, 5))
    past.refused(Kind.STAT, (2, 3), "NotFound", path="/a")
    assert judged(past) == []


def test_what_one_client_saw_another_cannot_miss_afterwards():
    past = Past()
    file = past.create("/a", (1, 9))
    past.stat("/a", (2, 3), file)
    past.refused(Kind.STAT, (4, 5), "NotFound", path="/a", client="two")
    assert judged(past) == ["namespace"]


def test_a_change_in_doubt_may_happen_late_or_never():
    for is_there in (True, False):
        past = Past()
        file = past.create("/a", (1, 2))
        past.doubtful(Kind.DELETE, (3, 4), path="/a")
        past.stat("/a", (5, 6), file)
        if is_there:
            past.stat("/a", (50, 51), file)
        else:
            past.refused(Kind.STAT, (50, 51), "NotFound", path="/a")
        assert judged(past) == []


def test_a_directory_that_a_change_in_doubt_has_made_on_its_way_may_be_there_for_others():
    past = Past()
    past.doubtful(Kind.MAKE_DIRECTORY, (1, 2), path="/d/f", parents=True)
    file = past.create("/d/x", (3, 4))
    past.stat("/d/x", (5, 6), file)
    assert judged(past) == []


def test_a_change_in_doubt_happens_only_once():
    past = Past()
    past.create("/a", (1, 2))
    past.doubtful(Kind.DELETE, (3, 4), path="/a")
    past.refused(Kind.STAT, (5, 6), "NotFound", path="/a")
    past.create("/a", (7, 8), client="two")
    past.refused(Kind.STAT, (9, 10), "NotFound", path="/a")
    assert judged(past) == ["namespace"]


def test_a_call_that_was_never_answered_may_have_happened():
    past = Past()
    past.add(Kind.CREATE, (1, 2), path="/a", answer=Answer.NEVER)
    past.refused(Kind.CREATE, (3, 4), "AlreadyExists", path="/a", client="two")
    assert judged(past) == []


def test_a_refusal_needs_a_reason():
    past = Past()
    past.refused(Kind.CREATE, (3, 4), "AlreadyExists", path="/a")
    assert judged(past) == ["namespace"]


def test_a_definite_failure_that_the_master_has_done_is_a_violation():
    past = Past()
    operation = past.refused(Kind.CREATE, (3, 4), "NoSpace", path="/a")
    operation.created = True
    assert judged(past) == ["definite failure"]


def test_a_rename_moves_a_whole_tree_at_once():
    past = Past()
    past.add(Kind.MAKE_DIRECTORY, (1, 2), path="/d/f", parents=True)
    file = past.create("/d/f/x", (3, 4))
    past.add(Kind.RENAME, (5, 6), path="/d", target="/e")
    past.stat("/e/f/x", (7, 8), file)
    past.refused(Kind.LIST, (9, 10), "NotFound", path="/d")
    assert judged(past) == []


def test_a_replaced_file_is_another_file():
    past = Past()
    first = past.create("/a", (1, 2))
    second = past.create("/b", (3, 4))
    past.add(Kind.RENAME, (5, 6), path="/b", target="/a", replace=True)
    past.stat("/a", (7, 8), second)
    assert judged(past) == []
    past.stat("/a", (9, 10), first)
    assert judged(past) == ["namespace"]


def test_a_listing_shows_all_of_one_moment():
    past = Past()
    one = past.create("/a", (1, 2))
    past.create("/b", (3, 4))
    past.add(Kind.DELETE, (5, 6), path="/b")
    past.add(Kind.LIST, (7, 8), path="/", seen=(past.stat("/a", (7, 8), one).seen))
    assert judged(past) == []
    past.add(Kind.LIST, (9, 10), path="/", seen=())
    assert judged(past) == ["namespace"]


def test_a_file_under_a_passing_name_shows_when_it_is_closed():
    past = Past()
    past.add(Kind.MAKE_DIRECTORY, (1, 2), path="/d")
    opened = past.add(Kind.OPEN, (3, 4), path="/d/x", mode="wb")
    opened.file, opened.created = opened.number, True
    past.refused(Kind.STAT, (5, 6), "NotFound", path="/d/x")
    past.refused(Kind.DELETE, (5, 6), "DirectoryNotEmpty", path="/d")
    past.add(Kind.CLOSE, (7, 8), path="/d/x", handle=opened.number)
    past.stat("/d/x", (9, 10), opened)
    assert judged(past) == []
    past.refused(Kind.STAT, (11, 12), "NotFound", path="/d/x")
    assert judged(past) == ["namespace"]


def test_a_change_in_doubt_does_not_happen_after_all_messages_have_arrived():
    past = Past()
    file = past.create("/a", (1, 2))
    past.doubtful(Kind.DELETE, (3, 4), path="/a")
    past.stat("/a", (5 + LATE_SECONDS, 6 + LATE_SECONDS), file)
    past.refused(Kind.STAT, (7 + LATE_SECONDS, 8 + LATE_SECONDS), "NotFound", path="/a")
    assert judged(past) == ["namespace"]


def test_a_change_in_doubt_may_be_seen_long_after_it_was_over():
    past = Past()
    past.create("/b", (1, 2))
    file = past.create("/a", (1, 2))
    past.doubtful(Kind.RENAME, (3, 4), path="/a", target="/b", replace=True)
    past.create("/d", (5 + LATE_SECONDS, 6 + LATE_SECONDS))
    past.stat("/b", (7 + LATE_SECONDS, 8 + LATE_SECONDS), file)
    past.refused(Kind.STAT, (9 + LATE_SECONDS, 10 + LATE_SECONDS), "NotFound", path="/a")
    assert judged(past) == []


def test_a_change_in_doubt_does_not_happen_after_a_later_change_of_its_paths():
    past = Past()
    past.doubtful(Kind.CREATE, (1, 2), path="/a")
    past.create("/a", (3 + LATE_SECONDS, 4 + LATE_SECONDS))
    past.add(Kind.DELETE, (5 + LATE_SECONDS, 6 + LATE_SECONDS), path="/a")
    past.refused(Kind.CREATE, (7 + LATE_SECONDS, 8 + LATE_SECONDS), "AlreadyExists", path="/a")
    assert judged(past) == ["namespace"]


def test_a_change_in_doubt_may_have_happened_before_a_directory_was_made_anew():
    past = Past()
    past.add(Kind.MAKE_DIRECTORY, (1, 2), path="/d", parents=True)
    past.doubtful(Kind.DELETE, (3, 4), path="/d")
    past.add(Kind.MAKE_DIRECTORY, (5, 6), path="/d", parents=True)
    past.create("/d/x", (7, 8))
    past.refused(Kind.MAKE_DIRECTORY, (9, 10), "AlreadyExists", path="/d")
    assert judged(past) == []


def test_a_repeated_deletion_that_hits_a_new_file_is_a_violation():
    past = Past()
    past.create("/a", (1, 2))
    past.add(Kind.DELETE, (3, 4), path="/a")
    past.create("/a", (5, 6), client="two")
    past.refused(Kind.STAT, (7, 8), "NotFound", path="/a")
    assert judged(past) == ["namespace"]


def test_many_calls_in_doubt_stay_tractable():
    past = Past()
    for number in range(14):
        past.doubtful(Kind.CREATE, (number, number + 0.5), path=f"/d{number}")
        past.doubtful(Kind.RENAME, (number, number + 0.5), path=f"/d{number}", target="/x", replace=True)
    past.refused(Kind.STAT, (100, 101), "NotFound", path="/x")
    past.create("/y", (102, 103))
    judgement = judge_history(past.history, facts())
    assert not judgement.is_undecided and not judgement.verdicts


def test_a_search_that_is_given_up_says_so():
    steps = [Step(n, names.create(f"/{n}", n), ("/",), 0.0, 1.0) for n in range(1, 9)]
    assert explain(steps, budget=100).is_undecided


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (names.create("/d/x", 9), "AlreadyExists"),
        (names.create("/none/x", 9), "NotFound"),
        (names.create("/d/x/y", 9), "NotADirectory"),
        (names.delete("/d", recursive=False), "DirectoryNotEmpty"),
        (names.rename("/d", "/d/e", replace=False), "InvalidRequest"),
        (names.rename("/a", "/d/x", replace=False), "AlreadyExists"),
        (names.rename("/d", "/a", replace=True), "Conflict"),
        (names.make_directory("/a", parents=True), "AlreadyExists"),
        (names.look("/d"), "IsADirectory"),
        (names.listing("/a", [], recursive=False), "NotADirectory"),
    ],
)
def test_the_model_knows_why_a_call_is_refused(action: names.Action, reason: str):
    state = EMPTY | {("/d", 0), ("/d/x", 1), ("/a", 2)}
    outcome = action(state)
    assert outcome.state is None and reason in outcome.reasons


def opened(past: Past, file: Operation, times: tuple[float, float]) -> Operation:
    operation = past.add(Kind.OPEN, times, path=file.path, mode="r+b")
    operation.file = file.number
    return operation


@pytest.mark.parametrize("error", ["NotFound", "Conflict"])
def test_an_open_file_is_refused_only_if_its_path_names_another_one(error: str):
    past = Past()
    file = past.create("/a", (0, 1))
    handle = opened(past, file, (2, 3))
    past.refused(Kind.WRITE, (4, 5), error, path="/a", handle=handle.number, file=file.number)
    assert judged(past) == ["namespace"]


def test_an_open_file_may_be_refused_once_it_was_renamed():
    past = Past()
    file = past.create("/a", (0, 1))
    handle = opened(past, file, (2, 3))
    past.add(Kind.RENAME, (4, 5), path="/a", target="/b")
    past.refused(Kind.WRITE, (6, 7), "NotFound", path="/a", handle=handle.number, file=file.number)
    assert judged(past) == []


def test_an_open_file_repeats_the_error_of_a_write_that_failed():
    past = Past()
    file = past.create("/a", (0, 1))
    handle = opened(past, file, (2, 3))
    past.add(Kind.RENAME, (4, 5), path="/a", target="/b")
    past.refused(Kind.WRITE, (6, 7), "NotFound", path="/a", handle=handle.number, file=file.number)
    past.add(Kind.RENAME, (8, 9), path="/b", target="/a")
    past.refused(Kind.READ, (10, 11), "NotFound", path="/a", handle=handle.number, file=file.number)
    assert judged(past) == []
