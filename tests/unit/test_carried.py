"""The ends of a carried stream, over a transport that does what the test says."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from runtime.carried import end as end_module
from runtime.carried.channel import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, CarriedChannel
from runtime.carried.client import ClientStream
from runtime.carried.deadlines import LATE_SECONDS, OVER_KEPT, Deadlines
from runtime.carried.end import LARGE_BYTES, MESSAGE_BYTES, QUEUE_BYTES, QUEUE_LETTERS
from runtime.carried.letters import Call
from runtime.carried.server import Method, ServerStream
from runtime.errors import NotFound, TabletopError, TimedOut, Unauthenticated, Unavailable
from runtime.events import EventLog, MemorySink
from runtime.guard import Guard, HandlerFailed
from runtime.simulated.world import Simulation
from runtime.wire.carry_pb2 import Envelope, Envelopes
from tests.conformance.both_worlds import settled

PATH = "/conformance.Echo/Unary"


@dataclass
class Transport:
    """Sends nothing by itself."""

    woken: int = 0
    aborted: int = 0

    def wake(self) -> None:
        self.woken += 1

    def abort(self) -> None:
        self.aborted += 1


def log() -> EventLog:
    return EventLog("test", MemorySink(), lambda: 0)


def message(end: end_module.End) -> list[Envelope]:
    """The next message, as it would be read at the other side."""
    sent = Envelopes()
    end.taken(sent.envelopes.add)
    return list(Envelopes.FromString(sent.SerializeToString()).envelopes)


@dataclass
class Dialled:
    """A channel to nowhere, and the streams that it dialled."""

    streams: list[ClientStream] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    transport: Transport = field(default_factory=Transport)
    refuses: bool = False
    lot: float = 1.0

    def __post_init__(self) -> None:
        self.channel = CarriedChannel("there:1", log(), self, self)  # type: ignore[arg-type]
        make: Any = self.channel.unary_unary
        self.ask = make(PATH, StringValue.SerializeToString, StringValue.FromString)

    def uniform(self, low: float, high: float) -> float:
        return low + self.lot * (high - low)

    def __call__(self, stream: ClientStream, pause: float) -> None:
        self.streams.append(stream)
        self.pauses.append(pause)
        if self.refuses:
            asyncio.get_running_loop().call_soon(stream.refused, "connection refused")
        else:
            stream.opened(self.transport)

    async def asked(self, *values: str, timeout: float = 5) -> list["asyncio.Task[StringValue]"]:
        """Calls, each in a task that has begun it."""
        tasks = [asyncio.create_task(self.ask(StringValue(value=value), timeout=timeout)) for value in values]
        await asyncio.sleep(0)
        return tasks


def answer(request: Envelope, value: str) -> Envelope:
    body = StringValue(value=value).SerializeToString()
    return Envelope(kind=Envelope.REPLY, number=request.number, body=body)


async def error_of(task: "asyncio.Task[StringValue]") -> TabletopError:
    with pytest.raises(TabletopError) as caught:
        await task
    return caught.value


# The caller's end.


async def test_calls_that_wait_share_a_message_and_one_that_is_alone_is_sent_at_once():
    there = Dialled()
    await there.asked("a")
    assert there.transport.woken == 1 and [len(message(there.streams[0]))] == [1]
    await there.asked("b", "c", "d")
    assert there.transport.woken == 1, "it is still at work, and looks again by itself"
    assert len(message(there.streams[0])) == 3
    assert message(there.streams[0]) == []
    await there.asked("e")
    assert there.transport.woken == 2


async def test_a_large_call_has_a_message_to_itself_and_no_message_grows_without_bound():
    there = Dialled()
    small, large = "s" * 30_000, "l" * LARGE_BYTES
    await there.asked(*[small] * 3, large, *[small] * 12)
    sizes = []
    while found := message(there.streams[0]):
        sizes.append([len(envelope.body) for envelope in found])
    assert [len(one) for one in sizes] == [3, 1, 9, 3]
    assert all(sum(one) <= MESSAGE_BYTES + LARGE_BYTES for one in sizes)


async def test_an_answer_goes_to_the_call_of_its_number_and_other_numbers_to_nobody():
    there = Dialled()
    first, second = await there.asked("first", "second")
    requests = message(there.streams[0])
    there.streams[0].arrived(answer(requests[1], "to second"))
    there.streams[0].arrived(Envelope(kind=Envelope.REPLY, number=99))
    there.streams[0].arrived(answer(requests[0], "to first"))
    there.streams[0].arrived(answer(requests[0], "again"))
    assert ((await first).value, (await second).value) == ("to first", "to second")


async def test_an_answer_of_an_earlier_stream_reaches_no_call_of_a_later_one():
    there = Dialled()
    (before,) = await there.asked("before")
    (request,) = message(there.streams[0])
    there.streams[0].broke("cut")
    assert not (await error_of(before)).definite
    (after,) = await there.asked("after")
    (other,) = message(there.streams[1])
    assert other.number == request.number, "or this test shows nothing"
    there.streams[0].arrived(answer(request, "late"))
    await asyncio.sleep(0)
    assert not after.done()
    there.streams[1].arrived(answer(other, "right"))
    assert (await after).value == "right"


async def test_a_broken_stream_is_definite_for_calls_that_never_left_alone():
    there = Dialled()
    (left,) = await there.asked("left")
    message(there.streams[0])
    (stayed,) = await there.asked("stayed")
    there.streams[0].broke("cut")
    for task, definite in ((left, False), (stayed, True)):
        error = await error_of(task)
        assert isinstance(error, Unavailable) and error.definite is definite and "cut" in error.message
    assert there.transport.aborted == 1


async def test_a_refused_stream_and_one_that_ended_in_order_are_definite():
    there = Dialled(refuses=True)
    (task,) = await there.asked("x")
    assert (await error_of(task)).definite
    there = Dialled()
    (task,) = await there.asked("x")
    message(there.streams[0])
    there.streams[0].ended_in_order()
    assert (await error_of(task)).definite


async def test_a_rejected_stream_gives_each_caller_an_error_of_its_own():
    there = Dialled()
    tasks = await there.asked("x", "y")
    there.streams[0].rejected(Unauthenticated("a wrong cluster token"))
    errors = [await error_of(task) for task in tasks]
    assert errors[0] is not errors[1] and all(error.is_answer and error.definite for error in errors)


async def test_a_server_that_drains_gets_no_more_calls_and_answers_the_ones_it_has():
    there = Dialled()
    (running,) = await there.asked("running")
    (request,) = message(there.streams[0])
    (waiting,) = await there.asked("waiting")
    there.streams[0].arrived(Envelope(kind=Envelope.DRAIN))
    error = await error_of(waiting)
    assert error.definite and message(there.streams[0]) == [], "it never left"
    (later,) = await there.asked("later")
    assert len(there.streams) == 2 and there.pauses == [0.0, 0.0]
    there.streams[0].arrived(answer(request, "done"))
    assert (await running).value == "done"
    there.streams[0].ended_in_order()
    assert not later.done()
    later.cancel()


async def test_a_refused_call_never_began():
    there = Dialled()
    (task,) = await there.asked("x")
    (request,) = message(there.streams[0])
    there.streams[0].arrived(Envelope(kind=Envelope.REFUSAL, number=request.number))
    assert (await error_of(task)).definite


async def test_a_call_that_was_given_up_does_not_leave_and_one_that_has_left_is_cancelled():
    there = Dialled()
    left, stayed = await there.asked("left"), []
    (request,) = message(there.streams[0])
    stayed = await there.asked("stayed")
    for (task,) in (left, stayed):
        task.cancel()
    await asyncio.sleep(0)
    (word,) = message(there.streams[0])
    assert (word.kind, word.number) == (Envelope.CANCEL, request.number)


async def test_a_call_whose_time_is_up_is_definite_only_if_it_never_left():
    there = Dialled()
    (left,) = await there.asked("left", timeout=0.02)
    message(there.streams[0])
    (stayed,) = await there.asked("stayed", timeout=0.01)
    for task, definite in ((stayed, True), (left, False)):
        error = await error_of(task)
        assert isinstance(error, TimedOut) and error.definite is definite
    assert [envelope.kind for envelope in message(there.streams[0])] == [Envelope.CANCEL]


async def test_a_request_says_how_long_its_caller_still_waits_when_it_leaves():
    there = Dialled()
    await there.asked("x", timeout=5)
    await asyncio.sleep(0.02)
    (request,) = message(there.streams[0])
    assert 4 < request.seconds <= 4.981 and request.method == PATH


async def test_callers_wait_for_room_and_no_more_than_the_bound_is_kept():
    there = Dialled()
    body = "x" * 1_000_000
    tasks = await there.asked(*[body] * 8)
    stream = there.streams[0]
    assert stream.is_full and stream._bytes < QUEUE_BYTES + 1_100_000
    assert len(stream._calls) == 5
    sent = 0
    while found := message(stream):
        for request in found:
            sent += 1
            stream.arrived(answer(request, "ok"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert sent == 8 and [(await task).value for task in tasks] == ["ok"] * 8
    tasks = await there.asked(*["x"] * (QUEUE_LETTERS + 10))
    assert len(stream._letters) == QUEUE_LETTERS
    stream.broke("cut")
    for task in tasks[:QUEUE_LETTERS]:
        assert (await error_of(task)).definite
    for task in tasks:
        task.cancel()


async def test_callers_that_give_up_make_room_for_those_that_wait():
    there = Dialled()
    tasks = await there.asked(*["x" * 1_000_000] * 5)
    (late,) = await there.asked("late")
    for task in tasks:
        task.cancel()
    await asyncio.sleep(0)
    assert message(there.streams[0]) == [], "nobody wants those any more"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (request,) = message(there.streams[0])
    there.streams[0].arrived(answer(request, "ok"))
    assert (await late).value == "ok"


async def test_a_caller_that_waits_for_room_too_long_was_certainly_not_heard():
    there = Dialled()
    tasks = await there.asked(*["x" * 1_000_000] * 5)
    (late,) = await there.asked("late", timeout=0.02)
    error = await error_of(late)
    assert isinstance(error, TimedOut) and error.definite and "too many calls" in error.message
    for task in tasks:
        task.cancel()


def test_pauses_before_another_stream_grow_and_an_answer_ends_them():
    async def story() -> None:
        there = Dialled(refuses=True)
        for _ in range(8):
            (task,) = await there.asked("x")
            assert (await error_of(task)).definite
        longest = [min(FIRST_PAUSE_SECONDS * 2**n, LONGEST_PAUSE_SECONDS) for n in range(7)]
        assert there.pauses == pytest.approx([0.0, *longest])
        await asyncio.sleep(LONGEST_PAUSE_SECONDS)
        there.refuses, there.lot = False, 0.0
        (task,) = await there.asked("x")
        (request,) = message(there.streams[-1])
        there.streams[-1].arrived(answer(request, "ok"))
        await task
        there.streams[-1].broke("cut")
        (task,) = await there.asked("x")
        assert there.pauses[-2:] == pytest.approx([0.0, FIRST_PAUSE_SECONDS / 2])
        task.cancel()

    with Simulation() as simulation:
        simulation.run(story())


# The server's end.


@dataclass
class Serving:
    """A server's end, and what its servicer saw."""

    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    transport: Transport = field(default_factory=Transport)

    def __post_init__(self) -> None:
        self.events = log()
        method = Method("Echo/Unary", self.behave, StringValue.FromString, StringValue.SerializeToString)
        guard, loop = Guard("token", self.events), asyncio.get_running_loop()
        self.stream = ServerStream(loop, guard, {PATH: method}, "caller", self.transport)

    async def behave(self, request: StringValue, context: Any) -> StringValue:
        self.begun.append(request.value)
        try:
            if request.value == "missing":
                raise NotFound("no such thing", servers=("cs1", "cs2"))
            if request.value == "bug":
                raise KeyError("bug")
            if request.value == "abort":
                await context.abort(grpc.StatusCode.DATA_LOSS, "lost it")
            if request.value != "quick":
                await self.open.wait()
        finally:
            self.ended.append(request.value)
        return request

    def ask(self, number: int, value: str, seconds: float = 5, path: str = PATH) -> None:
        body = StringValue(value=value).SerializeToString()
        self.stream.arrived(Envelope(number=number, method=path, body=body, seconds=seconds))

    async def answers(self) -> list[Envelope]:
        for _ in range(3):
            await asyncio.sleep(0)
        return message(self.stream)


