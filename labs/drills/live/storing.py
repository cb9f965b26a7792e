"""Drills about what is stored: rot, stale replicas, a cluster that grows (GFS 4.2, 4.3, 4.5, 5.2)."""

from chunkserver.events import BlocksMended, ChunkCloned, ChunksDeleted, CorruptionFound
from cluster.fault_log import BlockFlipped, NodeKilled
from cluster.interface import Cluster
from labs.drills.drill import Drill, Facts, Live
from labs.drills.evidence import Evidence, Found
from labs.drills.live.common import SMALL, bytes_of, chunks_of, content_of, kills, kinds, need, primary_at, store
from labs.drills.questions import NotYet, Truth, done, values
from master.events import (
    ChunkCreated,
    ChunkserverRegistered,
    CloneFinished,
    CloneStarted,
    CorruptionReported,
    LeaseGranted,
    ReplicaFound,
    ReplicaJudged,
    ReplicaLost,
    ReplicaMended,
    VersionRaised,
)
from runtime.events import NodeStarted

BOOK, LEDGER = "/drill/book", "/drill/ledger"
_KINDS = kinds(
    BlocksMended,
    ChunkCloned,
    ChunkCreated,
    ChunkserverRegistered,
    ChunksDeleted,
    CloneFinished,
    CloneStarted,
    CorruptionFound,
    CorruptionReported,
    LeaseGranted,
    NodeStarted,
    ReplicaFound,
    ReplicaJudged,
    ReplicaLost,
    ReplicaMended,
    VersionRaised,
)


# Bit rot in a stored block.


async def _prepare_book(cluster: Cluster) -> Facts:
    return {"book": await store(cluster, BOOK, bytes_of("book", 2_500_000))}


async def _look_at_book(cluster: Cluster, setup: Facts) -> Facts:
    """The file is read only once the damage was found: our own read must not be what finds it."""
    nodes = cluster.settings.chunkserver_names()
    was_found = any(isinstance(record.event, CorruptionFound) for node in nodes for record in cluster.events(node))
    content = {"content": await content_of(cluster, BOOK)} if was_found else {}
    return {**content, "chunks": await chunks_of(cluster, BOOK)}


def _flip(evidence: Evidence) -> Found[BlockFlipped]:
    return evidence.first(BlockFlipped, lambda event: event.path == BOOK, missing=f"no block of {BOOK} has rotted yet")


def _rotten(evidence: Evidence) -> Truth:
    flip = _flip(evidence)
    return done(f"{flip.event.count} bytes of block {flip.event.block} on {flip.event.server} are flipped", flip.at)


def _reader(evidence: Evidence) -> Truth:
    flip, content = _flip(evidence), evidence.fact("content")
    _found(evidence)
    if content == evidence.fact("book")["sha256"]:
        return values("one of", ("the right bytes",), "the file was read, and has its old SHA-256", deed=flip.at)
    word = "an error" if content == "an error" else "the damaged bytes"
    return values("one of", (word,), f"the file was read: {content}", deed=flip.at)


def _found(evidence: Evidence) -> Found[CorruptionFound]:
    flip = _flip(evidence)
    return evidence.first(
        CorruptionFound,
        lambda event: event.handle == flip.event.handle and event.block == flip.event.block,
        after=flip.at,
        missing="no server has found the damage yet: read the file, or have it scrubbed",
    )


def _finder(evidence: Evidence) -> Truth:
    found = _found(evidence)
    return values("a node", (found.node,), f"{found.node} found it: {found.event.found_by}")


def _source(evidence: Evidence) -> Truth:
    flip = _flip(evidence)
    handle = flip.event.handle
    sources = [
        source
        for one in evidence.all_of(BlocksMended, lambda event: event.handle == handle and event.mended > 0)
        if one.at > flip.at
        for source in one.event.sources
    ]
    sources += [one.event.source for one in evidence.all_of(ChunkCloned, lambda event: event.handle == handle)
                if one.at > flip.at]  # fmt: skip
    need(sources, "no server has fetched good bytes of that chunk yet")
    return values("a node", tuple(dict.fromkeys(sources)), f"good bytes came from {', '.join(sources)}")


def _healed(evidence: Evidence) -> Truth:
    flip = _flip(evidence)
    _found(evidence)
    chunk = next((one for one in evidence.fact("chunks") if one["handle"] == flip.event.handle), None)
    need(chunk and len(chunk["servers"]) >= SMALL.replicas, "the chunk has fewer than three good replicas yet")
    _source(evidence)
    return done("the chunk has three replicas that count again")


ROT = Drill(
    "rot",
    Live(SMALL, _KINDS, _prepare_book, _look_at_book),
    {"rotten": _rotten, "reader": _reader, "finder": _finder, "source": _source, "healed": _healed},
)


# A replica that missed writes while its server was down.


async def _prepare_ledger(cluster: Cluster) -> Facts:
    await store(cluster, LEDGER, b"first entry\n" * 100)
    return {"ledger": await chunks_of(cluster, LEDGER)}


async def _look_at_ledger(cluster: Cluster, setup: Facts) -> Facts:
    return {"chunks": await chunks_of(cluster, LEDGER)}


def _handle(evidence: Evidence) -> int:
    return int(evidence.fact("ledger")[0]["handle"])


