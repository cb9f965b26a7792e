"""Signs of life while an order is carried out that may take a minute (GFS leaves it open).

The problem. Whoever gave such an order keeps all others away from the chunk until it is done. If the order was lost on
its way, or its server stands still, that would last for the whole time that the order may take. The idea: the server
says every second that it is at it, so that silence for a few seconds means that nobody is.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from runtime.errors import TabletopError
from runtime.world import World

_SIGN_SECONDS = 1.0

T = TypeVar("T")


async def with_signs(
    world: World, work: Coroutine[Any, Any, T], name: str, *, ends_with_caller: bool
) -> AsyncGenerator[T | None, None]:
    """None every second while the work is done, at last what came of it. Raises what it raises.

    If the caller goes away, the work ends, or goes on to its end."""
    task = world.spawn(_outcome(work), name)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_SIGN_SECONDS)
            if not task.done():
                yield None
    finally:
        if ends_with_caller and not task.done():
            task.cancel()
    outcome = task.result()
    if isinstance(outcome, TabletopError):
        raise outcome
    yield outcome


async def _outcome(work: Coroutine[Any, Any, T]) -> T | TabletopError:
    """A failure is returned: nobody may be there any more to fetch an exception."""
    try:
        return await work
    except TabletopError as error:
        return error
