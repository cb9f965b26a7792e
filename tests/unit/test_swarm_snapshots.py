"""The judges of snapshots: what a copy may hold, what it must, and which names and goals it has."""

import dataclasses

import pytest

from cluster.swarm.copies import Copy, copy_of
from cluster.swarm.history import Answer, Kind, Operation, Seen
from cluster.swarm.listed_snapshots import judge_lists
from cluster.swarm.verdicts import judge_history
from tests.unit.swarm_histories import FOREVER, Past, facts, record, written


class Taken:
    """A file with a write, and a snapshot of it at the moment 5.5."""

    def __init__(self, *, moment: float = 5.5) -> None:
        self.past = Past()
        self.file = self.past.create("/a", (0, 1))
        self.first = self.past.write(self.file, 0, 1000, (2, 3))
        self.snapshot = self.past.add(Kind.SNAPSHOT, (5, 6), path="/a", target="/b")
        self.copies = [Copy(self.copy, self.file.number, moment)]

    @property
    def copy(self) -> int:
        return copy_of(self.file.number, self.snapshot.number)

    def write_to_copy(self, offset: int, count: int, times: tuple[float, float]) -> Operation:
        return self.past.add(Kind.WRITE, times, file=self.copy, offset=offset, count=count, path="/b")

    def judged(self) -> list[str]:
        known = dataclasses.replace(facts(), copies=self.copies)
        return [verdict.judge for verdict in judge_history(self.past.history, known).verdicts]


def test_a_snapshot_holds_what_was_acknowledged_before_it() -> None:
    taken = Taken()
    taken.past.read_file("/b", written(taken.first), (7, 8))
    assert taken.judged() == []
    taken.past.read_file("/b", b"", (9, 10))
    assert taken.judged() == ["contents"]


def test_what_is_written_to_the_source_later_is_not_in_the_snapshot() -> None:
    taken = Taken()
    later = taken.past.write(taken.file, 0, 1000, (7, 8))
    taken.past.read_file("/a", written(later), (9, 10))
    taken.past.read_file("/b", written(taken.first), (9, 10))
    assert taken.judged() == []
    taken.past.read_file("/b", written(later), (11, 12))
    assert taken.judged() == ["namespace"], "it is what /a holds, and nobody has renamed that"


def test_what_is_written_to_the_snapshot_is_not_in_its_source() -> None:
    taken = Taken()
    other = taken.write_to_copy(0, 1000, (7, 8))
    taken.past.read_file("/b", written(other), (9, 10))
    taken.past.read_file("/a", written(taken.first), (9, 10))
    assert taken.judged() == []
    taken.past.read_file("/a", written(other), (11, 12))
    assert taken.judged() == ["namespace"]


def test_a_mixture_of_both_sides_is_explained_by_neither() -> None:
    taken = Taken()
    later = taken.past.write(taken.file, 500, 100, (7, 8))
    other = taken.write_to_copy(0, 100, (7, 8))
    whole = written(taken.first)
    mixture = written(other) + whole[100:500] + written(later) + whole[600:]
    taken.past.read_file("/b", mixture, (9, 10))
    assert taken.judged() == ["contents"]


@pytest.mark.parametrize("answer", [Answer.VALUE, Answer.DOUBTFUL, Answer.NEVER])
def test_what_was_under_way_may_be_in_the_snapshot_or_not_and_does_not_come_later(answer: Answer) -> None:
    taken = Taken()
    responded = FOREVER if answer is Answer.NEVER else 9.0
    under_way = taken.past.write(taken.file, 0, 10, (5.2, responded), answer=answer)
    whole = written(taken.first)
    for seen in (whole, written(under_way) + whole[10:]):
        taken.past.read_file("/b", seen, (12, 13))
    assert taken.judged() == []
    over = taken.write_to_copy(0, 10, (14, 15))
    taken.past.read_file("/b", written(over) + whole[10:], (16, 17))
    assert taken.judged() == []
    taken.past.read_file("/b", written(under_way) + whole[10:], (18, 19))
    assert taken.judged() == ["namespace"], "it is what /a may hold: in the copy it was over, and then written over"


