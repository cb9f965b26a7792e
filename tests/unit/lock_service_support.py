"""What the tests of the lock service stand on: a service and clients in a simulation."""

from collections.abc import Coroutine
from typing import Any

from lockservice.client.session import OwnLockService, OwnSession
from lockservice.server.server import LockServer
from lockservice.settings import LockClientSettings, LockServiceSettings
from runtime.simulated.world import Simulation

LOCK = "lock"
ADDRESS = f"{LOCK}:7100"
SETTINGS = LockServiceSettings(
    control_address=ADDRESS, lease_seconds=4.0, grace_seconds=2.0, lock_delay_seconds=3.0, log_bytes=1 << 20
)
SESSION_SECONDS = SETTINGS.session_seconds


class LockCell:
    """A lock service that can be killed and started again, and its clients."""

    def __init__(self, seed: int = 1, settings: LockServiceSettings = SETTINGS) -> None:
        self.simulation = Simulation(seed)
        self.settings = settings
        self.server: Any = None
        self.simulation.add_node(LOCK)
        self._clients = 0

    async def start(self) -> None:
        """Start the service, in its node's present life."""
        world = self.simulation.world(LOCK)
        self.server = LockServer(world, self.settings)
        await self.simulation.on(world, self.server.start())

    async def restart(self, *, power_cut: bool = False) -> None:
        """Kill it and start it again."""
        (self.simulation.power_cut if power_cut else self.simulation.kill)(LOCK)
        self.simulation.restart(LOCK)
        await self.start()

    async def session(self, **settings: float) -> OwnSession:
        """A session of a new client, on a node of its own: "client1", "client2", …"""
        self._clients += 1
        world = self.simulation.add_node(f"client{self._clients}")
        service = OwnLockService(world, ADDRESS, LockClientSettings(**settings))
        return await self.simulation.on(world, service.open_session())

    def kept(self) -> list[str]:
        """What the service has in memory, as its log would say, without the epoch."""
        return sorted(
            repr(record) for record in self.server.core.state.as_records() if "StateBegins" not in repr(record)
        )

    def tell(self, story: Coroutine[Any, Any, Any]) -> None:
        """Start the service, and tell a story."""

        async def whole() -> None:
            await self.start()
            await story
            self.server.check_invariants()

        self.simulation.run(whole())
