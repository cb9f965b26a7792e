"""Compactions by order: of a tablet, or of all tablets of a table (BT 5.4)."""

import asyncio
from collections.abc import Sequence

from runtime.errors import NotFound, NotServed, TabletopError, Unavailable
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import TabletPlace
from runtime.world import World
from tablet.master.tenure import Tenure
from tablet.server.catalogue import tablet_number

_AT_ONCE = 4
"""Tablets that are compacted at the same time: each of them may read and write all of its files."""
_COMPACT_SECONDS = 600.0
_PAUSE_SECONDS = 0.5


async def compact(world: World, tenure: Tenure, name: str, *, major: bool) -> list[str]:
    """Have what `name` means compacted: a tablet, or all tablets of a table, those too into which one is split
    meanwhile. Returns their names. Raises NotFound, and what the servers raise."""
    done: dict[str, None] = {}
    until = world.clock.now() + _COMPACT_SECONDS
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(place: TabletPlace) -> TabletopError | None:
        request = wire.CompactTabletRequest(
            master=tenure.lock.generation, sequencer=tenure.lock.to_bytes(), tablet=place.tablet, major=major
        )
        async with turns:
            try:
                await tenure.servers.stub(place.server).CompactTablet(request, timeout=_COMPACT_SECONDS)
            except TabletopError as error:
                return error
        done[place.tablet] = None
        return None

    while left := [place for place in await _meant(tenure, name) if place.tablet not in done]:
        failures = [error for error in await asyncio.gather(*map(one, left)) if error is not None]
        for error in failures:
            # A tablet that is on its way to another server is asked for there.
            if not isinstance(error, NotServed | Unavailable) or not error.definite or world.clock.now() > until:
                raise error
        if failures:
            await world.clock.sleep(_PAUSE_SECONDS)
    return list(done)


async def _meant(tenure: Tenure, name: str) -> Sequence[TabletPlace]:
    if tablet_number(name):
        return [(await tenure.find(name))[0]]
    places = await tenure.tablets_of(name)
    if not places:
        raise NotFound(f"there is no table {name!r}; `tabletop table ls` shows which there are")
    return places
