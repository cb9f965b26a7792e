"""Merges of tablets, which the master initiates: by order, and by itself when two neighbours are small (BT 5.2).

The master brings both to one server, and orders that one to merge them (`tablet/hosting/merging.py`, which also says
how METADATA changes). Whoever dies on the way leaves two tablets or one.

>>> from runtime.wire.tables_pb2 import TabletPlace
>>> bounds = [b"", b"g", b"p", b""]
>>> places = [
...     TabletPlace(tablet=f"users-{number}", table="users", start_row=bounds[number], end_row=bounds[number + 1])
...     for number in range(3)
... ]
>>> [one.tablet for one in plan_merge(places, {"users-0": 900, "users-1": 300, "users-2": 100}, less_than=1000) or ()]
['users-1', 'users-2']
>>> plan_merge(places, {"users-0": 900, "users-1": 300}, less_than=1000)  # Nobody has told how large the third one is.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from lockservice.interface import Sequencer
from runtime.errors import Conflict, InvalidRequest, TabletopError
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import TabletPlace
from runtime.world import World
from tablet.master.assigning import Assigning
from tablet.master.events import MergeFailed, MergeOrdered
from tablet.master.moving import Find, Moving
from tablet.master.servers import Servers
from tablet.master.settings import TabletMasterSettings

_MERGE_SECONDS = 60.0


def plan_merge(
    places: Sequence[TabletPlace], file_bytes: Mapping[str, int], *, less_than: int
) -> tuple[TabletPlace, TabletPlace] | None:
    """The first two neighbours that have less than so many bytes together; None if there are none."""
    for lower, upper in pairwise(places):
        are_known = lower.tablet in file_bytes and upper.tablet in file_bytes
        are_neighbours = lower.table == upper.table and lower.end_row == upper.start_row != b""
        if are_known and are_neighbours and file_bytes[lower.tablet] + file_bytes[upper.tablet] < less_than:
            return lower, upper
    return None


class Merging:
    """The merges of one tenure. `busy`: tablets that must stay where they are until they are merged."""

    def __init__(
        self,
        world: World,
        settings: TabletMasterSettings,
        servers: Servers,
        lock: Sequencer,
        *,
        assigning: Assigning,
        moving: Moving,
        find: Find,
    ) -> None:
        self.busy: dict[str, None] = {}
        self._world = world
        self._settings = settings
        self._servers = servers
        self._lock = lock
        self._assigning = assigning
        self._moving = moving
        self._find = find
        self._task: asyncio.Task[Any] | None = None

    async def merge(self, one: str, other: str, reason: str = "it was asked for") -> TabletPlace:
        """Make one tablet of two neighbours. Raises NotFound, InvalidRequest, Conflict, Unavailable, and what moving
        and merging them raise."""
        places = [(await self._find(tablet))[0] for tablet in (one, other)]
        lower, upper = sorted(places, key=lambda place: place.start_row)
        if lower.table != upper.table or not lower.end_row or lower.end_row != upper.start_row:
            raise InvalidRequest(
                f"tablets {one} and {other} are no neighbours; `tabletop table tablets` shows their rows"
            )
        names = (lower.tablet, upper.tablet)
        if any(name in self.busy for name in names):
            raise Conflict(f"tablet {lower.tablet} or {upper.tablet} is being merged at this moment; try again")
        self.busy.update(dict.fromkeys(names))
        try:
            self._world.events.emit(MergeOrdered(*names, reason))
            return await self._merge(lower, upper)
        except TabletopError as error:
            self._world.events.emit(MergeFailed(*names, error.message))
            raise
        finally:
            for name in names:
                self.busy.pop(name, None)

    async def _merge(self, lower: TabletPlace, upper: TabletPlace) -> TabletPlace:
        if lower.server != upper.server:
            await self._moving.move(lower.tablet, upper.server)
        order = wire.MergeTabletsRequest(
            master=self._lock.generation, sequencer=self._lock.to_bytes(), lower=lower.tablet, upper=upper.tablet
        )
        made = (await self._servers.stub(upper.server).MergeTablets(order, timeout=_MERGE_SECONDS)).place
        self._assigning.given_at[made.tablet] = self._world.clock.now()
        return made

    def merge_small(self, places: Sequence[TabletPlace]) -> None:
        """Begin to merge two small neighbours, if there are any; one merge at a time. All tablets are served."""
        if not self._settings.merge_bytes or self.busy:
            return
        rested = [place for place in places if self._assigning.has_rested(place)]
        file_bytes = {
            tablet: size for server in self._servers.alive.values() for tablet, size in server.file_bytes.items()
        }
        found = plan_merge(rested, file_bytes, less_than=self._settings.merge_bytes)
        if found is not None:
            lower, upper = found
            self._task = self._world.spawn(self._merge_small(lower.tablet, upper.tablet), f"merge {lower.tablet}")

    async def _merge_small(self, lower: str, upper: str) -> None:
        with suppress(TabletopError):  # It is tried again, if they are still small then.
            await self.merge(lower, upper, "both are small")

    def stop(self) -> None:
        """The tenure is over."""
        if self._task is not None:
            self._task.cancel()
