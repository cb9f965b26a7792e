"""What the chunkserver's tests share: worlds on a folder, a disk that dies at a chosen moment, and a fake master."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chunkserver.server import ChunkserverServer
from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.chunk_store import data_path
from runtime.bulk import checksums_of, digest_of, encode_header, hello, read_header
from runtime.real.disk import RealDisk, RealFile
from runtime.real.world import RealWorld
from runtime.wire import chunkserver_pb2 as wire
from runtime.wire import master_pb2
from runtime.wire.bulk_pb2 import BulkRequest, PushReply, PushRequest, ReadReply, ReadRequest
from runtime.wire.chunkserver_pb2_grpc import ChunkserverStub
from runtime.wire.common_pb2 import Authority, Location, Removal
from runtime.wire.master_pb2_grpc import ChunkserverRegistryServicer, add_ChunkserverRegistryServicer_to_server

TOKEN = "secret"
NAMESPACE = 0xABC
AUTHORITY = Authority(namespace=NAMESPACE, epoch=1)
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
        self.answered: list[Any] = []
        self.reports: list[Any] = []
        self.known = True
        self.removals: list[tuple[int, int]] = []
        self.authority = AUTHORITY
        self.extension_milliseconds = 0
        self.heartbeat_seconds = 0.05
        self.mishaps: list[Exception] = []

    async def start(self, address: str = "127.0.0.1:0") -> None:
        self.rpc = self.world.network.rpc_server(address)
        add_ChunkserverRegistryServicer_to_server(self, self.rpc.registrar)
        await self.rpc.start()

    async def Register(self, request: Any, context: Any) -> Any:
        self.registrations.append(request)
        self.known = True
        return master_pb2.RegisterReply(
            heartbeat_seconds=self.heartbeat_seconds,
            chunk_bytes=CHUNK_BYTES,
            removals=self.told_removals(),
            authority=self.authority,
        )

    async def Heartbeat(self, request: Any, context: Any) -> Any:
        self.heartbeats.append(request)
        if self.mishaps:
            raise self.mishaps.pop(0)
        self.answered.append(request)
        extensions = [
            master_pb2.LeaseExtension(handle=one.handle, version=one.version, milliseconds=self.extension_milliseconds)
            for one in request.extend
            if self.extension_milliseconds
        ]
        removals = self.told_removals()
        return master_pb2.HeartbeatReply(
            known=self.known, extensions=extensions, removals=removals, authority=self.authority
        )

    def told_removals(self) -> list[Removal]:
        told, self.removals = self.removals, []
        return [Removal(handle=handle, version=version, milliseconds=5000) for handle, version in told]

    async def ReportCorruption(self, request: Any, context: Any) -> Any:
        self.reports.append(request)
        return master_pb2.CorruptionReply()


class Desk:
    """A fake master and real chunkservers on the loopback; `client` is the world of whoever asks them."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.changes = changes
        self.worlds: dict[str, RealWorld] = {}
        self.servers: dict[str, ChunkserverServer] = {}
        self.boot_ids: dict[str, str] = {}  # of the machines that lost power, by server
        self._client_id = 77
        self._pushes = 0

    async def __aenter__(self) -> "Desk":
        self.client = new_world(self.folder / "client", "client")
        self.master = FakeMaster(new_world(self.folder / "master", "master"))
        await self.master.start()
        return self

    async def __aexit__(self, *details: object) -> None:
        for name in list(self.servers):
            await self.stop(name)
        await self.master.rpc.stop(0)
        await self.master.world.close()
        await self.client.close()

    async def start(self, *names: str, **changes: Any) -> None:
        """Start servers on their folders; returns when the master knows them."""
        for name in names:
            world = self.worlds[name] = new_world(self.folder / name, name)
            if name in self.boot_ids:
                world.boot_id = lambda name=name: self.boot_ids[name]  # type: ignore[method-assign]
            values = {"master_address": self.master.rpc.address, **self.changes, **changes}
            server = self.servers[name] = ChunkserverServer(world, settings(**values))
            await server.start()
            await until(lambda name=name: any(one.location.server == name for one in self.master.registrations))

    async def stop(self, name: str) -> None:
        await self.servers.pop(name).stop()
        await self.worlds.pop(name).close()

    def location(self, name: str) -> Location:
        server = self.servers[name]
        return Location(server=name, control_address=server.control_address, bulk_address=server.bulk_address)

    def stub(self, name: str) -> Any:
        return ChunkserverStub(self.client.network.channel(self.servers[name].control_address))

    async def advance(self, name: str, handle: int, before: int, after: int, **lease: Any) -> Any:
        item = wire.Advance(handle=handle, from_version=before, to_version=after, **lease)
        return (await self.advance_all(name, [item]))[0]

    async def advance_all(self, name: str, items: list[Any], authority: Authority = AUTHORITY) -> Any:
        request = wire.AdvanceChunksRequest(items=items, authority=authority)
        return (await self.stub(name).AdvanceChunks(request, timeout=10)).results

    async def revoke(self, name: str, *leases: tuple[int, int]) -> Any:
        names = [wire.LeaseName(handle=handle, version=version) for handle, version in leases]
        return await self.stub(name).RevokeLeases(
            wire.RevokeLeasesRequest(leases=names, authority=AUTHORITY), timeout=10
        )

    async def clone(self, name: str, handle: int, version: int, *sources: Any, bytes_per_second: int = 0) -> Any:
        """Have a server copy a chunk; returns everything that it told."""
        request = wire.CloneRequest(
            handle=handle, version=version, sources=sources, bytes_per_second=bytes_per_second, authority=AUTHORITY
        )
        return [progress async for progress in self.stub(name).Clone(request, timeout=20)]

    async def verify(self, name: str, handle: int, version: int) -> Any:
        request = wire.VerifyRequest(handle=handle, version=version, authority=AUTHORITY)
        async for step in self.stub(name).VerifyReplica(request, timeout=10):
            if step.HasField("done"):
                return step.done
        raise AssertionError("the verification ended without a word")

    async def mend(self, name: str, handle: int, version: int, *sources: Any) -> Any:
        request = wire.MendRequest(handle=handle, version=version, sources=sources, authority=AUTHORITY)
        async for step in self.stub(name).MendReplica(request, timeout=20):
            if step.HasField("done"):
                return step.done
        raise AssertionError("mending ended without a word")

    async def salvage(self, name: str, handle: int, offset: int, length: int = BLOCK) -> tuple[Any, bytes]:
        request = ReadRequest(handle=handle, version=99, offset=offset, length=length, salvage=True)
        stream = await self.bulk(name)
        try:
            await stream.write(encode_header(BulkRequest(read=request)))
            reply = await read_header(stream, ReadReply)
            return reply, await stream.read_exactly(reply.length) if reply.length else b""
        finally:
            stream.abort()

    async def grant(self, handle: int, *names: str, before: int = 0, after: int = 1, seconds: float = 60.0) -> None:
        """A new version on all, and the lease to the first."""
        others = [self.location(name) for name in names[1:]]
        for name in names[1:]:
            assert (await self.advance(name, handle, before, after)).done
        milliseconds = int(seconds * 1000)
        result = await self.advance(
            names[0], handle, before, after, lease_milliseconds=milliseconds, secondaries=others
        )
        assert result.done

    async def write(self, name: str, handle: int, offset: int, data: bytes, version: int = 1) -> Any:
        """Inline: the data rides along."""
        mutation = wire.Mutation(offset=offset, length=len(data), inline=data, crc32c=digest_of(checksums_of(data)))
        request = wire.WriteRequest(handle=handle, version=version, mutation=mutation)
        return await self.stub(name).Write(request, timeout=20)

    async def append(self, name: str, handle: int, data: bytes, *, version: int = 1, number: int = 0) -> Any:
        """A record, inline."""
        record = wire.Mutation(length=len(data), inline=data, crc32c=digest_of(checksums_of(data)))
        request = wire.AppendRecordRequest(
            handle=handle, version=version, record=record, client=self._client_id, number=number, oldest=number
        )
        return await self.stub(name).AppendRecord(request, timeout=20)

    async def write_pushed(self, name: str, handle: int, offset: int, data: bytes, pushed: Any) -> Any:
        mutation = wire.Mutation(offset=offset, length=len(data), pushed=pushed, crc32c=digest_of(checksums_of(data)))
        request = wire.WriteRequest(
            handle=handle,
            version=1,
            mutation=mutation,
            client=pushed.client,
            number=pushed.number,
            oldest=1,  # Several of a test's writes are under way at once, in any order.
        )
        return await self.stub(name).Write(request, timeout=20)

    async def bulk(self, name: str, greeting: bytes | None = None) -> Any:
        stream = await self.client.network.connect(self.servers[name].bulk_address)
        await stream.write(hello(self.client) if greeting is None else greeting)
        return stream

    async def push(self, data: bytes, *names: str, damaged: bool = False) -> tuple[Any, Any]:
        """Push along the chain; returns the data's id and the answer."""
        self._pushes += 1
        pushed = wire.DataId(client=self._client_id, number=self._pushes)
        stream = await self.bulk(names[0])
        try:
            await stream.write(push_header(pushed, data, [self.location(name) for name in names[1:]]))
            await stream.write(data[:-1] + bytes([data[-1] ^ damaged]))
            return pushed, await read_header(stream, PushReply)
        finally:
            stream.abort()

    async def read(self, name: str, handle: int, offset: int, length: int, version: int = 1) -> tuple[Any, bytes]:
        stream = await self.bulk(name)
        try:
            await stream.write(read_request(handle, offset, length, version))
            reply = await read_header(stream, ReadReply)
            return reply, await stream.read_exactly(reply.length) if reply.length else b""
        finally:
            stream.abort()

    def flip(self, name: str, handle: int, position: int) -> None:
        """Let one stored byte rot."""
        path = self.folder / name / data_path(handle)
        content = bytearray(path.read_bytes())
        content[position] ^= 0xFF
        path.write_bytes(content)

    def stored(self, name: str, handle: int) -> bytes:
        return (self.folder / name / data_path(handle)).read_bytes()


def push_header(pushed: Any, data: bytes, chain: Sequence[Location]) -> bytes:
    request = PushRequest(data=pushed, length=len(data), chain=chain, crc32c=checksums_of(data))
    return encode_header(BulkRequest(push=request))


def read_request(handle: int, offset: int, length: int, version: int = 1) -> bytes:
    return encode_header(BulkRequest(read=ReadRequest(handle=handle, version=version, offset=offset, length=length)))


async def until(condition: Callable[[], bool]) -> None:
    """Return when it is true; TimeoutError after a while."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions are plain facts about other nodes
            await asyncio.sleep(0.005)
