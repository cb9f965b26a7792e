"""Everything that survives a restart of the master, and the one way in which it changes (GFS 2.6).

The problem. After a crash the log is replayed, and must lead to the same state as the one that clients were told of.
If the running master changed its tables in one place and replayed records in another, the two would drift apart.

The idea. `MasterState.apply(record)` is the only thing that changes the persistent state, at run time and in recovery
alike. It is pure (no clock, no chance, no waiting) and cannot refuse: whatever may go wrong was checked before the
record was written.

Invariants: (1) every chunk belongs to exactly one file, and has its file's goal; (2) a chunk is marked deleted exactly
if its file has a hidden name; (3) handles and file ids are different numbers below the reserved limit; (4) hidden names
carry stamps up to the last.
"""

from dataclasses import dataclass

from master import paths
from master.chunk_table import ChunkTable
from master.namespace import DirectoryEntry, Namespace
from master.prefix_table import PrefixTable
from master.records import (
    AdmissionAttempted,
    AdmissionConfirmed,
    ChunkAllocated,
    DirectoriesMade,
    EntryMoved,
    EntryRemoved,
    EpochBegun,
    FileCreated,
    FileSystemFounded,
    FileWithChunkCreated,
    GoalChanged,
    HandlesReserved,
    LogOpened,
    NamespaceFounded,
    Record,
    ReplicaAdded,
    ServerJoined,
    TenureBegun,
    VersionAttempted,
    VersionConfirmed,
)
from master.requests import RequestTable
from runtime.errors import Corrupted

