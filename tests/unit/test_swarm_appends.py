"""The judge of record appends: what the paper's contract allows, and what it does not (GFS 3.3, 2.7.1)."""

import math

import pytest

from cluster.swarm.appends import holds_a_duplicate, missing_on_replica
from cluster.swarm.history import Answer, Operation
from cluster.swarm.losses import Grant, PowerCut
from cluster.swarm.steps import Facts, file_histories
from cluster.swarm.verdicts import judge_history
from gfs.records.frames import HEADER_BYTES
from tests.unit.swarm_histories import CHUNK, Past, facts, record

COUNT = 100
SIZE = HEADER_BYTES + COUNT


class Log(Past):
    """A file, and the records that are appended to it one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.file = self.create("/log", (0, 1))
        self.now = 1.0

    def appended(self, offset: int, answer: Answer = Answer.VALUE, client: str = "one") -> Operation:
        self.now += 1
        return self.append(self.file, offset, COUNT, (self.now, self.now + 0.5), answer=answer, client=client)

    def judged(self, content: bytes, known: Facts | None = None) -> list[str]:
        self.read_file("/log", content, (self.now + 1, self.now + 2), client="reader")
        return [verdict.judge for verdict in judge_history(self.history, known or facts()).verdicts]


def test_records_with_padding_remains_and_copies_between_them_keep_the_contract():
    log = Log()
    first, failed = log.appended(0), log.appended(0, Answer.DOUBTFUL)
    second = log.appended(3 * SIZE + 50)
    content = record(first) + record(failed)[:90] + bytes(50) + record(failed)[60:] + record(second)[:70]
    content = content.ljust(second.offset, b"\0") + record(second) + record(failed) + bytes(500)
    assert log.judged(content) == []


def test_the_last_bytes_of_a_record_that_failed_may_stand_before_the_first_of_another():
    log = Log()
    failed, other = log.appended(0, Answer.DOUBTFUL), log.appended(SIZE, Answer.DOUBTFUL)
    assert log.judged(bytes(SIZE - 7) + record(failed)[-7:] + record(other)[:60]) == []
    assert log.judged(bytes(SIZE - 7) + b"nothing" + record(other)[:60]) == ["contents"]


def test_an_acknowledged_record_that_is_missing_is_a_violation():
    log = Log()
    log.appended(0)
    assert log.judged(b"") == ["contents"]


def test_zeros_in_the_place_of_an_acknowledged_record_are_a_violation():
    log = Log()
    first, second = log.appended(0), log.appended(SIZE)
    assert log.judged(bytes(len(record(first))) + record(second)) == ["contents"]


def test_an_acknowledged_record_at_another_place_than_its_client_was_told_is_a_violation():
    log = Log()
    first = log.appended(100)
    assert log.judged(record(first) + bytes(200)) == ["contents"]


@pytest.mark.parametrize("cut", [1, HEADER_BYTES + 5, SIZE - 1])
def test_an_acknowledged_record_that_is_not_whole_is_a_violation(cut: int):
    log = Log()
    first = log.appended(0)
    assert log.judged(record(first)[:cut].ljust(SIZE, b"\0")) == ["contents"]


def test_a_record_that_nobody_sent_is_a_violation():
    log, other = Log(), Log()
    for _ in range(3):
        strange = other.appended(0)
    first = log.appended(0)
    assert log.judged(record(first) + record(strange)) == ["contents"]


def test_bytes_of_no_record_are_a_violation():
    log = Log()
    first = log.appended(0)
    assert log.judged(record(first) + b"neither padding nor a record") == ["contents"]


def test_a_record_that_was_refused_is_never_seen():
    log = Log()
    first, refused = log.appended(0), log.appended(0, Answer.REFUSED)
    assert log.judged(record(first) + record(refused)) == ["contents"]


def test_a_record_in_doubt_may_be_there_or_not():
    for there in (True, False):
        log = Log()
        first, doubtful = log.appended(0), log.appended(0, Answer.DOUBTFUL)
        assert log.judged(record(first) + (record(doubtful) if there else b"")) == []


def test_a_record_that_was_asked_for_after_the_read_cannot_be_seen():
    log = Log()
    first = log.appended(0)
    log.read_file("/log", record(first) + b"later", (2.6, 2.7))
    assert "contents" in log.judged(record(first))


def test_acknowledged_records_that_overlap_are_a_violation():
    log = Log()
    log.appended(0)
    second = log.appended(SIZE - 1)
    assert "appends" in log.judged(bytes(SIZE - 1) + record(second))


def test_an_acknowledged_record_across_two_chunks_is_a_violation():
    log = Log()
    first = log.appended(CHUNK - 10)
    assert "appends" in log.judged(bytes(CHUNK - 10) + record(first))


def test_a_power_cut_of_all_replicas_may_take_a_record_and_its_place_may_be_given_again():
    def known(*servers: str) -> Facts:
        cuts = tuple(PowerCut(2.6, name) for name in servers)
        return facts(grants=(Grant(0, 7, ("cs1", "cs2")),), cuts=cuts, handles={(1, 0): 7})

    for servers, expected in ((("cs1", "cs2"), []), (("cs1",), ["appends", "contents"])):
        log = Log()
        log.appended(0)
        second = log.appended(0)
        assert log.judged(record(second), known(*servers)) == expected


def test_a_length_below_an_acknowledged_record_is_a_violation():
    log = Log()
    first = log.appended(0)
    log.stat("/log", (4, 5), log.file, SIZE - 1)
    assert log.judged(record(first)) == ["lengths"]


def test_a_replica_that_lacks_an_acknowledged_record_is_found():
    log = Log()
    first, second = log.appended(0), log.appended(CHUNK)
    log.appended(5000, Answer.DOUBTFUL)
    [appends] = [file.appends for file in file_histories(log.history, facts()).values()]
    assert list(missing_on_replica(appends, 0, CHUNK, record(first))) == []
    assert [one.operation for one in missing_on_replica(appends, 1, CHUNK, record(first))] == [second.number]
    assert all(math.isinf(one.may_be_lost_from) for one in appends)


def test_a_client_that_was_told_an_offset_too_early_is_found():
    log = Log()
    first = log.appended(0)
    first.lacking = ("cs2",)
    assert log.judged(record(first)) == ["appends"]


def test_a_duplicate_is_recognised():
    log = Log()
    first, second = log.appended(0), log.appended(SIZE)
    for content, is_duplicate in ((record(first) + record(second), False), (record(first) * 2, True)):
        read = log.read_file("/log", content, (9, 10))
        assert holds_a_duplicate(read) is is_duplicate


def test_a_record_in_an_earlier_chunk_than_one_that_was_acknowledged_before_it_is_a_violation():
    log = Log()
    first, second = log.appended(CHUNK), log.appended(0)
    content = record(second).ljust(CHUNK, b"\0") + record(first)
    assert log.judged(content) == ["appends"]


def test_records_that_were_under_way_at_the_same_time_may_be_in_any_chunks():
    log = Log()
    first = log.appended(CHUNK)
    second = log.append(log.file, 0, COUNT, (first.invoked, first.responded + 3), client="two")
    log.now += 4
    assert log.judged(record(second).ljust(CHUNK, b"\0") + record(first)) == []
