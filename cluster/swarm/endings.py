"""After everything was healed: does the cluster come to rest, and does it hold what it should?

Rest means: every server is registered; every chunk has as many current replicas as its goal, and no server has one more
or another; no chunk's copies are together in one rack that need not be, and none is on a server that is drained; the
replicas of a chunk are the same bytes; no file lies on any disk that belongs to nothing.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from chunkserver.events import ChunkPutAside
from cluster.fault_runner import FaultBegan
from cluster.interface import wait_until
from cluster.roles import MASTER
from cluster.swarm import placements
from cluster.swarm.appends import missing_on_replica
from cluster.swarm.contents import FileHistory
from cluster.swarm.insight import Replica
from cluster.swarm.masters import not_in_sync
from cluster.swarm.names import PASSING
from cluster.swarm.stage import Stage
from cluster.swarm.steps import Facts
from cluster.swarm.verdicts import Verdict
from master.log.recovery import recover
from runtime.errors import TabletopError
from runtime.events import Record
from runtime.world import World

REST_SECONDS = 150.0
_REPLAY = "replay"


def rest_seconds(stage: Stage) -> float:
    """Within how much virtual time everything must have come to rest."""
    return REST_SECONDS + 2.0 * stage.setup.lease_seconds


async def come_to_rest(stage: Stage, may_differ: Collection[int] = ()) -> list[Verdict]:
    """Wait until the cluster is at rest; what is left undone at the end of the time.

    `may_differ`: chunks of which a mutation has failed for good, so that a region is inconsistent (GFS Table 1) until
    the next lease compares the replicas."""
    deadline = stage.now + rest_seconds(stage)
    while True:
        left = unfinished(stage, may_differ)
        if not left:
            return []
        if stage.now >= deadline:
            seconds = rest_seconds(stage)
            return [Verdict("convergence", f"{text}, {seconds:g} s after the healing") for text in left[:6]]
        await asyncio.sleep(1.0)


def unfinished(stage: Stage, may_differ: Collection[int] = ()) -> list[str]:
    """What keeps the cluster from being at rest, one sentence each."""
    core = stage.insight.core()
    if core is None:
        return ["the master does not serve"]
    if late := not_in_sync(stage.cluster):
        return late
    down = [name for name in stage.chunkserver_names() if stage.cluster.server(name) is None]
    absent = [server.name for server in core.servers.all() if not server.is_alive]
    if down or absent:
        return [f"{name} does not serve" for name in down] + [f"{name} is not registered" for name in absent]
    chunks = core.state.chunks
    below = [
        f"chunk {handle:#x} has {len(chunks.replicas(handle))} replicas, expected {chunks.chunk(handle).goal}"
        for handle in chunks.handles()
        if len(chunks.replicas(handle)) != chunks.chunk(handle).goal
    ]
    misplaced = placements.left_on_drained(core) + placements.unspread(core)
    return below or misplaced or _on_disks(stage, core, may_differ) + _left_names(core)


def _on_disks(stage: Stage, core: Any, may_differ: Collection[int]) -> list[str]:
    chunks = core.state.chunks
    found: list[str] = []
    replicas = {name: stage.insight.replicas_on(name) for name in stage.chunkserver_names()}
    for name, held in replicas.items():
        for handle, replica in sorted(held.items()):
            if handle not in chunks:
                found.append(f"{name} holds chunk {handle:#x}, which belongs to no file")
            elif name not in chunks.replicas(handle):
                found.append(
                    f"{name} holds version {replica.version} of chunk {handle:#x} and does not count as a replica"
                )
        found += [f"{name} has {path}, which belongs to nothing" for path in stage.insight.other_files(name)]
    for handle in chunks.handles():
        found += _same_bytes(handle, chunks, replicas, is_defined=handle not in may_differ)
    return found


def _same_bytes(handle: int, chunks: Any, replicas: dict[str, dict[int, Replica]], *, is_defined: bool) -> list[str]:
    version, first = chunks.version(handle), None
    for name in chunks.replicas(handle):
        replica = replicas[name].get(handle)
        if replica is None:
            return [f"{name} counts as a replica of chunk {handle:#x} and has none"]
        if not replica.is_sound:
            return [f"the replica of chunk {handle:#x} on {name} is damaged, and nobody has found out"]
        # A number between the two was sent in a raise that failed: nothing was ever written under it.
        if not version <= replica.version <= chunks.attempted(handle):
            return [f"{name} has version {replica.version} of chunk {handle:#x}, expected {version}"]
        if is_defined and first is not None and replica.data != first.data:
            return [
                f"the replicas of chunk {handle:#x} on {first.server} ({first.length} bytes) and {name} "
                f"({replica.length} bytes) differ"
            ]
        first = first or replica
    return []


def judge_records(stage: Stage, files: Mapping[int, FileHistory], facts: Facts) -> list[Verdict]:
    """Whether every replica that counts has every acknowledged record, at the offset that was told (GFS 3.3)."""
    core = stage.insight.core()
    if core is None:
        return []
    chunks, found = core.state.chunks, []
    held = {name: stage.insight.replicas_on(name) for name in stage.chunkserver_names()}
    for (file, index), handles in facts.handles.items():
        handle = handles[-1]
        if file not in files or not files[file].appends or handle not in chunks:
            continue
        for name in chunks.replicas(handle):
            replica = held[name].get(handle)
            data = b"" if replica is None else replica.data
            for lost in missing_on_replica(files[file].appends, index, facts.chunk_bytes, data):
                text = f"{name} lacks, in chunk {handle:#x}, the acknowledged record of operation {lost.operation}"
                found.append(Verdict("appends", f"{text} at {lost.offset} of its file", (lost.operation,)))
    return found


def judge_aside(stage: Stage, records: Iterable[Record]) -> list[Verdict]:
    """Whether everything that was put aside is there still: a server deletes nothing by itself."""
    count: dict[tuple[str, int], int] = {}
    for record in records:
        event = record.event
        if isinstance(event, ChunkPutAside):
            count[record.node, event.handle] = count.get((record.node, event.handle), 0) + 1
        elif isinstance(event, FaultBegan) and event.what.startswith("EmptyDisk"):
            nodes = event.nodes.split(", ")
            count = {place: number for place, number in count.items() if place[0] not in nodes}
    found = []
    for (server, handle), number in sorted(count.items()):
        kept = stage.insight.put_aside_on(server, handle)
        if kept < number:
            found.append(f"{server} has put chunk {handle:#x} aside {number} times, and keeps {kept} of that")
    return [Verdict("put aside", text) for text in found]


def _left_names(core: Any) -> list[str]:
    names = core.state.namespace
    return [f"{path} is left behind" for path, _ in names.files_in("/") if PASSING in path and "/.deleted" not in path]


async def judge_replay(stage: Stage) -> list[Verdict]:
    """Recover a copy of each master's disk, and compare the state with the one in memory: all masters have the same."""
    core = stage.insight.core()
    if core is None:
        return [Verdict("replay", "the master does not serve at the end")]
    # A record may be on the disk and not yet in memory.
    await wait_until(lambda: _is_at_rest(stage, core), what="the master's log is idle", timeout_seconds=REST_SECONDS)
    before = persistent_facts(core.state)
    found: list[Verdict] = []
    for master in stage.cluster.settings.master_names():
        shadow: Any = getattr(stage.cluster.server(master), "shadow", None)
        if shadow is not None and (wrong := _different(before, persistent_facts(shadow.log.state))):
            text = f"{master}, a shadow, has other {', '.join(wrong)} than the master that acts"
            found.append(Verdict("replay", text))
        found += await _judge_one_replay(stage, master, before)
    return found


