"""What a client remembers of the master's answers, so that the master stays out of the way of the data (GFS 2.4).

Two caches with different rules, both pure data structures (`now` is an argument):

- `LocationCache`, for readers: (file, chunk index) to handle, version and replicas. An entry lives for a limited time
  and goes when the file is opened again. These two bound how long a reader may look at a stale replica (GFS 2.7.1).
- `LeaseHolderCache`, for writers: (file, chunk index) to the primary and the secondaries. It has no time limit: the
  client asks the master again only when the primary is unreachable or says that it has no lease any more (GFS 3.1).

A file is a `FileIdentity`, so that what was remembered of one file never serves another one under the same path.

Invariants:
1. An entry is found only under the file and index that the master named.
2. At most `most_files` files are remembered; the one that was used longest ago goes first.
3. After `forget(file)`, nothing about that file is found.
4. A chunk to which this client wrote under a version is found only at that version or a later one: a client reads what
   it wrote, and not the replica that missed it, nor the chunk that the file had there before (GFS 3.4). A chunk that
   takes the place of another one has a higher handle.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gfs.names.identity import FileIdentity
from runtime.wire.common_pb2 import ChunkLocations
from runtime.wire.master_pb2 import FileInfo, FindLocationsReply, LeaseHolder

MOST_FILES = 4096
MOST_WRITTEN_CHUNKS = 65536
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the master said of a file, in answer to the question of this number."""

    info: FileInfo
    question: int = 0

    @property
    def chunk_bytes(self) -> int:
        """The size of a chunk."""
        return self.info.chunk_bytes

    @property
    def chunk_count(self) -> int:
        """How many chunks there were."""
        return self.info.chunk_count

    @property
    def length(self) -> int | None:
        """In bytes; None while the last chunks may still grow."""
        return self.info.length if self.info.length_is_settled else None

    @property
    def end(self) -> int:
        """The first offset, in bytes, that the file certainly did not reach when the master was asked."""
        return self.chunk_count * self.chunk_bytes if self.length is None else self.length


class _ByFile(Generic[T]):
    """A map from files, limited in size: what was used longest ago goes first."""

    def __init__(self, most_files: int) -> None:
        self._most_files = most_files
        self._files: dict[FileIdentity, T] = {}

    def get(self, file: FileIdentity) -> T | None:
        value = self._files.pop(file, None)
        if value is not None:
            self._files[file] = value
        return value

    def put(self, file: FileIdentity, value: T) -> None:
        self._files.pop(file, None)
        self._files[file] = value
        while len(self._files) > self._most_files:
            del self._files[next(iter(self._files))]

    def forget(self, file: FileIdentity) -> None:
        self._files.pop(file, None)

    def forget_tree(self, path: str) -> None:
        below = path.rstrip("/") + "/"
        for known in [known for known in self._files if known.path == path or known.path.startswith(below)]:
            del self._files[known]

    def values(self) -> list[T]:
        return list(self._files.values())

    def check_size(self) -> None:
        assert len(self._files) <= self._most_files, f"{len(self._files)} files, at most {self._most_files}"


@dataclass(slots=True)
class _Located:
    facts: FileFacts
    facts_expire: float
    chunks: dict[int, tuple[float, ChunkLocations]] = field(default_factory=dict)
    opened: int = 0  # The last question that opened the file.


