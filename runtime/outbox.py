"""Many small questions to one server, in few calls.

The problem. A call costs far more than what a small question adds to it, and whoever has many questions asks them one
call each. The idea is that of the group commit: a question that comes while calls are under way waits with others, and
they travel together in the next call. One question alone waits for nobody; a thousand share a few calls.

>>> async def main():
...     calls = []
...     async def send(items):
...         calls.append(list(items))
...         await asyncio.sleep(0)
...         return [item * item for item in items]
...     outbox = Outbox(send, items_a_call=4, calls_at_once=1)
...     answers = await asyncio.gather(*(outbox.ask(number) for number in range(6)))
...     return answers, calls
>>> asyncio.run(main())
([0, 1, 4, 9, 16, 25], [[0, 1, 2, 3], [4, 5]])

Invariants: (1) every question gets the answer that `send` gave in its place, or the error that `send` raised; (2) a
question whose caller has gone before the call was made does not travel.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from runtime.errors import TabletopError, Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Outbox(Generic[Item, Answer]):
    """Gathers what one server is to be asked. `send` makes one call, and returns an answer for each item."""

    def __init__(
        self, send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], *, items_a_call: int, calls_at_once: int
    ) -> None:
        self._send = send
        self._items_a_call = items_a_call
        self._calls_at_once = calls_at_once
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._calls = 0
        self._tasks: dict[asyncio.Task[None], None] = {}

    async def ask(self, item: Item) -> Answer:
        """The answer to one question. Raises what the call raised that it travelled in."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._calls < self._calls_at_once:
            self._calls += 1
            task = asyncio.create_task(self._empty(), name="empty an outbox")
            self._tasks[task] = None
            task.add_done_callback(self._forget)
        return await future

    async def _empty(self) -> None:
        try:
            while batch := self._next_batch():
                await self._call(batch)
        finally:
            self._calls -= 1  # In the same moment in which nothing waits: what comes next begins another call.

    def _next_batch(self) -> list[tuple[Item, "asyncio.Future[Answer]"]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._items_a_call:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _call(self, batch: Sequence[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._send([item for item, _ in batch])
            if len(answers) != len(batch):
                raise Unavailable(f"{len(batch)} things were asked in one call, and {len(answers)} were answered")
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(_own(error))
                    future.exception()  # Its caller may have gone meanwhile.
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        del self._tasks[task]


def _own(error: BaseException) -> Exception:
    """The error for one of those who shared a call: each may say more in its own."""
    if isinstance(error, TabletopError):
        own = type(error)(error.message, definite=error.definite, servers=error.servers)
        own.is_answer = error.is_answer
        return own
    return error if isinstance(error, Exception) else Unavailable("the call that it travelled in was given up")