def _left_behind(evidence: Evidence) -> tuple[Found[NodeKilled], int, Found[LeaseGranted]]:
    """The kill of a server that had a replica, the version that this replica has, and the lease that left it behind."""
    handle = _handle(evidence)
    for kill in kills(evidence):
        node = kill.event.node
        before = primary_at(evidence, handle, kill.at)
        if before is None or node not in (before.event.primary, *before.event.secondaries):
            continue
        for after in evidence.all_of(LeaseGranted, lambda event: event.handle == handle):
            if after.at > kill.at and node not in (after.event.primary, *after.event.secondaries):
                return kill, before.event.version, after
    raise NotYet(f"no server that has {LEDGER} was killed and missed a write to it")


def _missed(evidence: Evidence) -> Truth:
    kill, _, lease = _left_behind(evidence)
    return done(f"{kill.event.node} was down when version {lease.event.version} began", kill.at)


def _stale_version(evidence: Evidence) -> Truth:
    kill, version, _ = _left_behind(evidence)
    return values("a number", (version,), f"{kill.event.node} kept version {version}")


def _new_version(evidence: Evidence) -> Truth:
    kill, before, lease = _left_behind(evidence)
    handle, newest = lease.event.handle, lease.event.version
    raised = evidence.all_of(VersionRaised, lambda event: event.handle == handle and before < event.version <= newest)
    said = ", ".join(f"{one.event.version} ({one.event.reason})" for one in raised)
    return values("a number", (newest,), f"the master logged {said or newest}", deed=kill.at)


def _fate(evidence: Evidence) -> Truth:
    kill, _, _ = _left_behind(evidence)
    node, handle = kill.event.node, _handle(evidence)
    back = evidence.first(
        ChunkserverRegistered, lambda event: event.server == node, after=kill.at, missing=f"{node} is not back yet"
    )
    gone = [one for one in evidence.all_of(ChunksDeleted) if one.node == node and one.at > back.at]
    gone = [one for one in gone if f"{handle:#x}" in one.event.handles]
    need(gone, f"nothing has happened yet to the replica on {node}: give the cluster some seconds")
    said = f"{node} deleted it {gone[0].at - back.at:.1f} s after it was back"
    return values("one of", ("it is removed as garbage",), said, deed=back.at)


STALE = Drill(
    "stale-replica",
    Live(SMALL, _KINDS, _prepare_ledger, _look_at_ledger),
    {"missed": _missed, "old": _stale_version, "new": _new_version, "fate": _fate},
)


# A server joins.


async def _prepare_shelf(cluster: Cluster) -> Facts:
    await cluster.client().make_directory("/drill/shelf")
    for number in range(1, 13):
        await store(cluster, f"/drill/shelf/{number}", bytes_of(f"shelf {number}", SMALL.chunk_bytes))
    return {"shelf": await _stored(cluster)}


async def _stored(cluster: Cluster) -> dict[str, int]:
    """The bytes of chunks on each server, as the master counts replicas."""
    found: dict[str, int] = dict.fromkeys(cluster.settings.chunkserver_names(), 0)
    for one in (await cluster.status(chunks=True)).chunks:
        for replica in one.chunk.replicas:
            found[replica.server] = found.get(replica.server, 0) + one.chunk.length
    return found


async def _look_at_shelf(cluster: Cluster, setup: Facts) -> Facts:
    status = await cluster.status()
    return {"stored": await _stored(cluster), "moves_planned": status.moves_planned, "copying": status.clones_running}


def _joined(evidence: Evidence) -> Found[ChunkserverRegistered]:
    before = set(evidence.fact("shelf"))
    return evidence.first(
        ChunkserverRegistered, lambda event: event.server not in before, missing="no server has joined yet"
    )


def _grown(evidence: Evidence) -> Truth:
    joined = _joined(evidence)
    return done(f"{joined.event.server} registered", joined.at)


def _arrived(evidence: Evidence) -> tuple[Found[ChunkserverRegistered], list[Found[ChunkCloned]]]:
    joined = _joined(evidence)
    need(
        not evidence.fact("moves_planned") and not evidence.fact("copying"),
        "the disks are not even yet: `tabletop status` says how many moves are left",
    )
    found = [one for one in evidence.all_of(ChunkCloned) if one.node == joined.event.server]
    need(found, f"nothing was copied to {joined.event.server} yet")
    return joined, found


def _moved(evidence: Evidence) -> Truth:
    joined, copies = _arrived(evidence)
    moved = sum(one.event.length for one in copies)
    said = f"{moved} bytes were copied to {joined.event.server}; an even share is {_even_share(evidence)}"
    return values("bytes", (moved,), said, deed=joined.at, share=0.25)


def _even_share(evidence: Evidence) -> int:
    stored = evidence.fact("stored")
    return int(sum(stored.values()) / len(stored))


def _giver(evidence: Evidence) -> Truth:
    _, copies = _arrived(evidence)
    counts: dict[str, int] = {}
    for one in copies:
        counts[one.event.source] = counts.get(one.event.source, 0) + one.event.length
    most = tuple(name for name, count in counts.items() if count == max(counts.values()))
    return values("a node", most, "; ".join(f"{name} gave {count} bytes" for name, count in counts.items()))


def _fullest(evidence: Evidence) -> Truth:
    _arrived(evidence)
    stored = evidence.fact("stored")
    most = max(stored.values())
    return values("bytes", (most,), f"stored: {stored}", share=0.01)


GROW = Drill(
    "grow",
    Live(SMALL, _KINDS, _prepare_shelf, _look_at_shelf),
    {"grown": _grown, "moved": _moved, "giver": _giver, "fullest": _fullest},
)

DRILLS = (ROT, STALE, GROW)