async def test_calls_are_answered_as_they_end_by_their_numbers():
    serving = Serving()
    serving.ask(1, "slow")
    serving.ask(2, "quick")
    serving.ask(3, "quick")
    assert [(one.kind, one.number) for one in await serving.answers()] == [(Envelope.REPLY, 2), (Envelope.REPLY, 3)]
    serving.open.set()
    assert [one.number for one in await serving.answers()] == [1]


async def test_errors_statuses_and_unknown_methods_are_failures_with_what_the_caller_needs():
    serving = Serving()
    for number, value in enumerate(("missing", "bug", "abort"), 1):
        serving.ask(number, value)
    serving.ask(4, "quick", path="/no/Such")
    found = {one.number: one.failure for one in await serving.answers()}
    assert (found[1].error, found[1].message, found[1].definite) == ("NotFound", "no such thing", True)
    assert list(found[1].servers) == ["cs1", "cs2"]
    assert found[2].error == "InternalError" and not found[2].definite and "KeyError" in found[2].message
    assert (found[3].code, found[3].error, found[3].message) == (grpc.StatusCode.DATA_LOSS.value[0], "", "lost it")
    assert found[4].code == grpc.StatusCode.UNIMPLEMENTED.value[0] and "/no/Such" in found[4].message
    assert [record for record in serving.events.sink.records if isinstance(record.event, HandlerFailed)]


