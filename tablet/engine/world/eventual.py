"""Answers that are there at once, or once something has been read.

The problem. A server awaits its disk, so whatever may touch the disk is a coroutine, and so is whatever calls that. But
most reads end in memory, and making, starting and ending a coroutine costs more than what such a read does in it.

The idea. A function that may have to wait is a plain function. It gets as far as it can: it returns the answer or, if
something must be read first, a coroutine that reads it and gives the answer. The caller looks at which it is. An event
loop awaits the coroutine, a program without one drives it to its end: there is one way to read in both worlds.
"""

from collections.abc import Coroutine
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Eventual: TypeAlias = T | Coroutine[Any, Any, T]


async def finished(answer: Eventual[T]) -> T:
    """The answer, at once or later: for callers to whom a coroutine more makes no difference."""
    return await answer if isinstance(answer, Coroutine) else answer
