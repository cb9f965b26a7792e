"""Moves of tablets from server to server: by order, and to make servers even (BT 5.2, 6).

A move makes two minor compactions at the old server, one while the tablet is still served, and a short one after it has
stopped (`Engine.prepare_move`). So everything is in SSTables when METADATA names the new server, which has no log to
read. If somebody dies on the way, the tablet is where METADATA has it, as after any other death.

Evenness. Moves cost: caches are cold, and for a moment nobody serves the tablet. So few move at once, none is moved
while anything else is amiss, and a server is relieved only if it has at least two more than another one: a move then
never calls for the reverse one. A tablet that has just come to a server stays for a while, so that a server which comes
and goes does not draw the same tablets to and fro.

>>> from runtime.wire.tables_pb2 import TabletPlace
>>> users = [TabletPlace(tablet=f"users-{number}", server="ts1-1") for number in range(4)]
>>> [(move.place.tablet, move.target) for move in plan_moves(users, {"ts1-1": 4, "ts2-2": 0}, uneven=2, most=9)]
[('users-0', 'ts2-2'), ('users-1', 'ts2-2')]
>>> plan_moves(users, {"ts1-1": 4, "ts2-2": 3}, uneven=2, most=9)
[]
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from runtime.errors import Conflict, NotFound, TabletopError, Unavailable
from runtime.wire.tables_pb2 import TabletPlace
from runtime.world import World
from tablet.master.assigning import Assigning, Replace
from tablet.master.events import TabletMoved
from tablet.master.servers import Servers
from tablet.master.settings import TabletMasterSettings

Find = Callable[[str], Awaitable[tuple[TabletPlace, Replace]]]
"""Where METADATA has a tablet now, and how that is changed. Raises NotFound."""


@dataclass(frozen=True, slots=True)
class Move:
    """A tablet that should go to another server."""

    place: TabletPlace
    target: str


def plan_moves(places: Sequence[TabletPlace], tablets: Mapping[str, int], *, uneven: int, most: int) -> list[Move]:
    """At most `most` moves that make servers more even. `tablets`: how many each server has; `places`: those that may
    move; `uneven`: a server with so many more than another one is relieved."""
    left, waiting, moves = dict(tablets), list(places), list[Move]()
    while left and len(moves) < most:
        source = max(left, key=lambda name: (left[name], name))
        target = min(left, key=lambda name: (left[name], name))
        place = next((place for place in waiting if place.server == source), None)
        if place is None or left[source] - left[target] < uneven:
            break
        waiting.remove(place)
        moves.append(Move(place, target))
        left[source] -= 1
        left[target] += 1
    return moves


class Moving:
    """The moves of one tenure."""

    def __init__(
        self, world: World, settings: TabletMasterSettings, servers: Servers, assigning: Assigning, find: Find
    ) -> None:
        self._world = world
        self._settings = settings
        self._servers = servers
        self._assigning = assigning
        self._find = find

    async def move(self, tablet: str, server: str) -> TabletPlace:
        """Give a tablet to a server; returns when that serves it. Raises NotFound, Conflict, Unavailable, and what
        unloading and loading it raise."""
        target = self._living(server)
        while (task := self._assigning.tasks.get(tablet)) is not None:
            await asyncio.wait([task])
        place, replace = await self._find(tablet)
        if place.server == target and self._assigning.is_served(place):
            return place
        if tablet in self._assigning.tasks or place.HasField("lower_half"):
            raise Conflict(f"tablet {tablet} is being assigned, split or merged at this moment; try again")
        if not self._assigning.is_served(place):
            raise Unavailable(f"tablet {tablet} is not served at this moment; ask again in a moment", definite=True)
        task = self._begin(Move(place, target), replace, "it was asked for")
        await asyncio.wait([task])
        if task.cancelled():
            raise Unavailable(f"a server has died while tablet {tablet} was to move; it goes to a living one")
        outcome = task.result()
        if isinstance(outcome, TabletopError):
            raise outcome
        return outcome

    def balance(self, places: Sequence[TabletPlace], counts: Mapping[str, int], replace: Replace) -> None:
        """Begin moves that make servers more even, if they are uneven. All tablets are served."""
        rested = [place for place in places if self._assigning.has_rested(place)]
        usable = {name: counts[name] for name in self._servers.usable()}
        limits = self._settings
        for move in plan_moves(rested, usable, uneven=limits.uneven_tablets, most=limits.moves_at_once):
            self._begin(move, replace, "it has more than others")

    def _begin(self, move: Move, replace: Replace, reason: str) -> "asyncio.Task[TabletPlace | TabletopError]":
        self._world.events.emit(TabletMoved(move.place.tablet, move.place.server, move.target, reason))
        return self._assigning.move(move.place, move.target, replace)

    def _living(self, server: str) -> str:
        """A living server by its name, or by that of its node."""
        for life in self._servers.usable():
            if server in (life, life.rpartition("-")[0]):
                return life
        known = ", ".join(self._servers.usable()) or "none"
        raise NotFound(f"there is no tablet server {server!r}; there are: {known}")
