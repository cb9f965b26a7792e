"""What the judges of a history know beside it, from the records of the nodes: nothing that only a simulation knows.

The master records which file it created, under which id and for which operation (the cause of a record is that of the
call), and which chunk became which part of which file; chunkservers record leases; faults are recorded by whoever
imposes them. From these come the files' creators, the moments from which a loss of power may take acknowledged bytes
(cluster/swarm/losses.py), and by how much clocks may differ.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cluster.fault_log import FaultHealed, FaultImposed, FaultStruck
from cluster.scenarios.recording import CAUSE, Notebook
from cluster.settings import ClusterSettings
from cluster.swarm.history import History, Kind, Operation
from cluster.swarm.losses import Grant, Hindrance, Losses, PowerCut
from cluster.swarm.steps import Facts
from gfs.settings import ClientSettings
from master.events import ChunkCreated, FileCreated, LeaseGranted
from runtime.events import Record

Records = Sequence[tuple[float, Record]]


@dataclass(slots=True)
class Known:
    """What became known at the end. `unknown`: operations that may have changed a file of which nobody knows who
    created it. Of their paths the judge of contents says nothing."""

    facts: Facts
    creators: dict[int, int] = field(default_factory=dict)  # of the files' ids, which operation
    unknown: list[Operation] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)  # how many faults of each kind


def known_facts(notebook: Notebook, records: Records, settings: ClusterSettings, client: ClientSettings) -> Known:
    """All of it. Writes into the history which file each operation was about, and which files were created."""
    history = notebook.history
    creators = _creators(notebook, records)
    for operation in history.operations:
        _resolve(operation, notebook, creators)
    for operation in history.operations:
        if operation.handle:
            operation.file = history.operation(operation.handle).file
    facts = Facts(
        chunk_bytes=settings.chunk_bytes,
        # What takes more than one mutation is written under a passing name, as are larger pieces.
        write_piece_bytes=min(client.write_piece_bytes, settings.chunk_bytes),
        location_seconds=client.location_seconds,
        handles=_handles(records, creators),
        losses=_losses(records, settings),
        replicas=settings.replicas,
    )
    struck = Counter(what.partition("(")[0] for _, is_begin, what, _ in faults_in(records) if is_begin)
    return Known(facts, creators, list(_unknown(history)), dict(struck))


def _creators(notebook: Notebook, records: Records) -> dict[int, int]:
    """Which operation created the file of an id, as clients were told and as the master recorded it."""
    found = dict(notebook.creators)
    for _, record in records:
        event = record.event
        if isinstance(event, FileCreated) and event.file_id and record.cause.startswith(CAUSE):
            number = int(record.cause.removeprefix(CAUSE))
            found[event.file_id] = number
            operation = notebook.history.operation(number)
            # A file under a passing name is not there yet for anybody else.
            operation.created = operation.created or event.path == operation.path
    return found


def _resolve(operation: Operation, notebook: Notebook, creators: dict[int, int]) -> None:
    if operation.kind in (Kind.CREATE, Kind.WRITE_FILE):
        operation.file = operation.number
    elif operation.kind is Kind.OPEN:
        operation.file = creators.get(notebook.opened.get(operation.number, 0), 0)
        if operation.mode == "ab":
            operation.created = operation.file == operation.number
    shown = notebook.shown.get(operation.number, ())
    operation.seen = tuple(
        type(seen)(seen.path, seen.is_directory, creators.get(identity, 0), seen.length, seen.is_exact, seen.goal)
        for seen, identity in zip(operation.seen, shown, strict=True)
    )


def _unknown(history: History) -> Iterator[Operation]:
    kinds = (Kind.WRITE, Kind.APPEND, Kind.RECORD_APPEND)
    yield from (one for one in history.operations if one.kind in kinds and not one.file)


def _handles(records: Records, creators: dict[int, int]) -> dict[tuple[int, int], tuple[int, ...]]:
    """The chunks that were ever at a place in a file."""
    found: dict[tuple[int, int], dict[int, None]] = {}
    for _, record in records:
        event = record.event
        if isinstance(event, ChunkCreated) and event.file_id in creators:
            found.setdefault((creators[event.file_id], event.index), {})[event.handle] = None
    return {place: tuple(handles) for place, handles in found.items()}


def _losses(records: Records, settings: ClusterSettings) -> Losses:
    """What losses of power were allowed to take. What a disk loses by damage or an error counts as if by one."""
    grants = [
        Grant(moment, record.event.handle, (record.event.primary, *record.event.secondaries))
        for moment, record in records
        if isinstance(record.event, LeaseGranted)
    ]
    cuts, hindrances = list[PowerCut](), list[Hindrance]()
    begun: dict[tuple[str, str], float] = {}
    for moment, is_begin, what, nodes in faults_in(records):
        for node in nodes:
            if is_begin and re.match(_LOSING, what):
                cuts.append(PowerCut(moment, node))
            if is_begin:
                begun.setdefault((what, node), moment)
            elif (since := begun.pop((what, node), None)) is not None and re.match(_HINDERING, what):
                hindrances.append(Hindrance(since, moment, node))
                cuts += [PowerCut(moment, node)] if re.match(_LOSING, what) else []
    return Losses(settings.durability, grants, cuts, hindrances)


_LOSING = "PowerCut|EmptyDisk|Rotten|Torn|DiskTrouble|OperationFails|Damage"
_HINDERING = "Pause|DiskTrouble|OperationFails|Kill"


def faults_in(records: Records) -> Iterator[tuple[float, bool, str, list[str]]]:
    """The faults of a run: when, whether one begins or ends, what (as it is written in a plan), at which nodes."""
    for moment, record in records:
        event = record.event
        if isinstance(event, FaultImposed | FaultStruck | FaultHealed):
            yield moment, not isinstance(event, FaultHealed), event.what, event.nodes.split(", ")