async def test_a_call_that_is_cancelled_or_too_late_is_not_answered():
    serving = Serving()
    serving.ask(1, "slow")
    serving.ask(2, "late", seconds=0.01)
    serving.ask(3, "before its first step")
    serving.stream.arrived(Envelope(kind=Envelope.CANCEL, number=3))
    await asyncio.sleep(0)
    serving.stream.arrived(Envelope(kind=Envelope.CANCEL, number=1))
    serving.stream.arrived(Envelope(kind=Envelope.CANCEL, number=77))
    await settled(lambda: not serving.stream.tasks())
    assert await serving.answers() == []
    assert serving.begun == ["slow", "late"] and sorted(serving.ended) == ["late", "slow"]
    assert not serving.stream.tasks()


async def test_a_stream_that_drains_says_so_serves_what_runs_and_refuses_what_comes():
    serving = Serving()
    serving.ask(1, "slow")
    await asyncio.sleep(0)
    serving.stream.drain()
    serving.stream.drain()
    serving.ask(2, "quick")
    found = await serving.answers()
    assert [(one.kind, one.number) for one in found] == [(Envelope.DRAIN, 0), (Envelope.REFUSAL, 2)]
    assert not serving.stream.is_over and serving.begun == ["slow"]
    serving.open.set()
    assert [one.number for one in await serving.answers()] == [1]
    assert serving.stream.is_over


