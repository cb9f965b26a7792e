"""Where the replicas of a file's chunk are, for faults and judges that see everything.

Servers are asked nothing over the network, so that a partition hides nothing and no message is added to a run. Which
chunk a place in a file means is read from the memory of the master while it serves, and remembered from then for the
time in which it does not. Who holds a replica is read from the disks: a server has one if it has the chunk's metadata
file, whatever the master believes.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from chunkserver.storage.chunk_files import metadata_path
from master.serving.status import cluster_status
from runtime.wire.master_pb2 import ClusterStatusRequest

if TYPE_CHECKING:
    from cluster.simulated import SimulatedCluster  # It imposes faults, for which places are looked up here.

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """One chunk of a file. `believed` are the servers that the master tells clients; `primary` is empty without a
    lease."""

    path: str
    index: int
    handle: int
    believed: tuple[str, ...]
    primary: str


class Placement:
    """What the master knew when it was last seen, and what the disks hold now."""

    def __init__(self, cluster: "SimulatedCluster") -> None:
        self.cluster = cluster
        self._known: dict[tuple[str, int], PlacedChunk] = {}

    def acting_name(self) -> str:
        """The node of the master that acts."""
        return self.cluster.acting_name()

    def look(self) -> None:
        """Read the master's memory, if it serves and can be read in one go."""
        server = self.cluster.acting_master()
        parts = None if server is None else server.acting_parts
        if parts is None:
            return
        request = ClusterStatusRequest(chunks=True)
        work = cluster_status(parts.core, parts.repair, parts.moving, parts.draining, request)
        status = _at_once(work)
        if status is None:
            return
        self._known = {
            (found.path, found.chunk.index): PlacedChunk(
                found.path,
                found.chunk.index,
                found.chunk.handle,
                tuple(replica.server for replica in found.chunk.replicas),
                found.primary,
            )
            for found in status.chunks
        }

    def chunk(self, path: str, index: int) -> PlacedChunk | None:
        """The chunk at a place in a file; None if there is none, as far as was ever known."""
        self.look()
        return self._known.get((path, index))

    def chunks(self) -> list[PlacedChunk]:
        """All chunks of all files."""
        self.look()
        return list(self._known.values())

    def places(self) -> list[tuple[str, int]]:
        """Path and index of all chunks."""
        return [(chunk.path, chunk.index) for chunk in self.chunks()]

    def first_of(self, path: str, index: int) -> list[str]:
        """The primary of a chunk, or the first server that holds a replica; empty if there is none."""
        chunk = self.chunk(path, index)
        if chunk is not None and chunk.primary:
            return [chunk.primary]
        return self.holders(path, index)[:1]

    def holders(self, path: str, index: int) -> list[str]:
        """The servers whose disks hold a replica, in order of their names' numbers."""
        chunk = self.chunk(path, index)
        if chunk is None:
            return []
        name = metadata_path(chunk.handle)
        names = self.cluster.settings.chunkserver_names()
        return [node for node in names if name in self.cluster.simulation.world(node).simulated_disk.paths()]


def _at_once(work: Coroutine[Any, Any, T]) -> T | None:
    """The result of a coroutine that has no reason to wait, None if it waits all the same."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    return None
