"""How long a file is, exactly.

The problem. The master learns lengths from HeartBeats, so while a writer may be active its answer may lag behind. The
idea: its answer says whether the length is settled; if not, it names the last chunks of the file, the *tail*, back to
the first that is known to hold bytes, and the client asks a replica of each. Any sure replica of the chunk's version
has applied every acknowledged mutation. The file ends in the last chunk that is not empty: a chunk that was allocated
for a write which then failed does not count. For a listing, all chunks on one chunkserver share one call.

Invariants:
1. A length that is called exact holds every byte that was acknowledged before it was asked for.
2. A replica that is unsure, or below the version that the master named, is not believed. If of a chunk that matters no
   replica can be asked, the length is not exact.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gfs.patience import Patience
from gfs.reading.replicas import Replicas
from gfs.settings import ClientSettings
from runtime.errors import TabletopError
from runtime.wire.chunkserver_pb2 import ChunkStatesRequest
from runtime.wire.common_pb2 import ChunkLocations, ChunkState, Location
from runtime.wire.master_pb2 import FileInfo

HANDLES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file or directory as `stat` and `list` show it. Times are the master's, in microseconds since the epoch."""

    path: str
    is_directory: bool
    length: int  # Bytes; 0 for a directory.
    length_is_exact: bool  # False if no replica of one of the last chunks could be asked: then as last reported.
    replication_goal: int
    chunk_count: int
    chunk_bytes: int
    created_microseconds: int
    entry_count: int  # Direct children of a directory.
    file_id: int = 0  # Names the file whatever becomes of its path; 0 for a directory.
    # Of a directory: what holds for files below it, and which directory says so; "" if the cluster's settings do.
    new_file_goal: int = 0
    new_file_goal_from: str = ""
    trash_seconds: float = 0.0
    trash_from: str = ""

    @property
    def name(self) -> str:
        """The last part of the path; "/" for the root."""
        return self.path.rstrip("/").rpartition("/")[2] or "/"


@dataclass(slots=True)
class _Search:
    """The length of one chunk, and who can still be asked for it."""

    chunk: ChunkLocations
    left: list[Location]
    length: int | None = None
    damaged_length: int | None = None  # Of a replica with damaged blocks: taken only if no other one answers.


class LengthFinder:
    """Asks chunkservers for what the master cannot know yet."""

    def __init__(self, settings: ClientSettings, replicas: Replicas) -> None:
        self._settings = settings
        self._replicas = replicas

    async def settle(self, files: Sequence[FileInfo], patience: Patience | None = None) -> list[FileStatus]:
        """The files, in the same order, with exact lengths where replicas of their last chunks answer.

        Each replica is asked once. No call lasts beyond `patience`.
        """
        searches = {
            (position, chunk.index): _Search(chunk, self._replicas.in_order(chunk))
            for position, file in enumerate(files)
            if not file.is_directory and not file.length_is_settled
            for chunk in file.tail
        }
        missing = list(searches.values())
        while missing := [search for search in missing if search.length is None and search.left]:
            await self._ask_each_server(missing, patience)
        return [_status(file, _end_of(file, position, searches)) for position, file in enumerate(files)]

    async def _ask_each_server(self, searches: Sequence[_Search], patience: Patience | None) -> None:
        by_server: dict[str, tuple[Location, list[_Search]]] = {}
        for search in searches:
            server = search.left.pop(0)
            by_server.setdefault(server.server, (server, []))[1].append(search)
        calls = [
            self._ask(server, some, patience)
            for server, wanted in by_server.values()
            for some in _batches(wanted, HANDLES_AT_ONCE)
        ]
        await asyncio.gather(*calls)

    async def _ask(self, server: Location, searches: Sequence[_Search], patience: Patience | None) -> None:
        seconds = self._settings.read_seconds
        by_handle: dict[int, list[_Search]] = {}
        for search in searches:
            by_handle.setdefault(search.chunk.handle, []).append(search)
        try:
            reply = await self._replicas.stub(server).GetChunkStates(
                ChunkStatesRequest(handles=list(by_handle)), timeout=patience.limit(seconds) if patience else seconds
            )
        except TabletopError:
            self._replicas.avoid(server)
            return
        for state in reply.states:
            for search in by_handle.get(state.handle, ()):
                _take(search, state)


def _take(search: _Search, state: ChunkState) -> None:
    if state.unsure or state.version < search.chunk.version:
        return
    if state.damaged:
        search.damaged_length = max(state.length, search.damaged_length or 0)
    else:
        search.length = state.length


def _end_of(file: FileInfo, position: int, searches: dict[tuple[int, int], _Search]) -> int | None:
    """Where a file ends whose length is not settled; None if that cannot be told."""
    if file.is_directory or file.length_is_settled:
        return file.length
    for chunk in sorted(file.tail, key=lambda chunk: chunk.index, reverse=True):
        search = searches[position, chunk.index]
        length = search.length if search.length is not None else search.damaged_length
        if length is None:
            return None
        if length > 0 or chunk.index == 0:
            return chunk.index * file.chunk_bytes + length
    # All of them are empty, though the first was known to hold bytes; without a tail, only a file without chunks is
    # known to be empty.
    return None if file.chunk_count else 0


def _batches(items: Sequence[_Search], most: int) -> Iterable[Sequence[_Search]]:
    return (items[begin : begin + most] for begin in range(0, len(items), most))


def _status(file: FileInfo, exact_length: int | None) -> FileStatus:
    return FileStatus(
        path=file.path,
        is_directory=file.is_directory,
        length=file.length if exact_length is None else exact_length,
        length_is_exact=exact_length is not None,
        replication_goal=file.replication_goal,
        chunk_count=file.chunk_count,
        chunk_bytes=file.chunk_bytes,
        created_microseconds=file.created_microseconds,
        entry_count=file.entry_count,
        file_id=file.file_id,
        new_file_goal=file.new_file_goal,
        new_file_goal_from=file.new_file_goal_from,
        trash_seconds=file.trash_seconds,
        trash_from=file.trash_from,
    )