async def _judge_one_replay(stage: Stage, master: str, before: dict[str, Any]) -> list[Verdict]:
    simulation = stage.simulation
    copy = simulation.add_node(_REPLAY if master == MASTER else f"{_REPLAY} of {master}")
    source = stage.disk(master)
    files = {path: bytes(source.content(path).cached) for path in source.paths() if path.startswith("log/")}
    await simulation.on(copy, _copy_log(files, copy))
    try:
        recovered = await simulation.on(copy, recover(copy))
    except TabletopError as error:
        return [Verdict("replay", f"the log of {master} cannot be replayed: {type(error).__name__}: {error.message}")]
    wrong = _different(before, persistent_facts(recovered.state))
    text = f"the log of {master} gives other {', '.join(wrong)} than the memory of the master has"
    return [Verdict("replay", text)] if wrong else []


def _different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in one if one[name] != other[name]]


async def _is_at_rest(stage: Stage, core: Any) -> bool:
    return not core.log.is_busy and not not_in_sync(stage.cluster)


async def _copy_log(files: Mapping[str, bytes], copy: World) -> None:
    await copy.disk.make_directory("log")
    for path, content in files.items():
        file = await copy.disk.open(path, "create")
        await file.write_at(0, content)
        await file.close()


def persistent_facts(state: Any) -> dict[str, Any]:
    """What survives a restart of the master, in comparable pieces."""
    table = state.namespace.table
    snapshot = state.snapshot()
    return {
        "names": table.items(b"", None, limit=len(table) + 1),
        "versions": snapshot.attempted,
        "chunks": snapshot.segments,
        "counts": snapshot.totals,
        "groups": snapshot.groups,
        "servers": snapshot.servers,
        "draining": snapshot.draining,
        "requests": snapshot.requests,
        "tenures": snapshot.tenures,
        "shared chunks": list(snapshot.sharings.rows()),
        "policies": snapshot.policies,
        "safe mode": snapshot.safe_mode,
        "origins of snapshots": snapshot.origins,
    }