async def test_the_end_of_a_drained_stream_wakes_its_transport_even_if_nobody_is_to_be_answered():
    serving = Serving()
    serving.ask(1, "slow")
    await asyncio.sleep(0)
    serving.stream.drain()
    await serving.answers()
    message(serving.stream)
    woken = serving.transport.woken
    serving.stream.arrived(Envelope(kind=Envelope.CANCEL, number=1))
    await serving.answers()
    assert serving.stream.is_over and serving.transport.woken > woken


async def test_a_broken_stream_cancels_every_handler():
    serving = Serving()
    for number in range(3):
        serving.ask(number, str(number))
    await asyncio.sleep(0)
    serving.stream.broke()
    assert await serving.answers() == [] and sorted(serving.ended) == ["0", "1", "2"]


async def test_a_number_that_is_in_use_ends_the_stream():
    serving = Serving()
    serving.ask(1, "slow")
    serving.ask(1, "slow")
    await asyncio.sleep(0)
    assert serving.transport.aborted == 1 and serving.begun == ["slow"]


async def test_a_server_whose_answers_are_not_taken_is_full():
    serving = Serving()
    for number in range(QUEUE_LETTERS):
        serving.ask(number, "quick")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert serving.stream.is_full
    reading = asyncio.create_task(serving.stream.room())
    await asyncio.sleep(0)
    assert not reading.done() and message(serving.stream)
    await reading


# Deadlines.


async def test_deadlines_ring_in_order_of_time_for_the_calls_that_are_left():
    loop = asyncio.get_running_loop()
    table = {number: number for number in range(10)}
    rung: list[int] = []
    deadlines = Deadlines(loop, table, rung.append)
    for number in (3, 1, 9, 4, 7):
        deadlines.add(loop.time() + 0.01 * number, number)
    del table[4]
    await settled(lambda: len(rung) == 4)
    assert rung == [1, 3, 7, 9]


async def test_an_answer_that_came_while_the_loop_was_busy_is_read_before_its_call_is_given_up():
    loop = asyncio.get_running_loop()
    table, rung = {1: 1, 2: 2}, []
    deadlines = Deadlines(loop, table, rung.append)
    for number in table:
        deadlines.add(loop.time() + 0.001, number)
    # What reads an answer takes some turns of the loop.
    loop.call_soon(loop.call_soon, loop.call_soon, loop.call_soon, loop.call_soon, table.pop, 1)
    busy_until = loop.time() + 2 * LATE_SECONDS
    while loop.time() < busy_until:
        pass
    await settled(lambda: rung)
    assert rung == [2]


async def test_deadlines_of_calls_that_are_over_are_not_kept():
    loop = asyncio.get_running_loop()
    table: dict[int, Call] = {}
    deadlines = Deadlines(loop, table, lambda call: None)
    for number in range(10 * OVER_KEPT):
        deadlines.add(loop.time() + 1000, number)
    assert len(deadlines._heap) <= OVER_KEPT + 1
    deadlines.close()
