"""What the chunkserver's tests share: worlds on a folder, a disk that dies at a chosen moment, and a fake master."""

from pathlib import Path
from typing import Any

from chunkserver.settings import ChunkserverSettings
from runtime.real.disk import RealDisk, RealFile
from runtime.real.world import RealWorld
from runtime.wire import master_pb2
from runtime.wire.master_pb2_grpc import ChunkserverRegistryServicer, add_ChunkserverRegistryServicer_to_server

TOKEN = "secret"
BLOCK = 64 * 1024
CHUNK_BYTES = 8 * BLOCK


def new_world(folder: Path, node: str = "cs1") -> RealWorld:
    return RealWorld(node=node, root=folder, token=TOKEN)


def settings(**changes: Any) -> ChunkserverSettings:
    values: dict[str, Any] = {
        "master_address": "127.0.0.1:1",
        "reserve_bytes": 0,
        "scrub_bytes_per_second": 0,
        "heartbeat_seconds": 0.05,
        "call_seconds": 2.0,
    }
    return ChunkserverSettings(**{**values, **changes})


class Killed(BaseException):
    """The process died here: nothing after this line runs, and no handler does any work either."""


class Moment:
    """Counts changes of the disk. At number `fatal` the process dies, having done `share` of that change (0 to 1)."""

    def __init__(self, fatal: int | None = None, share: float = 0.0) -> None:
        self.fatal = fatal
        self.share = share
        self.changes = 0
        self.is_dead = False

    def arrives(self) -> bool:
        if self.is_dead:
            raise Killed
        self.changes += 1
        self.is_dead = self.changes == self.fatal
        return self.is_dead


class DyingFile:
    """A file of a `DyingDisk`."""

    def __init__(self, file: RealFile, moment: Moment) -> None:
        self.path = file.path
        self._file = file
        self._moment = moment

    async def write_at(self, offset: int, data: Any) -> None:
        if self._moment.arrives():
            part = memoryview(data)[: int(len(data) * self._moment.share)]
            if part:
                await self._file.write_at(offset, part)
            raise Killed
        await self._file.write_at(offset, data)

    async def truncate(self, size: int) -> None:
        if self._moment.arrives():
            raise Killed
        await self._file.truncate(size)

    async def sync(self) -> None:
        if self._moment.is_dead:
            raise Killed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class DyingDisk:
    """A real disk under a process that is killed at one moment. What was written before stays, as in a page cache."""

    def __init__(self, root: Path, moment: Moment) -> None:
        self._disk = RealDisk(root)
        self._moment = moment

    async def open(self, path: str, mode: Any) -> DyingFile:
        if mode in ("create", "replace") and self._moment.arrives():
            raise Killed
        if self._moment.is_dead:
            raise Killed
        return DyingFile(await self._disk.open(path, mode), self._moment)

    async def rename(self, source: str, target: str) -> None:
        if self._moment.arrives():
            raise Killed
        await self._disk.rename(source, target)

    async def remove(self, path: str) -> None:
        if self._moment.arrives():
            raise Killed
        await self._disk.remove(path)

    async def sync_directory(self, path: str = "") -> None:
        if self._moment.is_dead:
            raise Killed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)


class FakeMaster(ChunkserverRegistryServicer):
    """Takes note of what it is told. `mishaps` are raised by the next heartbeats, one each."""

    def __init__(self, world: RealWorld) -> None:
        self.world = world
        self.registrations: list[Any] = []
        self.heartbeats: list[Any] = []
        self.reports: list[Any] = []
        self.known = True
        self.garbage: list[int] = []
        self.extension_milliseconds = 0
        self.mishaps: list[Exception] = []

    async def start(self, address: str = "127.0.0.1:0") -> None:
        self.rpc = self.world.network.rpc_server(address)
        add_ChunkserverRegistryServicer_to_server(self, self.rpc.registrar)
        await self.rpc.start()

    async def Register(self, request: Any, context: Any) -> Any:
        self.registrations.append(request)
        self.known = True
        return master_pb2.RegisterReply(heartbeat_seconds=0.05, chunk_bytes=CHUNK_BYTES, garbage=self.garbage)

    async def Heartbeat(self, request: Any, context: Any) -> Any:
        self.heartbeats.append(request)
        if self.mishaps:
            raise self.mishaps.pop(0)
        extensions = [
            master_pb2.LeaseExtension(handle=one.handle, version=one.version, milliseconds=self.extension_milliseconds)
            for one in request.extend
            if self.extension_milliseconds
        ]
        garbage, self.garbage = self.garbage, []
        return master_pb2.HeartbeatReply(known=self.known, extensions=extensions, garbage=garbage)

    async def ReportCorruption(self, request: Any, context: Any) -> Any:
        self.reports.append(request)
        return master_pb2.CorruptionReply()
