"""Work that is done to its end though whoever asked for it is cancelled.

The problem. A change has two halves, one on the disk and one in memory. A caller with a deadline may be cancelled
between them, and then the two say different things.

The idea. The work is a task of its own. The caller waits until it has ended, however often he is cancelled meanwhile,
and hears of his cancellation afterwards: so the locks that he holds are held until then, too. Where there is no event
loop (`inline`), nobody can be cancelled, and the work runs at once.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

P = ParamSpec("P")
T = TypeVar("T")
_UNINTERRUPTED: "WeakSet[asyncio.Task[Any]]" = WeakSet()


class MayBeInline(Protocol):
    """The part of an object that `to_the_end` needs."""

    is_inline: bool


S = TypeVar("S", bound=MayBeInline)


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Do `work` to its end. Raises what it raises; CancelledError, if the caller was cancelled, when it has ended.
    Without a running loop nothing is done: RuntimeError.

    Within work that is done so already, no other task is needed: nobody can cancel this one.
    """
    try:
        asker = asyncio.current_task()
    except RuntimeError:  # The loop is gone, and a task that it has left unfinished is cleaning up: nothing can run.
        work.close()
        raise
    if asker in _UNINTERRUPTED:
        return await work
    task = asyncio.ensure_future(work)
    _UNINTERRUPTED.add(task)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # Nobody else asks for it.
        raise


def to_the_end(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """A decorator: the method's work is `uninterrupted`."""

    @functools.wraps(method)
    async def whole(self: S, /, *arguments: P.args, **named: P.kwargs) -> T:
        work = method(self, *arguments, **named)
        return await work if self.is_inline else await uninterrupted(work)

    return whole
