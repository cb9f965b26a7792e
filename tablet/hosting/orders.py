"""Whose orders a tablet server obeys: those of the master with the highest lock generation that it has heard of (BT
5.2).

A master that was replaced may still send orders, or they may arrive late. Each carries the generation of the master's
lock. An older one than before is refused. A newer one is believed only after the lock service has said that the lock
is held so: a new master asks each server in the directory what it serves before it assigns anything, so an order of
the old one that was believed before that is seen by the new one.
"""

from lockservice.interface import Sequencer, Session
from runtime.errors import InvalidRequest, Superseded
from tablet.location.places import MASTER_PATH


class Orders:
    """What one life knows of masters."""

    def __init__(self) -> None:
        self.highest = 0

    async def admit(self, session: Session, generation: int, sequencer: bytes) -> None:
        """Return if the order counts. Raises Superseded, InvalidRequest, Unavailable, TimedOut."""
        if generation > self.highest:
            shown = Sequencer.from_bytes(sequencer)
            if (shown.path, shown.generation) != (MASTER_PATH, generation):
                raise InvalidRequest(f"an order of master {generation} shows the lock of {shown.path}")
            if not await session.check(shown):
                raise Superseded(f"master {generation} does not hold the lock of {MASTER_PATH} any more")
            self.highest = max(self.highest, generation)
        if generation < self.highest:
            raise Superseded(f"master {generation} was replaced by master {self.highest}")
