"""Which of several masters a client asks."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gfs.names.masters import Masters
from gfs.settings import ClientSettings
from runtime.errors import NotActing, NotFound, TimedOut, Unavailable
from runtime.events import EventLog, MemorySink
from runtime.wire.master_pb2 import FileInfo, ShadowAnswer, StatRequest

Answer = Callable[[StatRequest], FileInfo]


class Pretended:
    """A world whose network is a table: what each master answers, and who was asked with which patience."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Exception] = {}
        self.asked: list[tuple[str, float]] = []
        self.network = self
        self.events = EventLog("client", MemorySink(), lambda: 0)

    def channel(self, address: str) -> Any:
        return PretendedChannel(self, address)


class PretendedChannel:
    def __init__(self, world: Pretended, address: str) -> None:
        self._world = world
        self._address = address

    def unary_unary(self, path: str, **_: Any) -> Any:
        async def call(request: StatRequest, timeout: float) -> FileInfo:
            self._world.asked.append((self._address, timeout))
            answer = self._world.answers[self._address]
            if isinstance(answer, Exception):
                raise answer
            return answer(request)

        return call


def acts(request: StatRequest) -> FileInfo:
    return FileInfo(path=request.path)


def shadow(*, of: str = "") -> Answer:
    def answer(request: StatRequest) -> FileInfo:
        if not request.may_be_old:
            error = NotActing("a shadow", servers=(of,) if of else ())
            error.is_answer = True
            raise error
        return FileInfo(path=request.path, shadow=ShadowAnswer(master="b", lag_seconds=0.5))

    return answer


def made(world: Pretended, **settings: Any) -> Masters:
    return Masters(world, ["a", "b", "c"], ClientSettings(**settings))  # type: ignore[arg-type]


def stat(masters: Masters) -> FileInfo:
    return asyncio.run(masters.stub.Stat(StatRequest(path="/"), timeout=10.0))  # type: ignore[arg-type]


def test_it_asks_the_one_that_a_shadow_names_and_stays_with_it():
    world = Pretended()
    world.answers = {"a": shadow(of="c"), "b": shadow(), "c": acts}
    masters = made(world)
    with pytest.raises(NotActing):
        stat(masters)
    stat(masters)
    stat(masters)
    assert [address for address, _ in world.asked] == ["a", "c", "c"]


def test_it_goes_on_to_the_next_if_one_does_not_answer_and_waits_longer_each_time():
    world = Pretended()
    world.answers = {"a": TimedOut("a"), "b": Unavailable("b"), "c": TimedOut("c")}
    masters = made(world, first_call_seconds=2.0)
    for _ in range(4):
        with pytest.raises((TimedOut, Unavailable)):
            stat(masters)
    assert world.asked == [("a", 2.0), ("b", 4.0), ("c", 4.0), ("a", 8.0)]


def test_a_refusal_of_the_acting_master_is_its_answer():
    world = Pretended()
    world.answers = {"a": NotFound("no such file"), "b": shadow(), "c": shadow()}
    masters = made(world)
    for _ in range(2):
        with pytest.raises(NotFound):
            stat(masters)
    assert [address for address, _ in world.asked] == ["a", "a"]


def test_a_question_is_answered_by_a_shadow_only_if_nobody_acts():
    world = Pretended()
    world.answers = {"a": Unavailable("a"), "b": shadow(), "c": acts}
    masters = made(world)
    ask = masters.reading_stub.Stat
    asyncio.run(ask(StatRequest(path="/"), timeout=10.0))  # type: ignore[arg-type]
    assert masters.shadow is None
    world.answers["c"] = Unavailable("c")
    reply = asyncio.run(ask(StatRequest(path="/"), timeout=10.0))  # type: ignore[arg-type]
    assert reply.shadow.lag_seconds == 0.5
    assert masters.shadow is not None and masters.shadow.master == "b"


def test_who_wants_no_old_answer_gets_none():
    world = Pretended()
    world.answers = {"a": Unavailable("a"), "b": shadow(), "c": Unavailable("c")}
    masters = made(world, shadow_seconds=0.0)
    for _ in range(4):
        with pytest.raises(Unavailable):
            asyncio.run(masters.reading_stub.Stat(StatRequest(path="/"), timeout=10.0))  # type: ignore[arg-type]
