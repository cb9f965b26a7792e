"""The end of a run: everything is healed, the cluster comes to rest, all files are read once more, and the judges look.

    check, exception, endless    what the scenario itself claims, and how it ended
    convergence                  is every node up again, and every chunk at its goal, within a stated time?
    final reads                  can every file be read at the end?
    contents, lengths            does each byte that was read come from a write that may be there?
    (cluster/swarm/contents.py) appends                      record append's contract (cluster/swarm/appends.py)
    namespace                    is there an order of the changes that explains every answer? (linearizability.py)
    definite failure             did something happen of which a client was told that it had not?
    regions                      GFS Table 1, by the bytes of all replicas (cluster/swarm/regions.py)
    leases, two masters          versions, primaries and epochs (cluster/swarm/leases.py)
    untyped error, loop          did a task fail in a way that nobody foresaw?

All of them work on what clients were told and what nodes have recorded; the replicas are read as any operator could.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.checkers import replica_reader
from cluster.interface import Cluster, NodeState
from cluster.scenarios.facts import Known, Records
from cluster.scenarios.recording import RecordedClient
from cluster.swarm.contents import FileHistory
from cluster.swarm.history import Answer, History, Kind, Operation
from cluster.swarm.leases import judge_leases, wrong_epochs
from cluster.swarm.names import PASSING
from cluster.swarm.regions import Region, broken_regions, regions_of
from cluster.swarm.steps import file_histories
from cluster.swarm.verdicts import Judgement, Verdict, judge_history
from gfs.reading.lengths import FileStatus
from runtime.errors import TabletopError
from runtime.events import TaskFailed
from runtime.guard import HandlerFailed

REST_SECONDS = 150.0
POLL_SECONDS = 0.5
_HELD = (NodeState.DEAD, NodeState.FAILED, NodeState.STOPPED)


@dataclass(slots=True)
class Held:
    """What all replicas of a file hold at the end: of each chunk, by its index, the bytes on each server."""

    path: str
    file_id: int
    chunks: dict[int, dict[str, bytes]] = field(default_factory=dict)


async def heal(cluster: Cluster) -> list[Verdict]:
    """End all faults, and start every node that does not run. Returns what does not start although nothing is wrong."""
    found: list[Verdict] = []
    try:
        await cluster.heal()
    except TabletopError as error:
        found.append(Verdict("convergence", f"a fault cannot be healed: {error.message}"))
    for report in await cluster.nodes():
        try:
            if report.state is NodeState.PAUSED:
                await cluster.resume(report.node)
            elif report.state in _HELD:
                await cluster.restart(report.node)
        except TabletopError as error:
            found.append(Verdict("convergence", f"{report.node} does not start: {error.message}"))
    return found


async def come_to_rest(cluster: Cluster) -> list[Verdict]:
    """Wait until every chunkserver is alive and every chunk at its goal; what is left undone at the end of the time."""
    loop = asyncio.get_running_loop()
    seconds = REST_SECONDS + 2.0 * cluster.settings.lease_seconds
    deadline = loop.time() + seconds
    while True:
        left = await _unfinished(cluster)
        if not left:
            return []
        if loop.time() >= deadline:
            return [Verdict("convergence", f"{text}, {seconds:g} s after everything was healed") for text in left[:6]]
        await asyncio.sleep(POLL_SECONDS)


async def _unfinished(cluster: Cluster) -> list[str]:
    try:
        status = await cluster.status(chunks=True)
    except TabletopError as error:
        return [f"the master does not answer: {error.message}"]
    if status.HasField("shadow"):
        return ["no master acts"]
    alive = [server.location.server for server in status.servers if server.alive]
    absent = [name for name in cluster.settings.chunkserver_names() if name not in alive]
    below = [
        f"chunk {one.chunk.index} of {one.path} has {len(one.chunk.replicas)} live replicas, expected "
        f"{one.replication_goal}"
        for one in status.chunks
        if len(one.chunk.replicas) < one.replication_goal
    ]
    return [f"{name} is not registered" for name in absent] + below


async def read_everything(judge: RecordedClient) -> list[FileStatus]:
    """Read and look at every file; what fails is in the history. Returns the files."""
    try:
        entries = await judge.list("/", recursive=True)
    except TabletopError:
        return []
    files = [one for one in entries if not one.is_directory and PASSING not in one.path]
    for one in files:
        for work in (judge.read_file, judge.stat):
            try:
                await work(one.path)
            except TabletopError:
                continue
    return files


async def read_replicas(cluster: Cluster, files: Sequence[FileStatus]) -> tuple[list[Held], list[Verdict]]:
    """Read every replica of these files, past all caches. A server that has just been started may have another address
    than the master knows: then all is read again."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REST_SECONDS
    while True:
        held, problems = await _read_replicas(cluster, files)
        if not problems or loop.time() >= deadline:
            return held, [Verdict("regions", text) for text in problems[:6]]
        await asyncio.sleep(POLL_SECONDS)