TENURES_KEPT = 256
"""A master that was away for longer gets the whole state."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The small facts of a snapshot."""

    files: int
    directories: int
    hidden_files: int
    handle_limit: int
    last_stamp: int
    namespace: int
    epoch: int
    chunk_bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The persistent state at one moment. Immutable parts are shared with the living state, so taking one is quick."""

    totals: Totals
    servers: tuple[str, ...]
    leaves: list[bytes]
    segments: list[bytes]
    attempted: dict[int, int]
    admissions: list[tuple[int, int]]
    groups: list[tuple[str, ...]]
    requests: list[tuple[int, int, int, int]]
    tenures: list[tuple[int, int]]


class MasterState:
    """The persistent state, and beside it the soft facts that live in the same chunk table."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self.chunks = ChunkTable()
        self.servers: dict[str, None] = {}  # names of all chunkservers that ever joined, in that order
        self.requests = RequestTable()
        self.identity = 0  # the namespace's number; 0 before it is founded
        self.chunk_bytes = 0  # of all files; 0 if an older program has founded the namespace, and did not say
        self.epoch = 0
        self.tenures: list[tuple[int, int]] = []  # of several masters: the last epochs, and where in the log each began
        self.handle_limit = self.chunks.next_handle
        self.last_stamp = 0  # of the hidden names that records made
        self._given_stamp = 0  # the last that was given out; its record may not be in the log yet, or never come there

    def apply(self, record: Record) -> list[int]:
        """Change the state as the record says; returns the handles of chunks that were forgotten."""
        forgotten: list[int] = []
        match record:
            case NamespaceFounded():
                self.identity = record.namespace
            case FileSystemFounded():
                self.identity, self.chunk_bytes = record.namespace, record.chunk_bytes
            case EpochBegun():
                self.epoch = max(self.epoch, record.epoch)
            case TenureBegun():
                self.epoch = max(self.epoch, record.epoch)
                self.tenures = [*self.tenures, (record.epoch, record.sequence)][-TENURES_KEPT:]
            case FileCreated():
                self.namespace.create(
                    record.path,
                    goal=record.goal,
                    created_microseconds=record.created_microseconds,
                    file_id=record.file_id,
                )
                self._note_request(record, record.file_id)
            case FileWithChunkCreated():
                self.namespace.create(
                    record.path,
                    goal=record.goal,
                    created_microseconds=record.created_microseconds,
                    file_id=record.file_id,
                    handles=(record.handle,),
                )
                self.chunks.create(record.handle, goal=record.goal, version=1, members=record.members)
                self._note_request(record, record.file_id)
            case DirectoriesMade():
                for path in record.paths:
                    self.namespace.make_directory(path, created_microseconds=record.created_microseconds)
                self._note_request(record, 0)
            case EntryMoved():
                if record.replaced:
                    self._move(record.target, record.replaced)
                self._move(record.source, record.target)
                self._note_request(record, record.answer)
            case EntryRemoved():
                forgotten = self.namespace.remove(record.path)
                for handle in forgotten:
                    self.chunks.forget(handle)
                self._note_request(record, record.answer)
            case GoalChanged():
                self.namespace.set_goal(record.path, record.goal)
                for handle in self.namespace.file(record.path).handles:
                    self.chunks.set_goal(handle, record.goal)
                self._note_request(record, record.answer)
            case HandlesReserved():
                self.handle_limit = max(self.handle_limit, record.limit)
            case ChunkAllocated():
                goal = self.namespace.file(record.path).goal
                self.namespace.append_chunk(record.path, record.handle)
                self.chunks.create(record.handle, goal=goal, version=record.version, members=record.members)
            case VersionAttempted() | AdmissionAttempted():
                if record.handle in self.chunks:
                    is_admission = isinstance(record, AdmissionAttempted)
                    self.chunks.attempt(record.handle, record.version, is_admission=is_admission)
            case VersionConfirmed() | AdmissionConfirmed():
                if record.handle in self.chunks and record.version > self.chunks.version(record.handle):
                    self.chunks.confirm(record.handle, record.version, record.members)
                if isinstance(record, AdmissionConfirmed):
                    self._note_request(record, record.version)
            case ReplicaAdded():
                if record.handle in self.chunks:
                    self.chunks.add_member(record.handle, record.server)
            case ServerJoined():
                self.servers[record.server] = None
            case LogOpened():
                pass
        return forgotten

    def finish_recovery(self) -> None:
        """After the last record: no handle that may have been sent out is given again."""
        self.chunks.next_handle = max(self.chunks.next_handle, self.handle_limit)

    def unused_stamp(self, now_microseconds: int) -> int:
        """A moment for a hidden name that no other has: now, or just behind the last. (Replay repeats the names.)

        Only the record changes what a snapshot holds: a full disk may refuse it, and then a replay does not know of it.
        """
        self._given_stamp = max(now_microseconds, self._given_stamp + 1, self.last_stamp + 1)
        return self._given_stamp

    def snapshot(self) -> Snapshot:
        """The state as of now; later changes do not show in it."""
        names = self.namespace
        totals = Totals(
            names.files,
            names.directories,
            names.hidden_files,
            self.handle_limit,
            self.last_stamp,
            self.identity,
            self.epoch,
            self.chunk_bytes,
        )
        segments, attempted, admissions, groups = self.chunks.snapshot()
        requests = list(self.requests.rows())
        leaves = names.table.snapshot()
        servers, tenures = tuple(self.servers), list(self.tenures)
        return Snapshot(totals, servers, leaves, segments, attempted, admissions, groups, requests, tenures)

    @classmethod
    def restored(cls, snapshot: Snapshot) -> "MasterState":
        """The state that a snapshot was taken of. Raises Corrupted if the parts do not fit together."""
        state, totals = cls(), snapshot.totals
        state.namespace = Namespace(PrefixTable.from_leaves(snapshot.leaves))
        state.namespace.files = totals.files
        state.namespace.directories = totals.directories
        state.namespace.hidden_files = totals.hidden_files
        if not isinstance(state.namespace.find("/"), DirectoryEntry):
            raise Corrupted("the namespace in a checkpoint has no root directory")
        state.chunks.load_groups(snapshot.groups)
        for segment in snapshot.segments:
            state.chunks.load_segment(segment)
        state.chunks.load_attempted(snapshot.attempted, snapshot.admissions)
        state.requests = RequestTable.from_rows(snapshot.requests)
        state.chunks.next_handle = state.handle_limit = totals.handle_limit
        state.servers = dict.fromkeys(snapshot.servers)
        state.last_stamp = totals.last_stamp
        state.tenures = list(snapshot.tenures)
        state.identity, state.epoch, state.chunk_bytes = totals.namespace, totals.epoch, totals.chunk_bytes
        return state

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold. Reads everything."""
        self.namespace.check_invariants()
        self.chunks.check_invariants()
        self.requests.check_invariants()
        owned: set[int] = set()
        ids: set[int] = set()
        for path, file in self.namespace.files_in("/"):
            assert 0 < file.file_id < self.handle_limit and file.file_id not in ids, f"{path} has another file's id"
            ids.add(file.file_id)
            for handle in file.handles:
                assert handle not in owned, f"chunk {handle:#x} belongs to two files"
                owned.add(handle)
                chunk = self.chunks.chunk(handle)
                assert chunk.goal == file.goal, f"chunk {handle:#x} of {path} has goal {chunk.goal}"
                assert chunk.is_deleted == paths.is_hidden(path), f"chunk {handle:#x} of {path}: wrong deleted mark"
                assert handle < self.handle_limit
            assert not paths.is_hidden(path) or paths.deleted_at(path.split("/", 3)[2]) <= self.last_stamp
        assert owned == set(self.chunks.handles()), "a chunk belongs to no file"

    def _note_request(
        self,
        record: FileCreated
        | FileWithChunkCreated
        | DirectoriesMade
        | EntryMoved
        | EntryRemoved
        | GoalChanged
        | AdmissionConfirmed,
        answer: int,
    ) -> None:
        self.requests.note(client=record.client, number=record.number, oldest=record.oldest, answer=answer)

    def _move(self, source: str, target: str) -> None:
        if paths.is_hidden(target):
            self.last_stamp = max(self.last_stamp, paths.deleted_at(target))
        if paths.is_hidden(source) != paths.is_hidden(target):
            for _, file in self.namespace.files_in(source):
                for handle in file.handles:
                    self.chunks.set_deleted(handle, paths.is_hidden(target))
        self.namespace.move(source, target)
