"""What the tests of acknowledged bytes share: small clusters, and how a test looks at them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from cluster.placement import Placement
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.settings import ClientSettings
from runtime.errors import TabletopError
from runtime.faults.links import Kind
from runtime.faults.undo import Undo
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.messages import Delay, Message
from runtime.simulated.world import Simulation

CHUNK_BYTES = 256 * 1024
BLOCK = 64 * 1024
T = TypeVar("T")


class SmallCluster(SimulatedCluster):
    """A cluster whose seconds are short, and whose disks and replicas a test can name."""

    def disk(self, node: str) -> SimulatedDisk:
        return self.simulation.world(node).simulated_disk

    def chunkservers(self) -> list[str]:
        return self.settings.chunkserver_names()

    async def lose_power(self, nodes: Sequence[str]) -> None:
        """Take the power from all of these machines at once, and start their servers again."""
        for node in nodes:
            self.simulation.power_cut(node)
        for node in nodes:
            await self.start_node(node)

    def holders(self, path: str) -> list[str]:
        """The servers whose disks hold the first chunk of a file."""
        return Placement(self).holders(path, 0)

    def primary(self, path: str) -> str:
        """Who has the lease on the first chunk of a file."""
        chunk = Placement(self).chunk(path, 0)
        assert chunk is not None and chunk.primary
        return chunk.primary

    async def handle(self, path: str) -> int:
        """The first chunk of a file."""
        return (await self.client().locations(path))[0].handle

    async def found(self, path: str, client: int = 2) -> bytes | TabletopError:
        """What a file holds, or why nobody can say."""
        try:
            return await self.client(client).read_file(path)
        except TabletopError as error:
            return error

    def delay_each_second(self, method: str, source: str, seconds: float) -> Undo:
        """Of the requests of this method, each second one is late."""
        seen = 0

        def hook(message: Message) -> Delay | None:
            nonlocal seen
            if message.method.endswith(method) and message.kind is Kind.REQUEST and message.source == source:
                seen += 1
                return Delay(seconds) if seen % 2 == 0 else None
            return None

        return self.simulation.on_message(hook)


def play(
    seed: int,
    story: Callable[[SmallCluster], Awaitable[T]],
    *,
    clients: int = 2,
    loses_all: bool = False,
    overrides: dict[str, dict[str, Any]] | None = None,
    client_settings: ClientSettings | None = None,
    **changes: Any,
) -> T:
    """Start a cluster of three chunkservers, unless `changes` says otherwise, and tell the story in it.

    `loses_all`: a loss of power takes everything that was not synced, instead of what the seed says."""
    values: dict[str, Any] = {"chunkservers": 3, "chunk_bytes": CHUNK_BYTES, "lease_seconds": 10.0}
    settings = ClusterSettings(**{**values, **changes})
    with Simulation(seed, quiet=loses_all) as simulation:
        cluster = SmallCluster(
            simulation, settings, clients=clients, overrides=overrides, client_settings=client_settings
        )

        async def begin() -> T:
            await cluster.start()
            return await story(cluster)

        return simulation.run(begin())


async def outcome(work: Awaitable[Any]) -> TabletopError | None:
    """Why it failed; None if it succeeded."""
    try:
        await work
    except TabletopError as error:
        return error
    return None


async def wait(seconds: float) -> None:
    """Let virtual time pass."""
    await asyncio.sleep(seconds)