async def _read_replicas(cluster: Cluster, files: Sequence[FileStatus]) -> tuple[list[Held], list[str]]:
    held = {one.path: Held(one.path, one.file_id) for one in files}
    problems: list[str] = []
    try:
        status = await cluster.status(chunks=True)
    except TabletopError as error:
        return [], [f"the master does not answer: {error.message}"]
    async with replica_reader(cluster.client_world) as reader:
        for found in (one for one in status.chunks if one.path in held):
            here = held[found.path].chunks.setdefault(found.chunk.index, {})
            for replica in found.chunk.replicas:
                try:
                    here[replica.server] = await reader.content(replica, found.chunk)
                except TabletopError as error:
                    text = (
                        f"the replica of chunk {found.chunk.index} of {found.path} on {replica.server} cannot be read"
                    )
                    problems.append(f"{text}: {type(error).__name__}: {error.message}")
    return list(held.values()), problems


@dataclass(slots=True)
class Found:
    """What the judges found; `regions`: of each file, by its path."""

    verdicts: list[Verdict]
    is_undecided: bool = False
    regions: dict[str, list[Region]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def judge(history: History, known: Known, records: Records, held: Sequence[Held]) -> Found:
    """All judges. A pure function."""
    vague = sorted({one.path for one in known.unknown})
    judgement = judge_history(history, known.facts) if not vague else Judgement([])
    found = Found(list(judgement.verdicts), judgement.is_undecided or bool(vague))
    found.verdicts += [
        Verdict("final reads", one.told(), (one.number,))
        for one in history.operations
        if one.is_final and one.answer is not Answer.VALUE
    ]
    found.verdicts += [Verdict("leases", text) for text in judge_leases(records)]
    found.verdicts += [Verdict("two masters", text) for text in wrong_epochs(records)]
    found.verdicts += _failed_tasks(records)
    if vague:
        paths = ", ".join(vague)
        found.remarks.append(f"contents and names are not judged: nobody recorded who created the files of {paths}")
        return found
    files = file_histories(history, known.facts)
    for one in held:
        file = files.get(known.creators.get(one.file_id, 0))
        if file is not None:
            _judge_regions(one, file, known, found)
    return found


def _judge_regions(held: Held, file: FileHistory, known: Known, found: Found) -> None:
    found.regions[held.path] = regions_of(file, held.chunks, known.facts.chunk_bytes)
    for text, operations in broken_regions(held.path, found.regions[held.path]):
        found.verdicts.append(Verdict("regions", text, operations))


def _failed_tasks(records: Records) -> list[Verdict]:
    found = []
    for moment, record in records:
        if isinstance(record.event, TaskFailed | HandlerFailed):
            last = record.event.trace.strip().splitlines()[-1]
            found.append(Verdict("untyped error", f"at {moment:.3f} s on {record.node}: {last}"))
    return found


def concerned(history: History, verdicts: Sequence[Verdict]) -> list[Operation]:
    """The operations that verdicts are about, in order, with those that opened their files."""
    numbers = {number for verdict in verdicts for number in verdict.operations}
    numbers |= {one.handle for one in history.operations if one.number in numbers and one.handle}
    return [one for one in history.operations if one.number in numbers and one.kind is not Kind.CLOSE]
