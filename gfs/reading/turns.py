"""One call at a time on one open file; the others wait, first come first served.

The problem. The calls of an open file share its position, the buffer that is being filled and what was read ahead, and
all of them wait in between. A program whose threads share a file, as they may share one of Python's own, would have two
calls change these at once: bytes that were taken would vanish, and bytes that no file has would be read. The idea: a
call has a turn, and a call that comes meanwhile waits for it.

A call that comes from within a turn (a source that asks for the length of the file that it fills) would wait for
itself: it is refused.

>>> async def shared(turns: Turns) -> None:
...     async with turns, turns:
...         pass
>>> asyncio.run(shared(Turns("/a")))
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: a call of the open file /a was made from within another one, which would wait for itself
"""

import asyncio
from types import TracebackType
from typing import Any

from runtime.errors import InvalidRequest


class Turns:
    """`async with turns:` runs the block as the only one of its file. A caller that is cancelled has no turn."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> None:
        caller = asyncio.current_task()
        if self._holder is caller is not None:
            raise InvalidRequest(
                f"a call of the open file {self._path} was made from within another one, which would wait for itself"
            )
        await self._lock.acquire()
        self._holder = caller

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder = None
        self._lock.release()
