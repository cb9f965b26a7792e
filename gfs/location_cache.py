"""What a client remembers of the master's answers, so that the master stays out of the way of the data (GFS 2.4).

Two caches with different rules, both pure data structures (`now` is an argument):

- `LocationCache`, for readers: (file, chunk index) to handle, version and replicas. An entry lives for a limited time
  and goes when the file is opened again. These two bound how long a reader may look at a stale replica (GFS 2.7.1).
- `LeaseHolderCache`, for writers: (file, chunk index) to the primary and the secondaries. It has no time limit: the
  client asks the master again only when the primary is unreachable or says that it has no lease any more (GFS 3.1).

Invariants:
1. An entry is found only under the file and index that the master named.
2. At most `most_files` files are remembered; the one that was used longest ago goes first.
3. After `forget(path)`, nothing about that file is found.

What we simplify. A file that another client renames or replaces is noticed at the next open or the next error.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from runtime.wire.common_pb2 import ChunkLocations
from runtime.wire.master_pb2 import FileInfo, FindLocationsReply, LeaseHolder

MOST_FILES = 4096
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the master said of a file. `length` is in bytes, None while the last chunk may still grow."""

    chunk_bytes: int
    chunk_count: int
    length: int | None

    @property
    def end(self) -> int:
        """The first offset, in bytes, that the file certainly does not reach."""
        return self.chunk_count * self.chunk_bytes if self.length is None else self.length


def facts_of(file: FileInfo) -> FileFacts:
    """The facts in a FileInfo."""
    return FileFacts(file.chunk_bytes, file.chunk_count, file.length if file.length_is_settled else None)


class _ByFile(Generic[T]):
    """A map from paths, limited in size: what was used longest ago goes first."""

    def __init__(self, most_files: int) -> None:
        self._most_files = most_files
        self._files: dict[str, T] = {}

    def get(self, path: str) -> T | None:
        value = self._files.pop(path, None)
        if value is not None:
            self._files[path] = value
        return value

    def put(self, path: str, value: T) -> None:
        self._files.pop(path, None)
        self._files[path] = value
        while len(self._files) > self._most_files:
            del self._files[next(iter(self._files))]

    def forget(self, path: str) -> None:
        self._files.pop(path, None)

    def forget_tree(self, path: str) -> None:
        below = path.rstrip("/") + "/"
        for known in [known for known in self._files if known == path or known.startswith(below)]:
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


class LocationCache:
    """(file, chunk index) to replicas, each for a limited time.

    >>> cache = LocationCache(lifetime_seconds=30.0)
    >>> reply = FindLocationsReply(file=FileInfo(chunk_bytes=64, chunk_count=1), chunks=[ChunkLocations(handle=7)])
    >>> cache.remember("/a", reply, now=0.0)
    >>> cache.chunk("/a", 0, now=29.0).handle
    7
    >>> cache.chunk("/a", 0, now=31.0) is None
    True
    """

    def __init__(self, lifetime_seconds: float, most_files: int = MOST_FILES) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._files: _ByFile[_Located] = _ByFile(most_files)

    def remember(self, path: str, reply: FindLocationsReply, now: float) -> None:
        """Take in an answer of the master."""
        expire = now + self._lifetime_seconds
        known = self._files.get(path)
        if known is None:
            known = _Located(facts_of(reply.file), expire)
            self._files.put(path, known)
        known.facts, known.facts_expire = facts_of(reply.file), expire
        for chunk in reply.chunks:
            known.chunks[chunk.index] = (expire, chunk)

    def chunk(self, path: str, index: int, now: float) -> ChunkLocations | None:
        """Where a chunk is, if that is known and not too old."""
        known = self._files.get(path)
        expire, chunk = known.chunks.get(index, (now, None)) if known else (now, None)
        return chunk if now < expire else None

    def facts(self, path: str, now: float) -> FileFacts | None:
        """What is known of the file, if not too old."""
        known = self._files.get(path)
        return known.facts if known and now < known.facts_expire else None

    def forget_chunk(self, path: str, index: int) -> None:
        """Ask the master about this chunk next time: its replicas did not serve."""
        if known := self._files.get(path):
            known.chunks.pop(index, None)

    def forget(self, path: str) -> None:
        """Ask the master about this file next time: it is being opened (GFS 2.7.1)."""
        self._files.forget(path)

    def forget_tree(self, path: str) -> None:
        """Forget the file, or everything below the directory."""
        self._files.forget_tree(path)

    def check_invariants(self) -> None:
        """Raise AssertionError if the module's invariants do not hold."""
        self._files.check_size()
        for known in self._files.values():
            for index, (_, chunk) in known.chunks.items():
                assert chunk.index == index, f"chunk {chunk.index} is remembered as {index}"


class LeaseHolderCache:
    """(file, chunk index) to the chunk's primary and secondaries, until one of them disowns the lease."""

    def __init__(self, most_files: int = MOST_FILES) -> None:
        self._files: _ByFile[dict[int, LeaseHolder]] = _ByFile(most_files)

    def remember(self, path: str, holder: LeaseHolder) -> None:
        """Take in an answer of the master."""
        holders = self._files.get(path)
        if holders is None:
            holders = {}
            self._files.put(path, holders)
        holders[holder.index] = holder

    def holder(self, path: str, index: int) -> LeaseHolder | None:
        """Who holds the lease, as far as is known."""
        return (self._files.get(path) or {}).get(index)

    def disown(self, path: str, holder: LeaseHolder) -> None:
        """This holder did not serve. A newer one, found by somebody else in the meantime, stays."""
        holders = self._files.get(path) or {}
        if holders.get(holder.index) is holder:
            del holders[holder.index]

    def forget(self, path: str) -> None:
        """Forget the file."""
        self._files.forget(path)

    def forget_tree(self, path: str) -> None:
        """Forget the file, or everything below the directory."""
        self._files.forget_tree(path)

    def check_invariants(self) -> None:
        """Raise AssertionError if the module's invariants do not hold."""
        self._files.check_size()
        for holders in self._files.values():
            for index, holder in holders.items():
                assert holder.index == index, f"the holder of chunk {holder.index} is remembered for {index}"
