"""Everything that survives a restart of the master, and the one way in which it changes (GFS 2.6).

The problem. After a crash the log is replayed, and must lead to the same state as the one that clients were told of.
If the running master changed its tables in one place and replayed records in another, the two would drift apart.

The idea. `MasterState.apply(record)` is the only thing that changes the persistent state, at run time and in recovery
alike. It is pure (no clock, no chance, no waiting) and cannot refuse: whatever may go wrong was checked before the
record was written.

Invariants: (1) every chunk belongs to a file, or to several, which share it; (2) it knows how many they are, which
goals they have and which of them have hidden names, and is frozen if they are more than one; (3) handles and file ids
are different numbers below the reserved limit; (4) hidden names carry stamps up to the last; (5) policies belong to
directories, and origins to entries; (6) a server that is to leave is one that has joined.
"""

from dataclasses import dataclass, field
from typing import get_args

from master.chunks.chunk_table import ChunkTable
from master.chunks.sharing import Owner, Owners, Sharings, with_owner
from master.log.records import (
    AdmissionAttempted,
    AdmissionConfirmed,
    ChunkAllocated,
    ChunkReplaced,
    DirectoriesMade,
    DrainChanged,
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
    PolicySet,
    Record,
    ReplicaAdded,
    SafeModeSet,
    ServerJoined,
    ServerRemoved,
    SnapshotTaken,
    SnapshotTakenAt,
    TenureBegun,
    VersionAttempted,
    VersionConfirmed,
)
from master.log.requests import RequestTable
from master.namespace import paths
from master.namespace.hidden_names import deleted_at, hidden_name
from master.namespace.namespace import DirectoryEntry, Namespace
from master.namespace.origins import Origin, Origins
from master.namespace.policies import Policies, Policy
from master.namespace.prefix_table import PrefixTable
from runtime.errors import Corrupted

TENURES_KEPT = 256
"""A master that was away for longer gets the whole state."""
_OfNames = (
    FileCreated
    | FileWithChunkCreated
    | DirectoriesMade
    | EntryMoved
    | EntryRemoved
    | GoalChanged
    | SnapshotTaken
    | PolicySet
)
_OfChunks = (
    ChunkAllocated
    | ChunkReplaced
    | VersionAttempted
    | VersionConfirmed
    | AdmissionAttempted
    | AdmissionConfirmed
    | ReplicaAdded
)
_OF_NAMES, _OF_CHUNKS = get_args(_OfNames), get_args(_OfChunks)


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
    sharings: Sharings = field(default_factory=Sharings)
    policies: tuple[tuple[str, Policy], ...] = ()
    safe_mode: bool = False
    tenures: tuple[tuple[int, int], ...] = ()
    draining: tuple[str, ...] = ()
    origins: tuple[tuple[str, Origin], ...] = ()


