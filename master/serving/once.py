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
from collections.abc import Awaitable, Callable, Sequence

from master.core import Core
from master.events import RequestRepeated
from runtime.errors import Conflict, TabletopError, TimedOut, Unavailable
from runtime.wire import master_pb2

_UNLOGGED_KEPT = 16_384
_Key = tuple[int, int]
Outcome = int | TabletopError
"""What a request is answered, or why it was refused."""


class Once:
    """The named requests that are being done, and those that were answered without a record."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: dict[_Key, asyncio.Future[Outcome]] = {}
        self._unlogged: OrderedDict[_Key, Outcome] = OrderedDict()

    async def do(self, named: master_pb2.RequestId, work: Callable[[], Awaitable[int]]) -> int:
        """Do `work` for this request, or give the answer that it had before. Raises what `work` raised."""

        async def one(places: Sequence[int]) -> Sequence[Outcome]:
            try:
                return [await work()]
            except TabletopError as error:
                return [error]

        [outcome] = await self.do_all([named], one)
        if isinstance(outcome, TabletopError):
            raise outcome
        return outcome

    async def do_all(
        self, names: Sequence[master_pb2.RequestId], work: Callable[[Sequence[int]], Awaitable[Sequence[Outcome]]]
    ) -> list[Outcome]:
        """Do `work` for those of the requests that come for the first time; it is given their places among `names`, and
        returns an outcome for each of them. The others get the outcome that they had before."""
        outcomes: dict[int, Outcome] = {}
        waiting: dict[int, asyncio.Future[Outcome]] = {}
        fresh: list[int] = []
        begun: dict[int, asyncio.Future[Outcome]] = {}
        for place, named in enumerate(names):
            key = (named.client, named.number)
            if named.client == 0:
                fresh.append(place)
            elif (known := self._known(key)) is not None:
                outcomes[place] = known
            elif key in self._running:
                waiting[place] = self._running[key]
            else:
                begun[place] = self._running[key] = asyncio.get_running_loop().create_future()
                fresh.append(place)
        try:
            if fresh:
                outcomes.update(zip(fresh, await work(fresh), strict=True))
            for place, future in begun.items():
                self._note((names[place].client, names[place].number), outcomes[place])
                future.set_result(outcomes[place])
        finally:
            for place, future in begun.items():
                del self._running[names[place].client, names[place].number]
                future.cancel()  # Nothing, unless the work has failed in a way of which nobody can be told.
        for place, future in waiting.items():
            outcomes[place] = await asyncio.shield(future)
        return [outcomes[place] for place in range(len(names))]

    def _known(self, key: _Key) -> Outcome | None:
        """What this request was answered before; None if it comes for the first time."""
        requests = self._core.state.requests
        answer = requests.answer(*key)
        known = self._unlogged.get(key) if answer is None else answer
        if known is not None:
            self._core.emit(RequestRepeated(client=key[0], number=key[1]))
        elif requests.is_outdated(*key):
            known = Conflict(f"request {key[1]} was answered before, and its client has said so; nothing was done")
        return known

    def _note(self, key: _Key, outcome: Outcome) -> None:
        if isinstance(outcome, TabletopError):
            if outcome.definite and not _may_be_repeated(outcome):
                self._remember(key, outcome)
        elif self._core.state.requests.answer(*key) is None:
            self._remember(key, outcome)

    def _remember(self, key: _Key, answer: Outcome) -> None:
        self._unlogged[key] = answer
        if len(self._unlogged) > _UNLOGGED_KEPT:
            self._unlogged.popitem(last=False)


def _may_be_repeated(error: TabletopError) -> bool:
    """Whether the client asks again, under the same name, after this error."""
    return isinstance(error, (Unavailable, TimedOut))
