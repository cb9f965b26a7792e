"""What the judges of tables find in notes that were made up: errors, waits and scans that no client was promised."""

from collections.abc import AsyncIterator

from cluster.swarm.history import Answer
from cluster.swarm.tables.history import History, Operation
from cluster.swarm.tables.plan import Kind, PlannedOperation
from cluster.swarm.tables.promises import LONGEST_SECONDS, in_order, judge_promises, strays


def noted(kind: Kind, *, answer: Answer = Answer.VALUE, error: str = "", seconds: float = 1.0) -> History:
    history = History()
    one = history.new("one", PlannedOperation("one", 0.0, kind), 0, 10.0)
    one.answer, one.error, one.responded = answer, error, 10.0 + seconds
    return history


def judges(history: History) -> list[str]:
    return [verdict.judge for verdict in judge_promises(history)]


def test_errors_that_are_promised_are_fine_and_others_are_not():
    assert judges(noted(Kind.GET)) == []
    assert judges(noted(Kind.GET, answer=Answer.REFUSED, error="Unavailable")) == []
    assert judges(noted(Kind.PUT, answer=Answer.DOUBTFUL, error="DiskFailure")) == []
    assert judges(noted(Kind.GET, answer=Answer.REFUSED, error="DiskFailure")) == ["errors"]
    assert judges(noted(Kind.PUT, answer=Answer.REFUSED, error="NotFound")) == ["errors"]
    assert judges(noted(Kind.WRITE_ROWS, answer=Answer.DOUBTFUL, error="Superseded")) == ["errors"]


def test_an_operation_that_takes_longer_than_its_client_is_patient_is_found():
    assert judges(noted(Kind.PUT, seconds=LONGEST_SECONDS + 1)) == ["endless"]
    assert judges(noted(Kind.SCAN, seconds=LONGEST_SECONDS + 1)) == [], "it is several calls"


async def scanned(*keys: bytes) -> Operation:
    async def rows() -> AsyncIterator[tuple[bytes, int]]:
        for number, key in enumerate(keys):
            yield key, number

    one = History().new("one", PlannedOperation("one", 0.0, Kind.SCAN), 0, 0.0)
    found = await in_order(rows(), b"b", b"e", one)
    assert found.keys() == set(keys)
    return one


async def test_rows_of_a_scan_that_come_twice_or_out_of_order_or_unasked_are_found():
    assert (await scanned(b"b", b"c", b"d")).wrong == []
    assert len((await scanned(b"b", b"c", b"c")).wrong) == 1
    assert len((await scanned(b"b", b"d", b"c")).wrong) == 1
    assert len((await scanned(b"b", b"c", b"e")).wrong) == 1


def test_a_tablet_that_is_served_though_metadata_does_not_say_so_is_found():
    named = [("ts1-1", "users-000003")]
    assert strays(named, named) == []
    assert len(strays([*named, ("ts2-1", "users-000003")], named)) == 1
