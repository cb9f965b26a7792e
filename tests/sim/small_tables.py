"""What the tests of tables share: a small cluster with tablet servers, and a story in it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from cluster.fault_runner import FaultRunner
from cluster.faultplan import Fault, Kill, Node, OnMessage
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.events import Event
from runtime.faults.links import Kind
from runtime.faults.undo import Undo
from runtime.simulated.messages import Delay, Message
from runtime.simulated.world import Simulation
from tablet.engine.model.schema import Family, Schema
from tablet.hosting.life import Life
from tablet.hosting.server import TabletServerNode
from tablet.master.server import TabletMasterNode
from tablet.master.tenure import Tenure
from tests.sim.small_clusters import outcome

T = TypeVar("T")
E = TypeVar("E", bound=Event)
SCHEMA = Schema().with_family(Family("f"))
ANSWERED: dict[str, Any] = {"chunkservers": 3, "chunk_bytes": 256 * 1024, "lease_seconds": 10.0, "tablet_servers": 3}


class TableCluster(SimulatedCluster):
    """A cluster whose tablets a test can name."""

    def lives(self) -> dict[str, Life]:
        """The present life of each tablet server that serves."""
        found = {}
        for name in self.settings.tablet_node_names():
            server = self.server(name)
            if isinstance(server, TabletServerNode) and server.present is not None and not server.present.reason:
                found[name] = server.present
        return found

    def tenure(self) -> Tenure:
        """What the acting tablet master knows."""
        server = self.server(self.acting_tablet_master())
        assert isinstance(server, TabletMasterNode) and server.tenure is not None
        return server.tenure

    def acting_tablet_master(self) -> str:
        """The node of the tablet master that acts; empty if none does."""
        for name in self.settings.tablet_node_names():
            server = self.server(name)
            if isinstance(server, TabletMasterNode) and server.tenure is not None:
                return name
        return ""

    def said(self, kind: type[E]) -> list[E]:
        """All events of a kind so far."""
        return [record.event for record in self.simulation.sink.records if isinstance(record.event, kind)]

    def delay_one(self, method: str, seconds: float) -> Undo:
        """The next request of a method is late."""
        is_done = False

        def hook(message: Message) -> Delay | None:
            nonlocal is_done
            if is_done or message.kind is not Kind.REQUEST or not message.method.endswith(f"/{method}"):
                return None
            is_done = True
            return Delay(seconds)

        return self.simulation.on_message(hook)

    def who_serves(self, tablet: str) -> list[str]:
        """The nodes that serve a tablet now."""
        return [node for node, life in self.lives().items() if tablet in life.engines and life.is_safe]


def play(
    seed: int,
    story: Callable[[TableCluster], Awaitable[T]],
    *,
    clients: int = 2,
    overrides: dict[str, dict[str, Any]] | None = None,
    **changes: Any,
) -> T:
    """Start a cluster with three tablet servers, unless `changes` says otherwise, and tell the story in it."""
    with Simulation(seed) as simulation:
        cluster = TableCluster(
            simulation, ClusterSettings(**{**ANSWERED, **changes}), clients=clients, overrides=overrides
        )

        async def begin() -> T:
            await cluster.start()
            found = await story(cluster)
            cluster.check_invariants()
            return found

        return simulation.run(begin())


async def cut_short(
    cluster: TableCluster, method: str, kind: Kind, node: str, work: Coroutine[Any, Any, object], *, nth: int = 1
) -> bool:
    """Do something, and kill a node at the nth message of this kind from here on; it starts again two seconds later.
    Whatever comes of the work, return whether the node was killed."""
    fault = Fault(OnMessage(f"TabletServer/{method}", kind, nth=nth), Kill(), Node(node), 2.0)
    faults = FaultRunner(cluster, [fault], revive_seconds=0.5)
    faults.begin()
    await outcome(work)
    await asyncio.sleep(3.0)
    await faults.heal_all()
    return bool(faults.began())
