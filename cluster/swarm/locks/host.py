"""The lock service and its clients as nodes of a simulation that faults can strike: see `cluster/faulty.py`."""

import contextlib
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass, field

from cluster.interface import NodeReport, NodeState
from cluster.roles import LOCK_ROLE
from cluster.swarm.locks.mischief import LOCK, client_names
from cluster.swarm.locks.plan import Plan, Setup
from lockservice.client.session import OwnLockService, OwnSession
from lockservice.interface import Sequencer, SessionState
from lockservice.server.server import LockServer
from lockservice.settings import LockClientSettings, LockServiceSettings
from runtime.errors import TabletopError
from runtime.simulated.tape import Plain
from runtime.simulated.world import NodeEnded, SimulatedWorld, Simulation

ADDRESS = f"{LOCK}:7100"


@dataclass(slots=True)
class ClientLife:
    """One life of a client: its session, and the locks that it believes to hold."""

    world: SimulatedWorld
    session: OwnSession | None = None
    held: dict[str, Sequencer] = field(default_factory=dict)
    last: Sequencer | None = None
    seen: dict[str, str] = field(default_factory=dict)  # what its watches saw last

    def believes(self, path: str) -> Sequencer | None:
        """The lock that it believes in at this moment, by its own clock; it need not have noticed the end yet."""
        session = self.session
        if session is None or not self.world.life.alive or session.state is SessionState.EXPIRED:
            return None
        return self.held.get(path)


class Names:
    """There is one server."""

    def node_names(self) -> list[str]:
        """Its name."""
        return [LOCK]


class Host:
    """All nodes of one run."""

    def __init__(self, plan: Plan) -> None:
        self.simulation = Simulation(plan.seed, plain=[Plain(name) for name in plan.plain_streams])
        self.held_down: dict[str, int] = {}
        self.settings = Names()
        self.server: LockServer | None = None
        self._setup: Setup = plan.setup
        self.simulation.add_node(LOCK)
        self.simulation.kill(LOCK)
        self.lives = {name: ClientLife(self.simulation.add_node(name)) for name in client_names(plan.setup)}

    @property
    def now(self) -> float:
        """True virtual seconds."""
        return self.simulation.loop.time()

    def service(self, world: SimulatedWorld) -> OwnLockService:
        """The lock service, as a node sees it."""
        settings = LockClientSettings(call_seconds=0.5, patience_seconds=self._setup.patience_seconds)
        return OwnLockService(world, ADDRESS, settings)

    # What faults need.

    def client_names(self) -> list[str]:
        """The clients' nodes."""
        return list(self.lives)

    def is_running(self, node: str) -> bool:
        """Whether it lives."""
        return self.simulation.world(node).life.alive

    async def nodes(self) -> Sequence[NodeReport]:
        """Dead or serving."""
        state = NodeState.SERVING if self.is_running(LOCK) else NodeState.DEAD
        return [NodeReport(LOCK, LOCK_ROLE, state)]

    async def start_node(self, node: str) -> None:
        """Begin a life."""
        world = self.simulation.restart(node)
        if node != LOCK:
            self.lives[node] = ClientLife(world)
            return
        setup = self._setup
        self.server = None
        server = LockServer(
            world,
            LockServiceSettings(
                control_address=ADDRESS,
                lease_seconds=setup.lease_seconds,
                grace_seconds=setup.grace_seconds,
                lock_delay_seconds=setup.delay_seconds,
                log_bytes=setup.log_bytes,
            ),
        )
        try:
            await self.simulation.on(world, server.start())
        except NodeEnded:
            return
        except TabletopError:
            self.simulation.kill(node)
            raise
        self.server = server
        watch = self._end_with(server, world)
        self.simulation.loop.create_task(watch, name="watch the lock service", context=Context())

    async def stop_node(self, node: str) -> None:
        """Stop it in good order."""
        world, server = self.simulation.world(node), self.server
        if node == LOCK and server is not None:
            with contextlib.suppress(NodeEnded, TabletopError):
                await self.simulation.on(world, server.stop())
        if self.simulation.world(node) is world:
            self.simulation.kill(node)

    async def _end_with(self, server: LockServer, world: SimulatedWorld) -> None:
        """Do what the node's program does when its server ends by itself."""
        with contextlib.suppress(NodeEnded, TabletopError):
            await self.simulation.on(world, server.wait_for_shutdown())
            await self.simulation.on(world, server.stop())
        if self.simulation.world(LOCK) is world and world.life.alive:
            self.simulation.kill(LOCK)

    def check_invariants(self) -> None:
        """Raise AssertionError if the service's own invariants do not hold."""
        if self.server is not None and self.is_running(LOCK):
            self.server.check_invariants()