def test_a_snapshot_is_as_long_as_what_was_acknowledged() -> None:
    taken = Taken()
    taken.past.write(taken.file, 1000, 500, (7, 8))
    taken.past.add(Kind.STAT, (9, 10), path="/b", seen=(_seen("/b", taken.copy, 1000),))
    assert taken.judged() == []
    taken.past.add(Kind.STAT, (9, 10), path="/b", seen=(_seen("/b", taken.copy, 1500),))
    assert taken.judged() == ["lengths"]


def test_records_go_to_one_of_the_two_files_and_those_before_are_in_both() -> None:
    past = Past()
    file = past.create("/a", (0, 1))
    first = past.append(file, 0, 100, (2, 3))
    taken = past.add(Kind.SNAPSHOT, (5, 6), path="/a", target="/b")
    copy = copy_of(file.number, taken.number)
    end = len(record(first))
    second = past.append(file, end, 100, (7, 8))
    other = past.add(Kind.RECORD_APPEND, (7, 8), file=copy, offset=end, count=100, path="/b")
    past.read_file("/a", record(first) + record(second), (9, 10))
    past.read_file("/b", record(first) + record(other), (9, 10))
    known = dataclasses.replace(facts(), copies=[Copy(copy, file.number, 5.5)])
    assert judge_history(past.history, known).verdicts == []
    past.read_file("/b", record(first) + record(second), (11, 12))
    assert [verdict.judge for verdict in judge_history(past.history, known).verdicts] == ["namespace"]


def test_a_copy_has_the_goal_of_its_source_at_that_moment_and_then_one_of_its_own() -> None:
    taken = Taken()
    past, file, copy = taken.past, taken.file.number, taken.copy
    past.add(Kind.SET_REPLICATION, (7, 8), path="/a", file=file, count=4, goal_before=3)
    past.add(Kind.SET_REPLICATION, (9, 10), path="/b", file=copy, count=2, goal_before=3)
    assert taken.judged() == []
    past.add(Kind.SET_REPLICATION, (11, 12), path="/b", file=copy, count=2, goal_before=4)
    assert taken.judged() == ["goals"]


def test_a_snapshot_that_was_refused_without_a_reason_is_a_violation() -> None:
    taken = Taken()
    taken.past.refused(Kind.SNAPSHOT, (7, 8), "AlreadyExists", path="/a", target="/b")
    assert taken.judged() == []
    taken.past.refused(Kind.SNAPSHOT, (9, 10), "NotFound", path="/a", target="/c")
    assert taken.judged() == ["namespace"]


def _seen(path: str, file: int, length: int) -> Seen:
    return Seen(path, is_directory=False, file=file, length=length)


def test_a_snapshot_that_is_not_listed_and_one_that_nobody_took_are_found():
    past = Past()
    past.add(Kind.SNAPSHOT, (0.0, 1.0), path="/a", target="/s")
    past.add(Kind.SNAPSHOT, (1.0, 2.0), path="/b", target="/t/u")
    past.add(Kind.LIST_SNAPSHOTS, (3.0, 4.0), path="/", listed=(("/a", "/s"), ("/b", "/t/u")))
    assert list(judge_lists(past.history)) == []
    past.add(Kind.LIST_SNAPSHOTS, (5.0, 6.0), path="/", listed=(("/b", "/t/u"), ("/c", "/x")))
    assert [operations for _, operations in judge_lists(past.history)] == [(1, 4), (4,)]
    past.add(Kind.RENAME, (5.5, 9.0), path="/t", target="/v", answer=Answer.DOUBTFUL)
    past.add(Kind.LIST_SNAPSHOTS, (10.0, 11.0), path="/", listed=(("/a", "/s"), ("/b", "/v/u")))
    past.add(Kind.LIST_SNAPSHOTS, (12.0, 13.0), path="/", listed=(("/a", "/s"),))
    assert len(list(judge_lists(past.history))) == 2
