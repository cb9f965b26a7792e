"""Drills about names: snapshots, the trash, masters that fail over (GFS 2.6.3, 3.4, 4.4, 5.1.3)."""

from dataclasses import replace

from cluster.fault_log import NodeKilled
from cluster.interface import Cluster
from labs.drills.drill import Drill, Facts, Live
from labs.drills.evidence import Evidence, Found
from labs.drills.live.common import SMALL, bytes_of, chunks_of, content_of, kinds, need, store
from labs.drills.questions import NotYet, Truth, done, values
from master.events import (
    ChunkCopied,
    ChunkCreated,
    EntryRenamed,
    FileCreated,
    FileDeleted,
    LeaseGranted,
    LeaseRevoked,
    MasterTookOver,
    SnapshotTaken,
)
from runtime.errors import TabletopError

PHOTO, ALBUM, ESSAY, NAMES = "/drill/photo", "/drill/album", "/drill/essay", "/drill/names"
_KINDS = kinds(
    ChunkCopied,
    ChunkCreated,
    EntryRenamed,
    FileCreated,
    FileDeleted,
    LeaseGranted,
    LeaseRevoked,
    MasterTookOver,
    SnapshotTaken,
)
PHOTO_CHUNKS = 3


# Snapshots.


async def _prepare_photo(cluster: Cluster) -> Facts:
    await store(cluster, PHOTO, bytes_of("photo", PHOTO_CHUNKS * SMALL.chunk_bytes - 100_000))
    return {"photo": await chunks_of(cluster, PHOTO)}


async def _look_at_photo(cluster: Cluster, setup: Facts) -> Facts:
    return {"source": await chunks_of(cluster, PHOTO), "copy": await chunks_of(cluster, ALBUM)}


def _snapshot(evidence: Evidence) -> Found[SnapshotTaken]:
    return evidence.first(
        SnapshotTaken,
        lambda event: event.source == PHOTO and event.target == ALBUM,
        missing=f"nobody has taken a snapshot of {PHOTO} as {ALBUM}",
    )


def _first_write(evidence: Evidence) -> Found[ChunkCopied]:
    taken = _snapshot(evidence)
    return evidence.first(
        ChunkCopied, lambda event: event.path in (PHOTO, ALBUM), after=taken.at, missing="nobody has written to either"
    )


def _taken(evidence: Evidence) -> Truth:
    taken = _snapshot(evidence)
    return done(f"{taken.event.target} is a snapshot of {taken.event.source}", taken.at)


def _written(evidence: Evidence) -> Truth:
    write = _first_write(evidence)
    return done(f"{write.event.path} was written, and got chunk {write.event.handle:#x} of its own", write.at)


def _copied(evidence: Evidence) -> Truth:
    write = _first_write(evidence)
    count = len({one.event.index for one in evidence.all_of(ChunkCopied) if one.at >= write.at})
    return values("a number", (count,), f"{count} of {PHOTO_CHUNKS} chunks were copied", deed=write.at)


def _where(evidence: Evidence) -> Truth:
    write = _first_write(evidence)
    old = next(one for one in evidence.fact("photo") if one["handle"] == write.event.frozen)
    same = set(write.event.servers) == set(old["servers"])
    word = "on the same servers" if same else "on other servers"
    said = f"the old chunk was on {', '.join(old['servers'])}, the new one on {', '.join(sorted(write.event.servers))}"
    return values("one of", (word,), said, deed=write.at)


def _shared(evidence: Evidence) -> Truth:
    write = _first_write(evidence)
    source, copy = (({one["handle"] for one in evidence.fact(name)}) for name in ("source", "copy"))
    need(source and copy, f"{PHOTO} and {ALBUM} have to be there yet")
    both = len(source & copy)
    return values("a number", (both,), f"after the write to {write.event.path} they share {both} chunks")


SNAPSHOT = Drill(
    "snapshot",
    Live(SMALL, _KINDS, _prepare_photo, _look_at_photo),
    {"taken": _taken, "written": _written, "copied": _copied, "where": _where, "shared": _shared},
)


# The trash.


async def _prepare_essay(cluster: Cluster) -> Facts:
    kept = await store(cluster, ESSAY, bytes_of("essay", 700_000))
    return {"essay": kept, "before": await chunks_of(cluster, ESSAY)}


async def _look_at_essay(cluster: Cluster, setup: Facts) -> Facts:
    now = await chunks_of(cluster, ESSAY)
    return {"after": now, "content": await content_of(cluster, ESSAY) if now else ""}


