"""To whom an acting master hands over that cannot write its log any more (GFS 5.1.3 leaves it open).

The problem. A master whose disk is full refuses every change, for certain, and goes on: reads and deletions are worth
much. But it keeps the lock, and beside it are others, in sync, with room on their disks.

The idea. Who has refused a change for want of space asks those that could act how they are. If one of them has room, it
stands down, and does not try for the lock before the others had their turn; whoever asked for the change is told
NotActing, and asks the next master. If none has, as where all masters share one disk, nothing is better elsewhere, and
it stays. What was refused while it stays is a reason to ask again after `_ASK_AGAIN_SECONDS`, not before.

A master says itself whether it has room (`MasterStanding.short_of_space`): room for what it keeps back, and for some
more (`reserve.py`); and not for a while after its own log has refused something, whatever the disk says of its space.

An error of the disk needs none of this: after it nobody knows how the log ends, and the tenure is over in any case.
"""

import asyncio
from collections.abc import Collection, Sequence

from master.failover.shipping import SeenShadow, Shipping
from runtime.errors import TabletopError
from runtime.wire import masters_pb2
from runtime.world import World

_ASK_AGAIN_SECONDS = 1.0
REFUSAL_COUNTS_SECONDS = 30.0
"""So long after its log has refused something a master says that it is short of space."""


def plan_successor(shadows: Sequence[SeenShadow], roomy: Collection[str], *, patience: float) -> str:
    """Which shadow could act, and write; "" if none.

    >>> two = SeenShadow("master2", True, True, True, False, False, acknowledged=50, silent_seconds=0.1)
    >>> three = SeenShadow("master3", False, False, False, False, False, acknowledged=9, silent_seconds=0.1)
    >>> plan_successor([three, two], {"master2", "master3"}, patience=1.0)
    'master2'
    >>> plan_successor([three, two], {"master3"}, patience=1.0)
    ''
    """
    for shadow in shadows:
        is_able = shadow.is_in_charter and shadow.is_level and not shadow.has_lost and not shadow.is_gone
        if is_able and shadow.silent_seconds <= patience and shadow.name in roomy:
            return shadow.name
    return ""


class HandingOver:
    """Looks for a successor, for one tenure."""

    def __init__(self, world: World, shipping: Shipping, *, patience: float) -> None:
        self._world = world
        self._shipping = shipping
        self._patience = patience
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._found = ""

    async def successor(self) -> str:
        """A master that could act and has room; "" if there is none. Many ask at once; one of them asks the others."""
        async with self._asking:
            if not self._found and self._world.clock.now() - self._asked >= _ASK_AGAIN_SECONDS:
                names = [shadow.name for shadow in self._seen() if shadow.is_in_charter]
                has_room = await asyncio.gather(*map(self._has_room, names))
                roomy = {name for name, it_has in zip(names, has_room, strict=True) if it_has}
                self._found = plan_successor(self._seen(), roomy, patience=self._patience)
                self._asked = self._world.clock.now()
            return self._found

    def _seen(self) -> list[SeenShadow]:
        now = self._world.clock.now()
        return [shadow.seen(self._shipping.charter, now) for shadow in self._shipping.shadows.values()]

    async def _has_room(self, name: str) -> bool:
        stub = self._shipping.stub(self._shipping.shadows[name])
        try:
            standing = await stub.GetStanding(masters_pb2.StandingRequest(), timeout=self._patience)
        except TabletopError:
            return False
        return not standing.short_of_space
