"""All disks and memories in view: the only module of the swarm that knows what is inside of the servers.

A judge sees what no client sees: which file a path really named, which servers hold which replica, and what their disks
would hold after a power cut. Faults that destroy copies ask here first whether another good copy exists.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import crc32c

from chunkserver.events import LeaseReceived
from chunkserver.storage import chunk_files
from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_format import decode_metadata
from chunkserver.storage.identity import IDENTITY, boot_number, decode_identity
from cluster.placement import Placement
from cluster.simulated import SimulatedCluster
from cluster.swarm.copies import Copy, copy_of, root_of
from cluster.swarm.names import PASSING
from master.events import (
    ChunkCopied,
    ChunkCreated,
    EntryRenamed,
    FileCreated,
    LeaseAdopted,
    LeaseGranted,
    ReplicaAdmitted,
    RequestRepeated,
    SnapshotPrepared,
)
from runtime.errors import NotFound, TabletopError
from runtime.events import Record
from runtime.simulated.disk import SimulatedDisk

CAUSE = "operation-"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as it lies on a disk. `stable` is what a power cut would leave of `data`."""

    server: str
    handle: int
    version: int
    length: int
    data: bytes
    stable: bytes
    is_readable: bool = True
    is_sound: bool = True  # every header can be read, and every block matches its checksum


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Which file a chunk belongs to."""

    file: int
    index: int
    time: float


class Insight:
    """Listens to all records, and looks into servers and disks."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._placement = Placement(cluster)
        self.files: dict[int, int] = {}  # what the master calls a file -> the number of the operation that created it
        self.created: dict[int, None] = {}  # operations that created a file
        self.creating: dict[int, None] = {}  # operations that may create one
        self.admitted: dict[int, int] = {}  # how often an operation had a replica admitted
        # What an operation brought back from the trash: paths below its target, and what the master calls the files.
        self.restored: dict[int, tuple[tuple[str, int], ...]] = {}
        self.chunks: dict[int, ChunkPlace] = {}
        self.copies: dict[int, Copy] = {}  # the files that snapshots made, or were about to make
        self._shared: dict[tuple[int, int], int] = {}  # (file, index) of a copy -> the chunk that it was made with
        self.grants: list[tuple[float, LeaseGranted]] = []
        self._received: dict[tuple[int, int, str], tuple[float, LeaseGranted]] = {}

    # Listening.

    def hear(self, time: float, record: Record) -> None:
        """Take note of a record."""
        event = record.event
        if isinstance(event, FileCreated) and record.cause.startswith(CAUSE):
            number = int(record.cause.removeprefix(CAUSE))
            self.created[number] = None
            entry = self._entry(event.path)
            if entry is not None:
                self.files[identity_of(entry)] = number
        elif isinstance(event, ChunkCreated):
            entry = self._entry(event.path)
            if entry is not None:
                self.chunks[event.handle] = ChunkPlace(self.files.get(identity_of(entry), 0), event.index, time)
        elif isinstance(event, SnapshotPrepared) and record.cause.startswith(CAUSE):
            self._note_snapshot(int(record.cause.removeprefix(CAUSE)), event, time)
        elif isinstance(event, ChunkCopied):
            entry = self._entry(event.path)
            if entry is not None:
                self.chunks[event.handle] = ChunkPlace(self.files.get(identity_of(entry), 0), event.index, time)
        elif isinstance(event, RequestRepeated) and record.cause.startswith(CAUSE):
            self._note_repetition(int(record.cause.removeprefix(CAUSE)), event)
        elif isinstance(event, ReplicaAdmitted) and record.cause.startswith(CAUSE):
            number = int(record.cause.removeprefix(CAUSE))
            self.admitted[number] = self.admitted.get(number, 0) + 1
        elif isinstance(event, EntryRenamed) and event.source.startswith("/.deleted/"):
            if record.cause.startswith(CAUSE):
                self.note_restored(int(record.cause.removeprefix(CAUSE)), event.target)
        elif isinstance(event, LeaseGranted):
            self.grants.append((time, event))
            self._place(event.handle, time)
        elif isinstance(event, LeaseReceived):
            granted = LeaseGranted(event.handle, event.version, record.node, event.secondaries)
            self._received.setdefault((event.handle, event.version, record.node), (time, granted))
        elif isinstance(event, LeaseAdopted):
            # The master that granted it may have died before it said so.
            received = self._received.get((event.handle, event.version, event.primary))
            if received is not None:
                self.grants.append(received)
                self.grants.sort(key=lambda grant: grant[0])
                self._place(event.handle, received[0])

    def file_of(self, facts: Any) -> int:
        """The number of the operation that created what a FileStatus, or an open file, is about; 0 if unknown."""
        return self.files.get(identity_of(facts), 0)

    def note_restored(self, number: int, target: str) -> None:
        """An operation has just brought something back to this path; it may be known already. (The master may die
        before it tells of it: then its client says so, which has the answer from the log.)"""
        core = self.core()
        if core is None or number in self.restored:
            return
        names = core.state.namespace
        here = [(target, names.find(target)), *names.descendants(target, after="", limit=10_000)]
        found = ((path, identity_of(entry) if hasattr(entry, "file_id") else 0) for path, entry in here)
        kept = ((path[len(target) :], identity) for path, identity in found if PASSING not in path)
        self.restored[number] = tuple(kept)

    def restored_by(self, number: int) -> tuple[tuple[str, int], ...]:
        """What an operation brought back: paths below its target, with the number of the operation that created each
        file, or, if nobody told of that, a negative number of its own; 0 for a directory."""
        return tuple(
            (below, self.files.get(identity, -identity) if identity else 0) for below, identity in self.restored[number]
        )

    def _note_repetition(self, number: int, event: RequestRepeated) -> None:
        """A creation was found in the log, and its client has the file's number now; the master that wrote it down died
        before it told of it."""
        core = self.core()
        answer = None if core is None else core.state.requests.answer(event.client, event.number)
        known = self.files.get(answer or 0)
        # A snapshot that never came to be may have been promised the number.
        if answer and number in self.creating and (known is None or known != root_of(known)):
            self.files[answer] = number
            self.created[number] = None

    def _note_snapshot(self, number: int, event: SnapshotPrepared, time: float) -> None:
        """What the source holds now is what the copies will hold, whoever of the masters makes them."""
        core = self.core()
        found = [] if core is None else core.state.namespace.files_in(event.source)
        for rank, (_, entry) in enumerate(found):
            source = self.files.get(identity_of(entry), 0)
            if source:
                copy = self.files[event.first_file_id + rank] = copy_of(source, number)
                self.copies[copy] = Copy(copy, source, time)
                self._shared.update({(copy, index): handle for index, handle in enumerate(entry.handles)})

    def handles(self) -> dict[tuple[int, int], tuple[int, ...]]:
        """The chunks that were ever at a place in a file, the last one at the end."""
        found = {place: {handle: None} for place, handle in self._shared.items()}
        for handle, place in self.chunks.items():
            if place.file:
                found.setdefault((place.file, place.index), {})[handle] = None
        return {place: tuple(sorted(handles)) for place, handles in found.items()}

    def _place(self, handle: int, time: float) -> None:
        """A chunk whose creation nobody told of: which file has it?"""
        core, known = self.core(), self.chunks.get(handle)
        if core is None or (known is not None and known.file):
            return
        for _, file in core.state.namespace.files_in("/"):
            if handle in file.handles:
                self.chunks[handle] = ChunkPlace(self.file_of(file), list(file.handles).index(handle), time)

    def _entry(self, path: str) -> Any:
        core = self.core()
        return None if core is None else core.state.namespace.find(path)

    # Memories.

    def core(self) -> Any:
        """The living master's memory, or None."""
        server: Any = self._cluster.acting_master()
        return None if server is None else server.core

    def check_invariants(self, node: str) -> str:
        """What is wrong in a server's memory; "" if nothing is."""
        server: Any = self._cluster.server(node)
        if server is None:
            return ""
        try:
            server.check_invariants()
        except AssertionError as error:
            return f"{node}: {error or 'an invariant does not hold'}"
        return ""

    def hidden_chunks(self) -> set[int]:
        """Handles of chunks of deleted files that are kept for a while."""
        core = self.core()
        return {handle for handle in core.state.chunks.handles() if core.state.chunks.chunk(handle).is_deleted}

    def known_chunks(self) -> set[int]:
        """Handles of all chunks that the living master knows."""
        core = self.core()
        return set() if core is None else set(core.state.chunks.handles())

    def removal_seconds(self) -> float:
        """For how long an order to remove a replica holds; 0.0 if no master lives."""
        core = self.core()
        return 0.0 if core is None else float(core.removal_seconds)

    # Disks.

    def replicas_on(self, server: str) -> dict[int, Replica]:
        """Every replica on one server's disk."""
        disk = self._disk(server)
        found: dict[int, Replica] = {}
        for path in disk.paths():
            if path.startswith(chunk_files.CHUNKS + "/") and path.endswith(".meta"):
                handle = int(path.rpartition("/")[2].removesuffix(".meta"), 16)
                found[handle] = self._replica(disk, server, handle)
        return found

    def _replica(self, disk: SimulatedDisk, server: str, handle: int) -> Replica:
        try:
            content = disk.content(chunk_files.data_path(handle))
            data, stable = bytes(content.cached), bytes(content.stable)
        except NotFound:
            data = stable = b""
        try:
            raw = bytes(disk.content(chunk_files.metadata_path(handle)).cached)
            boot = boot_number(self._cluster.simulation.world(server).boot_id())
            found = decode_metadata(raw, handle, boot=boot, data_bytes=len(data))
        except TabletopError:
            return Replica(server, handle, 0, 0, data, stable, is_readable=False, is_sound=False)
        version, length = found.header.version, found.header.length
        is_sound = not found.unreadable and not found.is_unsure and _matches(data[:length], length, found.checksums)
        return Replica(server, handle, version, length, data[:length], stable[:length], is_sound=is_sound)

    def sound_holders(self, handle: int, version: int) -> tuple[str, ...]:
        """The servers whose disk has a sound replica of a chunk at this version, or at a later number that a raise
        which failed has given it."""
        core = self.core()
        latest = core.state.chunks.attempted(handle) if core is not None and handle in core.state.chunks else version
        found = []
        for server in self._cluster.settings.chunkserver_names():
            replica = self._replica(self._disk(server), server, handle)
            if replica.is_sound and version <= replica.version <= latest:
                found.append(server)
        return tuple(found)

    def lacking(self, file: int, index: int, begin: int, data: bytes) -> tuple[str, ...]:
        """The servers whose sound replica of a file's chunk, of the version of the last lease or a later one, does not
        hold these bytes at this place."""
        handles = self.handles().get((file, index), ())[-1:]
        versions = [grant.version for _, grant in self.grants if grant.handle in handles]
        found = []
        for server in self._cluster.settings.chunkserver_names():
            for handle in handles:
                replica = self._replica(self._disk(server), server, handle)
                is_to_have_it = replica.is_sound and replica.version >= max(versions, default=1)
                if is_to_have_it and replica.data[begin : begin + len(data)] != data:
                    found.append(server)
        return tuple(found)

    def other_files(self, server: str) -> list[str]:
        """Files on a chunkserver's disk that belong to no replica: half-made copies and the like."""
        replicas = self.replicas_on(server)
        return [path for path in self._disk(server).paths() if not _is_expected(path, replicas)]

    def put_aside_on(self, server: str, handle: int) -> int:
        """How many times files of this chunk lie in the server's folder for what it cannot make sense of."""
        stem = f"{chunk_files.ASIDE}/{handle:016x}."
        names = [path.rpartition(".")[0] for path in self._disk(server).paths() if path.startswith(stem)]
        return len(set(names))

    def handle_at(self, path: str, index: int) -> int:
        """The chunk at a place in a file; 0 if nobody knows of one."""
        found = self._placement.chunk(path, index)
        return 0 if found is None else found.handle

    def handles_of(self, path: str) -> tuple[int, ...]:
        """The chunks of a file, as the master knows them."""
        return tuple(getattr(self._entry(path), "handles", ()))

    def may_destroy(self, server: str, handles: list[int] | None, troubled: Collection[str]) -> bool:
        """Whether other servers, which are well and not in trouble, hold good and stable copies of these chunks (None:
        of all on this server)."""
        core = self.core()
        if core is None:
            return False
        names = [node for node in self._cluster.settings.chunkserver_names() if node not in (server, *troubled)]
        here = self.replicas_on(server)
        others = [self.replicas_on(node) for node in names if self.is_well(node)]
        for handle in here if handles is None else handles:
            if handle not in core.state.chunks or handle not in here:
                continue
            if not any(handle in other and _is_as_good(other[handle], here[handle]) for other in others):
                return False
        return True

    def others_take_chunks(self, server: str, troubled: Collection[str]) -> bool:
        """Whether the master knows of other servers, which are well and not in trouble, for new chunks."""
        core = self.core()
        if core is None:
            return False
        out = (server, *troubled, *core.state.draining)
        names = [other.name for other in core.servers.alive() if other.name not in out]
        return any(self.is_well(name) for name in names)

    def belongs_to_a_namespace(self, server: str) -> bool:
        """Whether a master has answered a registration of this server's folder."""
        try:
            content = self._disk(server).content(IDENTITY)
            return decode_identity(bytes(content.cached)).namespace != 0
        except TabletopError:
            return False

    def is_well(self, node: str) -> bool:
        """Whether a server serves, and does not stand still."""
        return self._cluster.server(node) is not None and not self._cluster.simulation.world(node).life.paused

    def _disk(self, node: str) -> SimulatedDisk:
        return self._cluster.simulation.world(node).simulated_disk


def identity_of(facts: Any) -> int:
    """What names a file for ever: its id, or for want of one the microsecond of its creation."""
    found = getattr(facts, "file_id", 0) or getattr(facts, "created_microseconds", 0)
    return int(found)


def _matches(data: bytes, length: int, checksums: list[int]) -> bool:
    blocks = [data[begin : begin + BLOCK_BYTES] for begin in range(0, length, BLOCK_BYTES)]
    return len(data) == length and [crc32c.crc32c(block) for block in blocks] == checksums


def _is_as_good(other: Replica, mine: Replica) -> bool:
    if not other.is_sound or other.version < mine.version or other.length < mine.length:
        return False
    if other.stable != other.data or len(other.data) != other.length:
        return False
    return other.version > mine.version or other.data == mine.data or not mine.is_readable


def _is_expected(path: str, replicas: dict[int, Replica]) -> bool:
    if path.startswith(chunk_files.CHUNKS + "/"):
        return chunk_files.handle_of(path.rpartition("/")[2]) in replicas
    # What was put aside stays for ever: only a person may delete it.
    return not path.startswith((chunk_files.INCOMING + "/", chunk_files.REMOVING + "/"))