def _deletion(evidence: Evidence) -> Found[FileDeleted]:
    return evidence.first(FileDeleted, lambda event: event.path == ESSAY, missing=f"{ESSAY} was not deleted yet")


def _deleted(evidence: Evidence) -> Truth:
    gone = _deletion(evidence)
    return done(f"it is kept as {gone.event.hidden}", gone.at)


def _restored(evidence: Evidence) -> Truth:
    gone = _deletion(evidence)
    back = evidence.first(
        EntryRenamed,
        lambda event: event.target == ESSAY and event.source.startswith("/.deleted/"),
        after=gone.at,
        missing=f"{ESSAY} was not restored yet",
    )
    return done(f"{back.event.source} was renamed to {back.event.target}", back.at)


def _bytes_copied(evidence: Evidence) -> Truth:
    gone, _ = _deletion(evidence), _restored(evidence)
    before, after = ({one["handle"] for one in evidence.fact(name)} for name in ("before", "after"))
    need(after, f"{ESSAY} is not there")
    count = sum(one["bytes"] for one in evidence.fact("after") if one["handle"] not in before)
    said = f"its chunks were {_hex(before)}, and are {_hex(after)}"
    return values("bytes", (count,), said, deed=gone.at)


def _hex(handles: set[int]) -> str:
    return ", ".join(f"{handle:#x}" for handle in sorted(handles))


def _mechanism(evidence: Evidence) -> Truth:
    back = _restored(evidence)
    return values("one of", ("a rename",), back.because, deed=_deletion(evidence).at)


TRASH = Drill(
    "trash",
    Live(SMALL, _KINDS, _prepare_essay, _look_at_essay),
    {"deleted": _deleted, "restored": _restored, "copied": _bytes_copied, "mechanism": _mechanism},
)


# The acting one of three masters dies.


async def _prepare_names(cluster: Cluster) -> Facts:
    for number in range(20):
        await cluster.client().create(f"{NAMES}-{number}")
    return {"acting": await cluster.who_acts()}


async def _look_at_names(cluster: Cluster, setup: Facts) -> Facts:
    try:
        listed = await cluster.client().list("/drill")
        acting = await cluster.who_acts()
    except TabletopError:
        return {}
    return {"names": sorted(one.path for one in listed)[:1000], "acts": acting}


def _takeover(evidence: Evidence) -> tuple[Found[NodeKilled], Found[MasterTookOver]]:
    for kill in evidence.all_of(NodeKilled, lambda event: event.node.startswith("master")):
        acted = [one for one in evidence.all_of(MasterTookOver) if one.at < kill.at]
        acting = acted[-1].node if acted else evidence.fact("acting")
        if acting != kill.event.node:
            continue
        over = evidence.all_of(MasterTookOver)
        new = next((one for one in over if one.at > kill.at), None)
        if new is None:
            raise NotYet("no other master has taken over yet")
        return kill, new
    raise NotYet("nobody has killed the acting master")


def _master_killed(evidence: Evidence) -> Truth:
    kill, _ = _takeover(evidence)
    return done(f"{kill.event.node} acted, and was killed", kill.at)


def _time(evidence: Evidence) -> Truth:
    kill, new = _takeover(evidence)
    seconds = new.at - kill.at
    word = "under 1 s" if seconds < 1 else "1 to 4 s" if seconds < 4 else "4 s or longer"
    return values("one of", (word,), f"{new.node} took over {seconds:.1f} s after the kill", deed=kill.at)


def _heir(evidence: Evidence) -> Truth:
    _, new = _takeover(evidence)
    return values("a node", (new.node,), f"{new.node} acts under epoch {new.event.epoch}")


def _epoch(evidence: Evidence) -> Truth:
    _, new = _takeover(evidence)
    return values("a number", (new.event.epoch,), f"{new.node} acts under epoch {new.event.epoch}")


def _forgotten(evidence: Evidence) -> Truth:
    kill, _ = _takeover(evidence)
    answered = {
        one.event.path
        for one in evidence.all_of(FileCreated, lambda event: event.path.startswith("/drill/"))
        if one.at < kill.at
    }
    lost = answered - set(evidence.fact("names"))
    return values("a number", (len(lost),), f"of {len(answered)} names that were answered, {len(lost)} are gone",
                  deed=kill.at)  # fmt: skip


FAILOVER = Drill(
    "failover",
    Live(replace(SMALL, chunkservers=3, masters=3), _KINDS, _prepare_names, _look_at_names),
    {"killed": _master_killed, "time": _time, "heir": _heir, "epoch": _epoch, "forgotten": _forgotten},
)

DRILLS = (SNAPSHOT, TRASH, FAILOVER)