class MasterState:
    """The persistent state, and beside it the soft facts that live in the same chunk table."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self.chunks = ChunkTable()
        self.servers: dict[str, None] = {}  # names of all chunkservers that ever joined, in that order
        self.draining: dict[str, None] = {}  # those of them that an operator wants to leave
        self.requests = RequestTable()
        self.policies = Policies()
        self.origins = Origins()  # of what the snapshots were taken
        self.safe_mode = False  # entered by an operator, and not left since
        self.identity = 0  # the namespace's number; 0 before it is founded
        self.chunk_bytes = 0  # of all files; 0 if an older program has founded the namespace, and did not say
        self.epoch = 0
        self.tenures: list[tuple[int, int]] = []  # of several masters: the last epochs, and where in the log each began
        self.handle_limit = self.chunks.next_handle
        self.last_stamp = 0  # of the hidden names that records made
        self._given_stamp = 0  # the last that was given out; its record may not be in the log yet, or never come there

    def apply(self, record: Record) -> list[int]:
        """Change the state as the record says; returns the handles of chunks that were forgotten."""
        if isinstance(record, _OF_NAMES):
            return self._change_names(record)
        if isinstance(record, _OF_CHUNKS):
            return self._change_chunks(record)
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
            case SafeModeSet():
                self.safe_mode = record.is_on == 1
                self._note_request(record, 0)
            case HandlesReserved():
                self.handle_limit = max(self.handle_limit, record.limit)
            case ServerJoined():
                self.servers[record.server] = None
            case DrainChanged():
                self.draining.pop(record.server, None)
                if record.is_draining:
                    self.draining[record.server] = None
            case ServerRemoved():
                self.servers.pop(record.server, None)
                self.draining.pop(record.server, None)
            case LogOpened():
                pass
        return []

    def _change_names(self, record: _OfNames) -> list[int]:
        forgotten: list[int] = []
        match record:
            case FileCreated() | FileWithChunkCreated():
                handles = (record.handle,) if isinstance(record, FileWithChunkCreated) else ()
                self.namespace.create(
                    record.path,
                    goal=record.goal,
                    created_microseconds=record.created_microseconds,
                    file_id=record.file_id,
                    handles=handles,
                )
                if isinstance(record, FileWithChunkCreated):
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
                forgotten = self._remove(record.path)
                self.policies.forget(record.path)
                self.origins.forget(record.path)
                self._note_request(record, record.answer)
            case GoalChanged():
                self._set_goal(record.path, record.goal)
                self._note_request(record, record.answer)
            case SnapshotTaken():
                self.handle_limit = max(self.handle_limit, record.first_file_id + record.answer)
                copied = self.namespace.copy(record.source, record.target, first_file_id=record.first_file_id)
                for goal, shared in copied.items():
                    self.chunks.share(shared, Owner(goal))
                self.policies.copy(record.source, record.target)
                taken = record.taken_microseconds if isinstance(record, SnapshotTakenAt) else 0
                origin = Origin(record.source, taken, record.first_file_id, record.answer)
                self.origins.set(record.target, origin)
                self._note_request(record, record.answer)
            case PolicySet():
                trash = record.trash_seconds if record.has_trash else None
                self.policies.set(record.path, Policy(record.goal, trash))
                self._note_request(record, 0)
        return forgotten

    def _change_chunks(self, record: _OfChunks) -> list[int]:
        forgotten: list[int] = []
        match record:
            case ChunkAllocated():
                goal = self.namespace.file(record.path).goal
                self.namespace.append_chunk(record.path, record.handle)
                self.chunks.create(record.handle, goal=goal, version=record.version, members=record.members)
            case ChunkReplaced():
                forgotten = self._replace_chunk(record)
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

    def hidden_name(self, path: str, now_microseconds: int, *, trash_seconds: float) -> str:
        """Where the entry at a path goes when it is deleted now; `trash_seconds` is how long the cluster keeps things.
        Not given out twice."""
        kept = self.policies.kept_seconds(path, default=trash_seconds)
        return hidden_name(path, self.unused_stamp(now_microseconds), kept)

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
        return Snapshot(
            totals,
            tuple(self.servers),
            leaves,
            segments,
            attempted,
            admissions,
            groups,
            requests,
            self.chunks.sharings.copy(),
            policies=tuple(self.policies.items()),
            safe_mode=self.safe_mode,
            draining=tuple(self.draining),
            tenures=tuple(self.tenures),
            origins=tuple(self.origins.items()),
        )

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
        state.chunks.sharings = snapshot.sharings
        state.requests = RequestTable.from_rows(snapshot.requests)
        state.chunks.next_handle = state.handle_limit = totals.handle_limit
        state.servers = dict.fromkeys(snapshot.servers)
        state.draining = dict.fromkeys(snapshot.draining)
        state.last_stamp = totals.last_stamp
        state.tenures = list(snapshot.tenures)
        for path, policy in snapshot.policies:
            state.policies.set(path, policy)
        for path, origin in snapshot.origins:
            state.origins.set(path, origin)
        state.safe_mode = snapshot.safe_mode
        state.identity, state.epoch, state.chunk_bytes = totals.namespace, totals.epoch, totals.chunk_bytes
        return state

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold. Reads everything."""
        self.namespace.check_invariants()
        self.chunks.check_invariants()
        self.requests.check_invariants()
        owned: dict[int, Owners] = {}
        assert all(name in self.servers for name in self.draining), f"unknown servers are to leave: {self.draining}"
        ids: set[int] = set()
        for path, file in self.namespace.files_in("/"):
            assert 0 < file.file_id < self.handle_limit and file.file_id not in ids, f"{path} has another file's id"
            ids.add(file.file_id)
            for handle in file.handles:
                owned[handle] = with_owner(owned.get(handle, ()), Owner(file.goal, paths.is_hidden(path)))
                assert handle < self.handle_limit
            assert not paths.is_hidden(path) or deleted_at(path) <= self.last_stamp
        for path, _ in self.policies.items():
            assert isinstance(self.namespace.find(path), DirectoryEntry), f"a policy for {path}, which is no directory"
        for path, _ in self.origins.items():
            assert self.namespace.find(path) is not None, f"a snapshot at {path}, where nothing is"
        for handle, owners in owned.items():
            assert self.chunks.owners(handle) == owners, f"chunk {handle:#x}: {self.chunks.owners(handle)}, {owners}"
        assert owned.keys() == set(self.chunks.handles()), "a chunk belongs to no file"

    def _note_request(
        self,
        record: FileCreated
        | FileWithChunkCreated
        | DirectoriesMade
        | EntryMoved
        | EntryRemoved
        | GoalChanged
        | AdmissionConfirmed
        | PolicySet
        | SafeModeSet
        | SnapshotTaken,
        answer: int,
    ) -> None:
        self.requests.note(client=record.client, number=record.number, oldest=record.oldest, answer=answer)

    def _move(self, source: str, target: str) -> None:
        if paths.is_hidden(target):
            self.last_stamp = max(self.last_stamp, deleted_at(target))
        if paths.is_hidden(source) != paths.is_hidden(target):
            for _, file in self.namespace.files_in(source):
                before, after = Owner(file.goal, paths.is_hidden(source)), Owner(file.goal, paths.is_hidden(target))
                for handle in file.handles:
                    self.chunks.change_owner(handle, before, after)
        self.namespace.move(source, target)
        self.policies.move(source, target)
        self.origins.move(source, target)

    def _remove(self, path: str) -> list[int]:
        """Forget an entry and all below it; returns the chunks that belong to no file any more."""
        forgotten: list[int] = []
        for file in self.namespace.remove(path):
            owner = Owner(file.goal, paths.is_hidden(path))
            forgotten += [handle for handle in file.handles if self.chunks.release(handle, owner)]
        return forgotten

    def _set_goal(self, path: str, goal: int) -> None:
        file, is_hidden = self.namespace.file(path), paths.is_hidden(path)
        self.namespace.set_goal(path, goal)
        for handle in file.handles:
            self.chunks.change_owner(handle, Owner(file.goal, is_hidden), Owner(goal, is_hidden))

    def _replace_chunk(self, record: ChunkReplaced) -> list[int]:
        """Give a file another chunk; returns the one before, if that belongs to no file any more."""
        goal = self.namespace.file(record.path).goal
        before = self.namespace.replace_chunk(record.path, record.index, record.handle)
        self.chunks.create(record.handle, goal=goal, version=record.version, members=record.members)
        return [before] if self.chunks.release(before, Owner(goal, paths.is_hidden(record.path))) else []
