"""How long a file is, exactly.

The problem. The master learns lengths from HeartBeats, so while a chunk is under a lease the master's answer may lag
behind. The idea: its answer says whether the length is settled; if not, the client asks a replica of the last chunk,
as any replica has applied every acknowledged mutation. For a listing, all chunks on one chunkserver share one call.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gfs.reading import Replicas
from gfs.settings import ClientSettings
from runtime.errors import TabletopError
from runtime.wire.chunkserver_pb2 import ChunkStatesRequest
from runtime.wire.chunkserver_pb2_grpc import ChunkserverStub
from runtime.wire.common_pb2 import Location
from runtime.wire.master_pb2 import FileInfo
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.chunkserver_pb2_grpc import ChunkserverAsyncStub

HANDLES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file or directory as `stat` and `list` show it. Times are the master's, in microseconds since the epoch."""

    path: str
    is_directory: bool
    length: int  # Bytes; 0 for a directory.
    length_is_exact: bool  # False if no replica of a chunk under lease could be asked: then as last reported.
    replication_goal: int
    chunk_count: int
    chunk_bytes: int
    created_microseconds: int
    entry_count: int  # Direct children of a directory.

    @property
    def name(self) -> str:
        """The last part of the path; "/" for the root."""
        return self.path.rstrip("/").rpartition("/")[2] or "/"


class LengthFinder:
    """Asks chunkservers for what the master cannot know yet."""

    def __init__(self, world: World, settings: ClientSettings, replicas: Replicas) -> None:
        self._world = world
        self._settings = settings
        self._replicas = replicas
        self._stubs: dict[str, ChunkserverAsyncStub] = {}

    async def settle(self, files: Sequence[FileInfo]) -> list[FileStatus]:
        """The files, in the same order, with exact lengths where a replica of their last chunk answers."""
        missing = {
            position: self._replicas.in_order(file.last_chunk)
            for position, file in enumerate(files)
            if not file.is_directory and not file.length_is_settled and file.chunk_count
        }
        found: dict[int, int] = {}
        while missing:
            await self._ask_each_server(files, missing, found)
            missing = {position: left for position, left in missing.items() if position not in found and left}
        return [_status(file, found.get(position)) for position, file in enumerate(files)]

    def stub(self, server: Location) -> "ChunkserverAsyncStub":
        """The control face of a chunkserver."""
        address = server.control_address
        if address not in self._stubs:
            self._stubs[address] = ChunkserverStub(self._world.network.channel(address))
        return self._stubs[address]

    async def _ask_each_server(
        self, files: Sequence[FileInfo], missing: dict[int, list[Location]], found: dict[int, int]
    ) -> None:
        by_server: dict[str, tuple[Location, list[int]]] = {}
        for position, candidates in missing.items():
            if candidates:
                server = candidates.pop(0)
                by_server.setdefault(server.server, (server, []))[1].append(position)
        for server, positions in by_server.values():
            for some in _batches(positions, HANDLES_AT_ONCE):
                await self._ask(server, files, some, found)

    async def _ask(
        self, server: Location, files: Sequence[FileInfo], positions: Sequence[int], found: dict[int, int]
    ) -> None:
        by_handle: dict[int, list[int]] = {}
        for position in positions:
            by_handle.setdefault(files[position].last_chunk.handle, []).append(position)
        try:
            reply = await self.stub(server).GetChunkStates(
                ChunkStatesRequest(handles=list(by_handle)), timeout=self._settings.read_seconds
            )
        except TabletopError:
            self._replicas.avoid(server)
            return
        for state in reply.states:
            for position in by_handle.get(state.handle, ()):
                file = files[position]
                if state.version >= file.last_chunk.version:
                    found[position] = (file.chunk_count - 1) * file.chunk_bytes + state.length


def _batches(items: Sequence[int], most: int) -> Iterable[Sequence[int]]:
    return (items[begin : begin + most] for begin in range(0, len(items), most))


def _status(file: FileInfo, asked_length: int | None) -> FileStatus:
    is_exact = file.is_directory or file.length_is_settled or not file.chunk_count or asked_length is not None
    return FileStatus(
        path=file.path,
        is_directory=file.is_directory,
        length=file.length if asked_length is None else asked_length,
        length_is_exact=is_exact,
        replication_goal=file.replication_goal,
        chunk_count=file.chunk_count,
        chunk_bytes=file.chunk_bytes,
        created_microseconds=file.created_microseconds,
        entry_count=file.entry_count,
    )
