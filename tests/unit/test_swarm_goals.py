"""The judge of replication goals refuses what nobody can have set."""

from cluster.swarm.goals import judge_goals
from cluster.swarm.history import Answer, Kind, Operation, Seen
from tests.unit.swarm_histories import Past

FIRST = 3


def seen(past: Past, times: tuple[float, float], goal: int) -> Operation:
    return past.add(Kind.STAT, times, path="/a", seen=(Seen("/a", False, 1, goal=goal),))


def change(past: Past, times: tuple[float, float], goal: int, before: int, **fields: object) -> Operation:
    fields = {"file": 1, **fields}
    return past.add(Kind.SET_REPLICATION, times, path="/a", count=goal, goal_before=before, **fields)  # type: ignore[arg-type]


def begin() -> Past:
    past = Past()
    past.add(Kind.CREATE, (0.0, 1.0), path="/a", seen=(Seen("/a", False, 1, goal=FIRST),))
    return past


def complaints(past: Past) -> list[int]:
    return [number for _, number in judge_goals(past.history, FIRST)]


def test_the_first_goal_and_then_each_that_was_set_may_be_seen():
    past = begin()
    seen(past, (1.0, 2.0), 3)
    change(past, (3.0, 4.0), 5, 3)
    seen(past, (3.5, 3.6), 3)
    seen(past, (3.5, 3.6), 5)
    seen(past, (5.0, 6.0), 5)
    change(past, (7.0, 8.0), 2, 5)
    seen(past, (9.0, 9.1), 2)
    assert complaints(past) == []


def test_a_goal_that_nobody_set_is_refused():
    past = begin()
    wrong = seen(past, (1.0, 2.0), 4)
    assert complaints(past) == [wrong.number]


def test_a_goal_that_was_forgotten_is_refused():
    past = begin()
    change(past, (3.0, 4.0), 5, 3)
    wrong = seen(past, (5.0, 6.0), 3)
    also_wrong = change(past, (7.0, 8.0), 2, 3)
    assert complaints(past) == [wrong.number, also_wrong.number]


def test_a_refused_change_must_not_be_seen_and_one_in_doubt_may_for_a_while():
    past = begin()
    change(past, (3.0, 4.0), 5, 0, answer=Answer.REFUSED, error="TooFewServers")
    change(past, (3.0, 4.0), 2, 0, answer=Answer.DOUBTFUL, error="TimedOut")
    wrong = seen(past, (5.0, 6.0), 5)
    seen(past, (5.0, 6.0), 2)
    seen(past, (6.0, 7.0), 3)
    change(past, (8.0, 9.0), 4, 2)
    seen(past, (30.0, 31.0), 2)
    change(past, (100.0, 101.0), 4, 4)
    also_wrong = seen(past, (110.0, 111.0), 2)
    assert complaints(past) == [wrong.number, also_wrong.number]


def test_a_change_that_does_not_know_its_file_may_be_of_any():
    past = begin()
    change(past, (3.0, 4.0), 5, 0, file=0)
    seen(past, (5.0, 6.0), 5)
    seen(past, (6.0, 7.0), 3)
    assert complaints(past) == []
