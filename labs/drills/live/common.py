"""What the drills on real clusters share."""

import hashlib
from typing import Any

from cluster.interface import Cluster
from cluster.settings import ClusterSettings
from gfs.records.frames import Record
from gfs.records.scanning import Scanner
from labs.drills.drill import Facts
from labs.drills.evidence import Evidence, Found
from labs.drills.questions import NotYet
from master.events import ChunkCreated, LeaseGranted
from runtime.errors import Corrupted, NotFound, TabletopError
from runtime.events import Event

CHUNK_BYTES = 1 << 20
KIBIBYTE = 1024
SMALL = ClusterSettings(chunkservers=5, chunk_bytes=CHUNK_BYTES, lease_seconds=10.0, heartbeat_seconds=1.0)


def kinds(*events: type[Event]) -> frozenset[str]:
    """Their names."""
    return frozenset(event.__name__ for event in events)


def bytes_of(name: str, count: int) -> bytes:
    """Bytes that look like nothing, the same on every machine."""
    block = hashlib.sha256(name.encode()).digest()
    found = bytearray()
    while len(found) < count:
        found += block
        block = hashlib.sha256(block).digest()
    return bytes(found[:count])


async def store(cluster: Cluster, path: str, data: bytes) -> Facts:
    """Write a file; returns what it is."""
    await cluster.client().write_file(path, data)
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


async def chunks_of(cluster: Cluster, path: str) -> list[dict[str, Any]]:
    """What the master says of a file's chunks now; none of a file that does not exist."""
    try:
        found = await cluster.client().locations(path)
    except NotFound:
        return []
    return [
        {
            "handle": chunk.handle,
            "version": chunk.version,
            "servers": sorted(replica.server for replica in chunk.replicas),
            "bytes": chunk.length,
        }
        for chunk in found
    ]


async def content_of(cluster: Cluster, path: str) -> str:
    """The SHA-256 of what a reader gets; an error by its name."""
    try:
        return hashlib.sha256(await cluster.client().read_file(path)).hexdigest()
    except Corrupted:
        return "an error"
    except TabletopError as error:
        return type(error).__name__


async def scanned(cluster: Cluster, path: str) -> list[Record]:
    """All records that stand in a file, second copies included."""
    try:
        data = await cluster.client().read_file(path)
    except NotFound:
        return []
    scanner = Scanner(chunk_bytes=cluster.settings.chunk_bytes)
    return [*scanner.feed(data), *scanner.finish()]


def handles_of(evidence: Evidence, path: str) -> set[int]:
    """The chunks that a path was ever given."""
    return {found.event.handle for found in evidence.all_of(ChunkCreated, lambda event: event.path == path)}


def primary_at(evidence: Evidence, handle: int, moment: float) -> Found[LeaseGranted] | None:
    """The last lease that was granted on a chunk before a moment."""
    found = [one for one in evidence.all_of(LeaseGranted, lambda event: event.handle == handle) if one.at < moment]
    return found[-1] if found else None


def need(condition: object, missing: str) -> None:
    """Raise NotYet unless the condition holds."""
    if not condition:
        raise NotYet(missing)


async def nothing(cluster: Cluster, setup: Facts) -> Facts:
    """Nothing is to be looked up."""
    return {}
