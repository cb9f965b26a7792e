"""A whole cluster as one object: what tests, demonstrations and exercises are written against.

`RealCluster` starts processes, `SimulatedCluster` puts nodes into a simulation; a story told over this interface runs
in both worlds. All times come from the running loop (`asyncio.get_running_loop().time()`), which is the system's clock
in one world and the virtual one in the other.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from cluster.faultplan import Target, What
from cluster.settings import ClusterSettings
from gfs.client import Client
from runtime.errors import TimedOut
from runtime.events import Record
from runtime.wire import master_pb2
from runtime.world import World
from tablet.client.client import TableClient

T = TypeVar("T")

DESCRIBE_SECONDS = 1.0  # A node that does not say in this time what it is counts as hung.
STATUS_SECONDS = 5.0
START_SECONDS = 60.0


class NodeState(enum.Enum):
    """What a node is found to be, by asking the operating system and the node itself."""

    SERVING = "serving"  # it answers
    STARTING = "starting"  # its program runs and does not serve yet, or does not any more
    PAUSED = "paused"  # stopped by a signal; it will go on where it was
    HUNG = "hung"  # its program runs and does not answer in time
    DEAD = "dead"  # its program ended without a word: killed, or crashed
    STOPPED = "stopped"  # its program ended in good order
    FAILED = "failed"  # its program refused to go on, and said why


LIVING = frozenset({NodeState.SERVING, NodeState.STARTING, NodeState.PAUSED, NodeState.HUNG})


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What was found out about one node. Zeros and empty texts where it could not be asked."""

    node: str
    role: str
    state: NodeState
    process_id: int = 0
    control_address: str = ""
    bulk_address: str = ""
    uptime_seconds: float = 0.0
    resident_bytes: int = 0
    version: str = ""
    counters: dict[str, int] = field(default_factory=dict)
    note: str = ""
    metrics_address: str = ""


@dataclass(frozen=True, slots=True)
class Corruption:
    """What was done to one stored block. `block` counts from 0, in 64 KB; `file` is the path on the server's disk."""

    path: str
    chunk_index: int
    handle: int
    server: str
    block: int
    file: str
    file_offset: int
    flipped_bytes: int


@dataclass(frozen=True, slots=True)
class Imposed:
    """A fault that was imposed. `nodes` are those that it struck, `words` one sentence of what was really done: which
    nodes, which file, which bytes. `ends_at` is the time of its end, in seconds since the epoch (of the true time, in a
    simulation); None if it lasts until it is healed, or has no end."""

    number: int
    what: What
    target: Target
    nodes: tuple[str, ...]
    words: str
    ends_at: float | None = None


class Cluster(Protocol):
    """One cluster. Node names are "master", "cs1", "cs2", …; an unknown one raises NotFound everywhere."""

    @property
    def name(self) -> str:
        """The cluster's name."""

    @property
    def settings(self) -> ClusterSettings:
        """What it was set up with."""

    async def stop(self) -> None:
        """Stop every node in good order."""

    async def add_chunkservers(self, count: int) -> list[str]:
        """Make the cluster larger by so many chunkservers and start them; returns their names."""

    async def remove_chunkserver(self, node: str) -> None:
        """Stop a chunkserver that is drained and empty, and have the master forget it."""

    async def nodes(self) -> list[NodeReport]:
        """What each node is at this moment, the master first."""

    async def status(self, *, chunks: bool = False) -> master_pb2.ClusterStatus:
        """What the master knows, on request with every chunk. Raises Unavailable or TimedOut."""

    async def who_acts(self) -> str:
        """The node of the master that acts; the only one, if there is one. Raises Unavailable while none does."""

    def client(self) -> Client:
        """The file system, as an application on this cluster sees it; one for each cluster object."""

    def table_client(self) -> TableClient:
        """A new client of the cluster's tables. Raises InvalidRequest if it has none, Unavailable if it is down."""

    @property
    def client_world(self) -> World:
        """The world that the client stands on."""

    def events(self, node: str) -> list[Record]:
        """What the node has recorded of itself, oldest first, over all its lives."""

    async def kill(self, node: str) -> None:
        """End the node at once, as a crash would: it says no goodbye."""

    async def restart(self, node: str) -> None:
        """Start the node again on its disk; one that lives is stopped in good order first. Returns when it serves."""

    async def pause(self, node: str) -> None:
        """Freeze the node: it keeps its connections and answers nothing."""

    async def resume(self, node: str) -> None:
        """Let a paused node go on."""

    async def corrupt(self, path: str, chunk_index: int, block: int, server: str = "") -> Corruption:
        """Flip bits in one stored block of one replica, on `server` or else on the first that has it, behind the
        back of the server, which goes on running."""

    async def impose(self, what: What, target: Target, *, seconds: float | None = None) -> Imposed:
        """Have a fault strike now, for so many seconds, or until it is healed. Faults overlap, and none ends another.

        Raises InvalidRequest for a fault that this world does not have, NotFound if the target means nothing now."""

    def imposed(self) -> list[Imposed]:
        """The imposed faults that last, oldest first."""

    async def heal(self, number: int | None = None) -> list[Imposed]:
        """End one imposed fault, or all; returns what was ended. What it had ended is started; returns when it serves.

        Raises NotFound for a number that no fault has that lasts."""


def best_status(found: Sequence[master_pb2.ClusterStatus | BaseException]) -> master_pb2.ClusterStatus:
    """Of what several masters say the acting one's, or else a shadow's. Raises what the first said if none answers."""
    told = [status for status in found if isinstance(status, master_pb2.ClusterStatus)]
    if not told:
        [first, *_] = [error for error in found if isinstance(error, BaseException)]
        raise first
    return min(told, key=lambda status: status.HasField("shadow"))


async def wait_until(
    condition: Callable[[], Awaitable[T]], *, what: str, timeout_seconds: float, poll_seconds: float = 0.1
) -> T:
    """Ask again and again until `condition` returns something true, and return that. `what` is for the message of the
    TimedOut that is raised when it does not come true in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while True:
        result = await condition()
        if result:
            return result
        if loop.time() >= deadline:
            raise TimedOut(f"waited {timeout_seconds:g} seconds in vain until {what}", definite=True)
        await asyncio.sleep(poll_seconds)
