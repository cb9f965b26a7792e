"""Events: clocks, causes, and their way to a file and back."""

import asyncio
import contextvars
from dataclasses import dataclass
from typing import ClassVar

import pytest

from runtime.events import (
    Event,
    EventLog,
    MemorySink,
    UnknownEvent,
    because,
    current_cause,
    in_causal_order,
    record_from_json,
    rendered,
)


@dataclass(frozen=True, slots=True)
class KettleBoiled(Event):
    sentence: ClassVar[str] = "boiled {litres} litres for {guests}"
    litres: float
    guests: tuple[str, ...]


def new_log(node: str = "cs1") -> EventLog:
    return EventLog(node, MemorySink(), wall_microseconds=lambda: 3_600_000_000)


def test_a_record_comes_back_from_its_line():
    log = new_log()
    with because("client.7"):
        log.emit(KettleBoiled(1.5, ("ann", "bob")))
    record = log.sink.records[0]
    assert record_from_json(record.to_json()) == record
    assert record.cause == "client.7"


async def test_work_that_is_thrown_away_in_another_context_ends_in_silence_and_changes_no_cause_there():
    async def work() -> None:
        with because("client.7"):
            await forever

    forever = asyncio.get_running_loop().create_future()
    unfinished = work()
    contextvars.copy_context().run(unfinished.send, None)
    with because("client.8"):
        unfinished.close()
        assert current_cause() == "client.8"


def test_an_event_that_this_program_does_not_know_is_kept():
    line = '{"lamport": 1, "wall": 0, "node": "cs1", "cause": "", "kind": "FromTheFuture", "colour": "red"}'
    record = record_from_json(line)
    assert record.event == UnknownEvent(kind="FromTheFuture", fields='{"colour": "red"}')


def test_an_answer_is_later_than_its_request_on_every_clock():
    client, server = new_log("client"), new_log("server")
    for _ in range(5):
        server.emit(KettleBoiled(1.0, ()))
    sent = client.sent()
    server.received(sent)
    answered = server.sent()
    client.received(answered)
    client.emit(KettleBoiled(2.0, ()))
    assert sent < answered < client.sink.records[-1].lamport


def test_causes_of_one_node_are_never_alike():
    log = new_log()
    assert log.new_cause() != log.new_cause()


def test_a_record_reads_as_a_sentence():
    log = new_log()
    log.emit(KettleBoiled(1.5, ("ann",)))
    assert rendered(log.sink.records[0]) == "01:00:00.000 cs1      boiled 1.5 litres for ann"


def test_the_true_time_is_in_the_json_only_where_it_is_known():
    log = EventLog("desk", MemorySink(), lambda: 5)
    simulated = EventLog("desk", MemorySink(), lambda: 5, lambda: 7)
    for one in (log, simulated):
        one.emit(KettleBoiled(1.5, ("ann",)))
        (record,) = one.sink.records
        assert record_from_json(record.to_json()) == record
        assert ('"true": 7' in record.to_json()) == (one is simulated)


def test_records_of_several_nodes_stand_after_what_caused_them_though_the_clocks_disagree():
    late, early = EventLog("late", MemorySink(), lambda: 9), EventLog("early", MemorySink(), lambda: 1)
    late.emit(KettleBoiled(1.0, ("cause",)))
    early.received(late.sent())
    early.emit(KettleBoiled(1.0, ("effect",)))
    found = in_causal_order([*early.sink.records, *late.sink.records])
    assert [record.event.guests for record in found] == [("cause",), ("effect",)]


def test_a_node_that_was_started_again_counts_from_one_and_stands_after_what_happened_before():
    master = EventLog("master", MemorySink(), lambda: 5)
    master.received(1000)
    master.emit(KettleBoiled(1.0, ("gave cs1 up",)))
    first, second = (EventLog("cs1", MemorySink(), lambda wall=wall: wall) for wall in (1, 9))
    first.emit(KettleBoiled(1.0, ("first life",)))
    first.received(500)
    first.emit(KettleBoiled(1.0, ("last words",)))
    second.emit(KettleBoiled(1.0, ("second life",)))
    found = in_causal_order([*first.sink.records, *second.sink.records, *master.sink.records])
    assert [record.event.guests[0] for record in found] == ["first life", "last words", "gave cs1 up", "second life"]


@dataclass(frozen=True, slots=True)
class KettleMoved(Event):
    """Its fields have the names of a record's circumstances."""

    sentence: ClassVar[str] = "{node} moved to {cause}"
    node: str
    kind: str
    cause: str


def test_a_field_that_is_called_as_a_circumstance_comes_back_and_hides_none():
    log = new_log()
    log.emit(KettleMoved("kettle", "big", "shelf"))
    log.emit(UnknownEvent(kind="FromTheFuture", fields="{}"))
    for record in log.sink.records:
        assert record_from_json(record.to_json()) == record
        assert record.node == "cs1"


def test_a_line_with_a_clock_that_is_no_number_is_no_record():
    for line in (
        '{"lamport": "1", "wall": 0, "node": "cs1", "cause": "", "kind": "KettleBoiled"}',
        '{"lamport": 1, "wall": null, "node": "cs1", "cause": "", "kind": "KettleBoiled"}',
        '{"lamport": 1, "wall": 0, "node": 3, "cause": "", "kind": "KettleBoiled"}',
    ):
        with pytest.raises(ValueError, match="no record"):
            record_from_json(line)
