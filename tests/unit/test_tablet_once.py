"""Named requests are carried out once, and both of two equal ones get the answer (BT 3)."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.errors import InvalidRequest, NotServed, Superseded
from runtime.wire.tables_pb2 import ChangeName
from tablet.location.once import Once


class Work:
    """Counts how often it is done."""

    def __init__(self) -> None:
        self.done = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> int:
        self.done += 1
        await self.may_end.wait()
        return self.done


def once() -> Once:
    world: Any = SimpleNamespace(clock=SimpleNamespace(now=lambda: 0.0))
    return Once(world, "ts1-7")


def name(number: int, *, oldest: int = 1, client: int = 5, server: str = "ts1-7") -> ChangeName:
    return ChangeName(client=client, number=number, oldest=oldest, server=server)


async def test_a_request_that_comes_again_gets_the_first_answer():
    known, work = once(), Work()
    assert [await known.run(name(1), work), await known.run(name(1), work)] == [1, 1]
    assert await known.run(name(2), work) == 2
    assert await known.run(name(1, client=6), work) == 3


async def test_of_two_that_come_together_both_get_the_answer_of_one():
    known, work = once(), Work()
    work.may_end.clear()
    both = [asyncio.ensure_future(known.run(name(1), work)) for _ in range(2)]
    await asyncio.sleep(0)
    work.may_end.set()
    assert await asyncio.gather(*both) == [1, 1]


async def test_a_failure_is_told_again():
    known = once()

    async def fail() -> None:
        raise NotServed("elsewhere", definite=True)

    for _ in range(2):
        with pytest.raises(NotServed):
            await known.run(name(1), fail)


async def test_what_nobody_waits_for_or_was_sent_to_another_life_or_has_no_name_is_not_done():
    known, work = once(), Work()
    await known.run(name(4, oldest=3), work)
    for wrong, error in (
        (name(2), Superseded),
        (name(5, server="ts1-6"), NotServed),
        (ChangeName(), InvalidRequest),
    ):
        with pytest.raises(error):
            await known.run(wrong, work)
    assert work.done == 1
