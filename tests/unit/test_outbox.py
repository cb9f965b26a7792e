"""Questions that share calls: order, errors, callers that go away."""

import asyncio
from collections.abc import Sequence

import pytest

from runtime.errors import NotFound, TabletopError, Unavailable
from runtime.outbox import Outbox


async def test_an_error_of_the_call_is_an_error_of_its_own_for_everyone_in_it() -> None:
    async def send(items: Sequence[int]) -> Sequence[int]:
        raise NotFound("there is nobody")

    outbox = Outbox(send, items_a_call=8, calls_at_once=1)
    found = await asyncio.gather(*(outbox.ask(number) for number in range(3)), return_exceptions=True)
    assert [type(error) for error in found] == [NotFound] * 3
    assert len({id(error) for error in found}) == 3


async def test_what_nobody_waits_for_any_more_does_not_travel() -> None:
    calls: list[list[int]] = []
    begun, may_go = asyncio.Event(), asyncio.Event()

    async def send(items: Sequence[int]) -> Sequence[int]:
        calls.append(list(items))
        begun.set()
        await may_go.wait()
        return items

    outbox = Outbox(send, items_a_call=8, calls_at_once=1)
    first = asyncio.create_task(outbox.ask(0))
    await begun.wait()
    others = [asyncio.create_task(outbox.ask(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    others[1].cancel()
    await asyncio.sleep(0)
    may_go.set()
    assert await asyncio.gather(first, others[0], others[2]) == [0, 1, 3]
    assert calls == [[0], [1, 3]]


async def test_a_call_that_answers_too_little_is_no_answer() -> None:
    async def send(items: Sequence[int]) -> Sequence[int]:
        return items[:-1]

    outbox = Outbox(send, items_a_call=8, calls_at_once=1)
    with pytest.raises(Unavailable) as caught:
        await outbox.ask(1)
    assert not caught.value.definite


async def test_a_question_after_a_failed_call_is_asked() -> None:
    problems: list[TabletopError] = [Unavailable("lost")]

    async def send(items: Sequence[int]) -> Sequence[int]:
        if problems:
            raise problems.pop()
        return items

    outbox = Outbox(send, items_a_call=8, calls_at_once=1)
    with pytest.raises(Unavailable):
        await outbox.ask(1)
    assert await outbox.ask(2) == 2
