"""What demonstrations and tests judge a cluster with.

A checker asks the servers themselves, past the client's caches and failover: replica by replica, byte by byte.

What we simplify. The checkers here look at a cluster at rest. While files are being written, replicas of a region
differ for moments, and legally so (GFS 2.7).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cluster.interface import Cluster
from gfs.reading.bulk_links import BulkLinks
from runtime.bulk import READ_LIMIT_BYTES
from runtime.errors import TabletopError
from runtime.wire import bulk_pb2, common_pb2, master_pb2
from runtime.world import World

READ_SECONDS = 20.0
CHUNKS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ReplicaDigest:
    """What one replica holds: its length in bytes, and the SHA-256 of it in hexadecimal."""

    server: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ReplicaVerdict:
    """What was found in all replicas of all chunks. The lists hold one sentence for each finding."""

    chunks: int
    replicas: int
    below_goal: list[str]
    disagreeing: list[str]

    @property
    def good(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.below_goal and not self.disagreeing


class ReplicaReader:
    """Reads chosen replicas, whatever other replicas there may be."""

    def __init__(self, world: World) -> None:
        self._links = BulkLinks(world, idle_connections=CHUNKS_AT_ONCE)

    async def digest(self, replica: common_pb2.Location, chunk: common_pb2.ChunkLocations) -> ReplicaDigest:
        """Read all of one replica. Raises what the chunkserver answers: Corrupted, StaleVersion, NotFound, …"""
        digest, length = hashlib.sha256(), 0
        async for piece in self._pieces(replica, chunk):
            digest.update(piece)
            length += len(piece)
        return ReplicaDigest(replica.server, length, digest.hexdigest())

    async def content(self, replica: common_pb2.Location, chunk: common_pb2.ChunkLocations) -> bytes:
        """All bytes of one replica. Raises what the chunkserver answers."""
        return b"".join([bytes(piece) async for piece in self._pieces(replica, chunk)])

    async def _pieces(
        self, replica: common_pb2.Location, chunk: common_pb2.ChunkLocations
    ) -> AsyncIterator[memoryview]:
        """One replica from its begin to its end. A piece may be used until the next one is asked for."""
        buffer = memoryview(bytearray(READ_LIMIT_BYTES))
        offset, end = 0, 1
        while offset < end:
            request = bulk_pb2.ReadRequest(
                handle=chunk.handle, version=chunk.version, offset=offset, length=READ_LIMIT_BYTES
            )
            answer = await self._links.read(replica, request, buffer, timeout_seconds=READ_SECONDS)
            yield buffer[: answer.length]
            offset, end = offset + answer.length, answer.chunk_length
            if answer.length == 0:
                break

    def close(self) -> None:
        """Drop the connections."""
        self._links.close()


@asynccontextmanager
async def replica_reader(world: World) -> AsyncIterator[ReplicaReader]:
    """A reader of replicas, for the length of a block."""
    reader = ReplicaReader(world)
    try:
        yield reader
    finally:
        reader.close()


async def judge_replicas(cluster: Cluster) -> ReplicaVerdict:
    """Read every replica of every chunk: is each chunk at its file's goal, does every replica verify, and do the
    replicas of one chunk agree?"""
    chunks = list((await cluster.status(chunks=True)).chunks)
    below_goal = [
        f"{_name(found)} has {len(found.chunk.replicas)} live replicas, expected {found.replication_goal}"
        for found in chunks
        if len(found.chunk.replicas) < found.replication_goal
    ]
    disagreeing: list[str] = []
    waiting = iter(chunks)
    async with replica_reader(cluster.client_world) as reader:

        async def work() -> None:
            for found in waiting:
                complaint = await _disagreement(reader, found)
                if complaint:
                    disagreeing.append(complaint)

        await asyncio.gather(*(work() for _ in range(CHUNKS_AT_ONCE)))
    replicas = sum(len(found.chunk.replicas) for found in chunks)
    return ReplicaVerdict(len(chunks), replicas, below_goal, sorted(disagreeing))


async def read_replica(world: World, replica: common_pb2.Location, chunk: common_pb2.ChunkLocations) -> ReplicaDigest:
    """Read all of one replica. Raises what the chunkserver answers."""
    async with replica_reader(world) as reader:
        return await reader.digest(replica, chunk)


async def _disagreement(reader: ReplicaReader, found: master_pb2.ChunkStatus) -> str:
    digests: list[ReplicaDigest] = []
    for replica in found.chunk.replicas:
        try:
            digests.append(await reader.digest(replica, found.chunk))
        except TabletopError as error:
            return f"{_name(found)} on {replica.server}: {error.message}"
    first = digests[0] if digests else None
    for other in digests[1:]:
        if first is not None and (other.length, other.sha256) != (first.length, first.sha256):
            return (
                f"{_name(found)}: {first.server} has {first.length} bytes with SHA-256 {first.sha256[:12]}…, "
                f"{other.server} has {other.length} bytes with {other.sha256[:12]}…"
            )
    return ""


def _name(found: master_pb2.ChunkStatus) -> str:
    return f"chunk {found.chunk.index} of {found.path} ({found.chunk.handle:#x})"
