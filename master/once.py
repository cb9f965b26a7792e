"""Doing each named request once, however often it arrives.

The first time, it is done, and its answer remembered with the change itself in the log (`requests.py`). Arriving again,
it gets that answer; while the first is still being done, the second waits for it. What changed nothing has no record: a
refusal, or a directory that was there already. It is remembered as well, as long as this run of the master lasts: a
doubled message must not do later what was refused or needless when its client was answered. (It cannot reach the next
run: its connection ended with this one.)

A message that arrives after its client has said that it has the answer is outdated, and nothing is done.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from master.core import Core
from master.events import RequestRepeated
from runtime.errors import Conflict, TabletopError, TimedOut, Unavailable
from runtime.wire import master_pb2

_UNLOGGED_KEPT = 16_384
_Key = tuple[int, int]


class Once:
    """The named requests that are being done, and those that were answered without a record."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: dict[_Key, asyncio.Future[int]] = {}
        self._unlogged: OrderedDict[_Key, int | TabletopError] = OrderedDict()

    async def do(self, named: master_pb2.RequestId, work: Callable[[], Awaitable[int]]) -> int:
        """Do `work` for this request, or give the answer that it had before. Raises what `work` raised."""
        if named.client == 0:
            return await work()
        key = (named.client, named.number)
        requests = self._core.state.requests
        answer = requests.answer(*key)
        known = self._unlogged.get(key) if answer is None else answer
        if known is not None:
            self._core.emit(RequestRepeated(client=named.client, number=named.number))
            if isinstance(known, TabletopError):
                raise known
            return known
        if requests.is_outdated(*key):
            raise Conflict(f"request {named.number} was answered before, and its client has said so; nothing was done")
        if key in self._running:
            return await asyncio.shield(self._running[key])
        return await self._first(key, work)

    async def _first(self, key: _Key, work: Callable[[], Awaitable[int]]) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._running[key] = future
        try:
            answer = await work()
        except TabletopError as error:
            if error.definite and not _may_be_repeated(error):
                self._remember(key, error)
            future.set_exception(error)
            future.exception()  # Nobody else may have asked.
            raise
        except BaseException:
            future.cancel()
            raise
        else:
            if self._core.state.requests.answer(*key) is None:
                self._remember(key, answer)
            future.set_result(answer)
            return answer
        finally:
            del self._running[key]

    def _remember(self, key: _Key, answer: int | TabletopError) -> None:
        self._unlogged[key] = answer
        if len(self._unlogged) > _UNLOGGED_KEPT:
            self._unlogged.popitem(last=False)


def _may_be_repeated(error: TabletopError) -> bool:
    """Whether the client asks again, under the same name, after this error."""
    return isinstance(error, (Unavailable, TimedOut))