class LocationCache:
    """(file, chunk index) to replicas, each for a limited time.

    >>> cache, file = LocationCache(lifetime_seconds=30.0), FileIdentity("/a", 1)
    >>> reply = FindLocationsReply(file=FileInfo(chunk_bytes=64, chunk_count=1), chunks=[ChunkLocations(handle=7)])
    >>> cache.remember(file, reply, now=0.0)
    >>> cache.chunk(file, 0, now=29.0).handle
    7
    >>> cache.chunk(file, 0, now=31.0) is None
    True
    """

    def __init__(self, lifetime_seconds: float, most_files: int = MOST_FILES) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._files: _ByFile[_Located] = _ByFile(most_files)
        self._written: dict[int, int] = {}  # By handle; what was written last is at the end.
        self._writes: _ByFile[int] = _ByFile(most_files)
        self._least: _ByFile[dict[int, int]] = _ByFile(most_files)  # By chunk index: the chunk that was written last.

    def remember(self, file: FileIdentity, reply: FindLocationsReply, now: float, question: int = 0) -> None:
        """Take in the master's answer to a question. Questions are numbered in the order in which they were asked; the
        answer to one that was asked before the file was opened teaches nothing."""
        if self.is_overtaken(file, question):
            return
        expire = now + self._lifetime_seconds
        facts = FileFacts(reply.file, question)
        known = self._files.get(file)
        if known is None:
            known = _Located(facts, expire)
            self._files.put(file, known)
        if question >= known.facts.question:
            known.facts, known.facts_expire = facts, expire
        for chunk in reply.chunks:
            _, other = known.chunks.get(chunk.index, (expire, None))
            if other is None or (other.handle, other.version) <= (chunk.handle, chunk.version):
                known.chunks[chunk.index] = (expire, chunk)

    def open(self, file: FileIdentity, reply: FindLocationsReply, now: float, question: int) -> None:
        """Forget what is known of a file that is being opened (GFS 2.7.1), and take in what the master answers. Answers
        to earlier questions, which may still be under way, teach nothing from now on."""
        self._files.forget(file)
        self.remember(file, reply, now, question)
        if known := self._files.get(file):
            known.opened = question

    def is_overtaken(self, file: FileIdentity, question: int) -> bool:
        """Whether the file was opened after this question was asked."""
        known = self._files.get(file)
        return known is not None and question < known.opened

    def chunk(self, file: FileIdentity, index: int, now: float) -> ChunkLocations | None:
        """Where a chunk is, if that is known and not too old."""
        known = self._files.get(file)
        expire, chunk = known.chunks.get(index, (now, None)) if known else (now, None)
        if chunk is None or now >= expire or chunk.version < self.least_version(chunk.handle):
            return None
        if chunk.handle < self._least_handle(file, index):
            return None
        return chunk

    def facts(self, file: FileIdentity, now: float) -> FileFacts | None:
        """What is known of the file, if not too old."""
        known = self._files.get(file)
        return known.facts if known and now < known.facts_expire else None

    def note_written(self, file: FileIdentity, index: int, handle: int, version: int) -> None:
        """A write of ours was acknowledged under this version: only replicas of at least this version have it."""
        self._writes.put(file, self.writes(file) + 1)
        written = self._least.get(file)
        if written is None:
            written = {}
            self._least.put(file, written)
        written[index] = max(handle, written.get(index, 0))
        version = max(version, self._written.pop(handle, 0))
        self._written[handle] = version
        while len(self._written) > MOST_WRITTEN_CHUNKS:
            del self._written[next(iter(self._written))]

    def writes(self, file: FileIdentity) -> int:
        """A number that changes with each write of ours to the file: what was read ahead before is of no use then."""
        return self._writes.get(file) or 0

    def least_version(self, handle: int) -> int:
        """The version that a replica must have to serve this client's reads; 0 if it wrote nothing there."""
        return self._written.get(handle, 0)

    def _least_handle(self, file: FileIdentity, index: int) -> int:
        return (self._least.get(file) or {}).get(index, 0)

    def forget_chunk(self, file: FileIdentity, index: int) -> None:
        """Ask the master about this chunk next time: its replicas did not serve."""
        if known := self._files.get(file):
            known.chunks.pop(index, None)

    def forget(self, file: FileIdentity) -> None:
        """Ask the master about this file next time: it is being opened (GFS 2.7.1)."""
        self._files.forget(file)

    def forget_tree(self, path: str) -> None:
        """Forget the file, or everything below the directory."""
        self._files.forget_tree(path)

    def check_invariants(self) -> None:
        """Raise AssertionError if the module's invariants do not hold."""
        self._files.check_size()
        self._writes.check_size()
        for known in self._files.values():
            for index, (_, chunk) in known.chunks.items():
                assert chunk.index == index, f"chunk {chunk.index} is remembered as {index}"


class LeaseHolderCache:
    """(file, chunk index) to the chunk's primary and secondaries, until one of them disowns the lease."""

    def __init__(self, most_files: int = MOST_FILES) -> None:
        self._files: _ByFile[dict[int, LeaseHolder]] = _ByFile(most_files)

    def remember(self, file: FileIdentity, holder: LeaseHolder) -> None:
        """Take in an answer of the master."""
        holders = self._files.get(file)
        if holders is None:
            holders = {}
            self._files.put(file, holders)
        holders[holder.index] = holder

    def holder(self, file: FileIdentity, index: int) -> LeaseHolder | None:
        """Who holds the lease, as far as is known."""
        return (self._files.get(file) or {}).get(index)

    def disown(self, file: FileIdentity, holder: LeaseHolder) -> None:
        """This holder did not serve. A newer one, found by somebody else in the meantime, stays."""
        holders = self._files.get(file) or {}
        if holders.get(holder.index) is holder:
            del holders[holder.index]

    def forget(self, file: FileIdentity) -> None:
        """Forget the file."""
        self._files.forget(file)

    def forget_tree(self, path: str) -> None:
        """Forget the file, or everything below the directory."""
        self._files.forget_tree(path)

    def check_invariants(self) -> None:
        """Raise AssertionError if the module's invariants do not hold."""
        self._files.check_size()
        for holders in self._files.values():
            for index, holder in holders.items():
                assert holder.index == index, f"the holder of chunk {holder.index} is remembered for {index}"
