"""A small world in virtual time, and chunkservers that only pretend, to test the master with.

The whole master runs, over its real contracts; messages are serialised. What is left out: chunkservers store no bytes,
only versions and lengths. Time is the loop's own and jumps to the next timer, so a minute costs nothing.

    @played(lease_seconds=5.0)
    async def test_something(scene: Scene) -> None: ...
"""

# ruff: noqa: ASYNC110 - in virtual time, looking again costs nothing

import asyncio
import random
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

from master.server import MasterServer
from master.settings import MasterSettings
from runtime.errors import AlreadyExists, NotFound, TabletopError, TimedOut, Unavailable, error_from_wire
from runtime.events import EventLog, MemorySink
from runtime.wire import master_pb2, master_pb2_grpc
from runtime.world import DiskUsage
from tests.unit.fake_chunkserver import FakeChunkserver

CALL_SECONDS = 0.001


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything runs, and then jumps to the next timer."""

    def __init__(self) -> None:
        loop = self

        class Selector(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> Any:
                if timeout is None:
                    raise RuntimeError("nothing is left to happen: a deadlock")
                loop.seconds += max(0.0, timeout)
                return super().select(0)

        self.seconds = 1000.0
        super().__init__(Selector())

    def time(self) -> float:
        return self.seconds


class MemoryFile:
    def __init__(self, disk: "MemoryDisk", path: str) -> None:
        self.disk, self.path = disk, path

    @property
    def data(self) -> bytearray:
        return self.disk.files[self.path]

    async def read_at(self, offset: int, count: int) -> bytes:
        return bytes(self.data[offset : offset + count])

    async def append(self, data: Any) -> int:
        offset = len(self.data)
        if self.disk.fail_writes is not None:
            self.data.extend(bytes(data)[: len(data) // 2])
            raise self.disk.fail_writes
        self.data.extend(data)
        return offset

    async def write_at(self, offset: int, data: Any) -> None:
        if self.disk.fail_writes is not None:
            raise self.disk.fail_writes
        self.data[offset : offset + len(data)] = data

    async def truncate(self, size: int) -> None:
        del self.data[size:]

    async def size(self) -> int:
        return len(self.data)

    async def sync(self) -> None:
        await asyncio.sleep(0.0001)
        if self.disk.fail_syncs is not None:
            raise self.disk.fail_syncs
        self.disk.synced[self.path] = bytes(self.data)

    async def close(self) -> None:
        pass


class MemoryDisk:
    """Files in memory. What was not synced is in `files` and not in `synced`; names are durable at once."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.synced: dict[str, bytes] = {}
        self.fail_writes: TabletopError | None = None
        self.fail_syncs: TabletopError | None = None

    def after_power_cut(self) -> "MemoryDisk":
        disk = MemoryDisk()
        disk.synced = {path: self.synced.get(path, b"") for path in self.files}
        disk.files = {path: bytearray(data) for path, data in disk.synced.items()}
        return disk

    async def lock(self, path: str) -> None:
        pass

    async def unlock(self, path: str) -> None:
        pass

    async def open(self, path: str, mode: str) -> MemoryFile:
        if mode in ("read", "update") and path not in self.files:
            raise NotFound(f"no file {path}")
        if mode == "create" and path in self.files:
            raise AlreadyExists(path)
        if mode in ("replace", "create"):
            if self.fail_writes is not None:
                raise self.fail_writes
            self.files[path] = bytearray()
            self.synced[path] = b""
        return MemoryFile(self, path)

    async def make_directory(self, path: str, *, spread: bool = False) -> None:
        pass

    async def rename(self, source: str, target: str) -> None:
        self.files[target] = self.files.pop(source)
        self.synced[target] = self.synced.pop(source)

    async def remove(self, path: str) -> None:
        del self.files[path], self.synced[path]

    async def list(self, path: str = "") -> list[str]:
        return sorted(name.removeprefix(path + "/") for name in self.files if name.startswith(path + "/"))

    async def exists(self, path: str) -> bool:
        return path in self.files

    async def size(self, path: str) -> int:
        return len(self.files[path])

    async def sync_directory(self, path: str = "") -> None:
        pass

    async def usage(self) -> DiskUsage:
        return DiskUsage(10**9, 10**9)


class Switchboard:
    """Who listens where, and whom nobody can reach."""

    def __init__(self) -> None:
        self.handlers: dict[str, dict[str, Any]] = {}
        self.silent: list[str] = []  # addresses that take calls and never answer
        self.next_port = 1
        self.worlds = 0


class Registrar:
    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        pass

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})


class MiniServer:
    def __init__(self, board: Switchboard, address: str) -> None:
        if address.endswith(":0"):
            address = f"node:{board.next_port}"
            board.next_port += 1
        self.address = address
        self.registrar: Any = Registrar()
        self.board = board

    async def start(self) -> None:
        self.board.handlers[self.address] = self.registrar.handlers

    async def stop(self, grace_seconds: float) -> None:
        self.board.handlers.pop(self.address, None)


class MiniChannel:
    def __init__(self, board: Switchboard, address: str) -> None:
        self.board, self.address = board, address

    def _handler(self, path: str) -> Any:
        handlers = self.board.handlers.get(self.address)
        if handlers is None:
            raise Unavailable(f"{self.address} refused the connection", definite=True)
        return handlers[path]

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        async def call(request: Any, *, timeout: float = 30.0) -> Any:
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.sleep(CALL_SECONDS)
                    handler = self._handler(path)
                    while self.address in self.board.silent:
                        await asyncio.sleep(0.05)
                    received = handler.request_deserializer(request_serializer(request))
                    context = SimpleNamespace(time_remaining=lambda: timeout)
                    task = asyncio.ensure_future(handler.unary_unary(received, context))
                    try:
                        reply = await asyncio.shield(task)
                    except asyncio.CancelledError:
                        task.cancel()
                        raise
                    return response_deserializer(handler.response_serializer(reply))
            except TimeoutError:
                raise TimedOut(f"{path} at {self.address}: no answer in {timeout} s") from None
            except TabletopError as error:
                raise error_from_wire(type(error).__name__, error.message, definite=error.definite) from None

        return call

    def unary_stream(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        async def call(request: Any, *, timeout: float = 30.0) -> AsyncIterator[Any]:
            replies: asyncio.Queue[Any] = asyncio.Queue()

            async def serve() -> None:
                try:
                    async with asyncio.timeout(timeout):
                        await asyncio.sleep(CALL_SECONDS)
                        handler = self._handler(path)
                        while self.address in self.board.silent:
                            await asyncio.sleep(0.05)
                        received = handler.request_deserializer(request_serializer(request))
                        context = SimpleNamespace(time_remaining=lambda: timeout)
                        async for reply in handler.unary_stream(received, context):
                            replies.put_nowait(response_deserializer(handler.response_serializer(reply)))
                    replies.put_nowait(None)
                except TimeoutError:
                    replies.put_nowait(TimedOut(f"{path} at {self.address}: no end in {timeout} s"))
                except TabletopError as error:
                    replies.put_nowait(error_from_wire(type(error).__name__, error.message, definite=error.definite))

            task = asyncio.ensure_future(serve())
            try:
                while (reply := await replies.get()) is not None:
                    if isinstance(reply, TabletopError):
                        raise reply
                    yield reply
            finally:
                task.cancel()  # The caller has gone away: the handler notices.

        return call

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **options: None


class MiniWorld:
    """One node's world."""

    def __init__(self, node: str, board: Switchboard, disk: MemoryDisk, sink: MemorySink) -> None:
        self.node, self.disk, self.board = node, disk, board
        board.worlds += 1
        self.random = random.Random(f"{node} {board.worlds}")
        self.clock = SimpleNamespace(
            now=lambda: asyncio.get_running_loop().time(),
            wall_microseconds=self._wall,
            sleep=asyncio.sleep,
        )
        self.network = SimpleNamespace(
            channel=lambda address: MiniChannel(board, address), rpc_server=lambda address: MiniServer(board, address)
        )
        self.events = EventLog(node, sink, self._wall)
        self.tasks: list[asyncio.Task[Any]] = []

    def _wall(self) -> int:
        return 1_700_000_000_000_000 + int(asyncio.get_event_loop_policy().get_event_loop().time() * 1e6)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.append(task)
        return task

    async def breathe(self) -> None:
        await asyncio.sleep(0)

    def resident_bytes(self) -> int:
        return 0

    def boot_id(self) -> str:
        return "one boot"

    def process_id(self) -> int:
        return 0

    def kill(self) -> None:
        for task in self.tasks:
            task.cancel()


class Scene:
    """A master, its chunkservers and a client's stubs, in a loop of their own."""

    def __init__(self, *, chunkservers: int = 4, **settings: Any) -> None:
        self.settings = MasterSettings(control_address="master:1", **settings)
        self.board = Switchboard()
        self.sink = MemorySink()
        self.disk = MemoryDisk()
        self.disks = 0
        self.names = [f"cs{number}" for number in range(1, chunkservers + 1)]
        self.chunkservers: dict[str, FakeChunkserver] = {}
        self.racks: dict[str, str] = {}
        channel: Any = MiniChannel(self.board, "master:1")
        self.master: Any = master_pb2_grpc.MasterStub(channel)
        self.registry: Any = master_pb2_grpc.ChunkserverRegistryStub(channel)
        self.server: MasterServer

    def play(self, story: Callable[["Scene"], Awaitable[None]]) -> None:
        """Run a story to its end, then look whether every invariant holds."""

        async def whole() -> None:
            async with asyncio.timeout(30 * 24 * 3600):
                await self.start_master()
                for name in self.names:
                    self.chunkservers[name] = FakeChunkserver(self, name, rack=self.racks.get(name, ""))
                    await self.chunkservers[name].start()
                await self.until(lambda: len(self.server.core.servers.alive()) == len(self.names))
                await story(self)
                self.server.core.check_invariants()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        loop = VirtualLoop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(whole())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        assert [record.event for record in self.sink.records if type(record.event).__name__ == "TaskFailed"] == []

    def new_disk_number(self) -> int:
        self.disks += 1
        return self.disks

    def new_world(self, node: str) -> Any:
        return MiniWorld(node, self.board, MemoryDisk(), self.sink)

    def new_rpc_server(self, address: str) -> Any:
        return MiniServer(self.board, address)

    async def start_master(self, disk: MemoryDisk | None = None) -> None:
        self.disk = disk or self.disk
        self.world = MiniWorld("master", self.board, self.disk, self.sink)
        world: Any = self.world
        self.server = MasterServer(world, self.settings)
        await self.server.start()

    async def kill_master(self) -> None:
        """No good-bye: whatever was not synced is as good as lost."""
        self.board.handlers.pop("master:1", None)
        self.world.kill()
        for task in list(self.server.core._tasks):  # What runs to its end even if its caller goes away ends here too.
            task.cancel()
        self.disk = self.disk.after_power_cut()

    async def restart_master(self) -> None:
        await self.kill_master()
        await self.start_master()

    async def until(self, condition: Callable[[], bool], seconds: float = 200.0) -> None:
        """Let time pass until the condition holds."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, "it did not come to pass"
            await asyncio.sleep(0.01)

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    # A client's words

    async def create(self, path: str, goal: int = 3, *, request: Any = None) -> Any:
        return await self.master.Create(
            master_pb2.CreateRequest(path=path, replication_goal=goal, request=request), timeout=30
        )

    async def lease(
        self, path: str, index: int = 0, *, suspect: str = "", refused: int = 0, file_id: int = 0, timeout: float = 30.0
    ) -> Any:
        request = master_pb2.FindLeaseHolderRequest(
            path=path, index=index, allocate=True, suspect=suspect, refused_version=refused, file_id=file_id
        )
        return await self.master.FindLeaseHolder(request, timeout=timeout)

    async def where(self, path: str, first: int = 0, count: int = 1) -> Any:
        request = master_pb2.FindLocationsRequest(path=path, first_index=first, count=count)
        return await self.master.FindLocations(request, timeout=30)

    async def stat(self, path: str) -> Any:
        return await self.master.Stat(master_pb2.StatRequest(path=path), timeout=30)

    async def delete(self, path: str, **options: Any) -> Any:
        return await self.master.Delete(master_pb2.DeleteRequest(path=path, **options), timeout=30)

    async def rename(self, source: str, target: str, **options: Any) -> Any:
        return await self.master.Rename(master_pb2.RenameRequest(source=source, target=target, **options), timeout=30)

    async def snapshot(self, source: str, target: str, **options: Any) -> int:
        """How many files the snapshot has."""
        request = master_pb2.SnapshotRequest(source=source, target=target, **options)
        return int((await self.master.Snapshot(request, timeout=30)).files)

    async def set_replication(self, path: str, goal: int, **options: Any) -> int:
        request = master_pb2.SetReplicationRequest(path=path, replication_goal=goal, **options)
        before: int = (await self.master.SetReplication(request, timeout=30)).previous_goal
        return before

    async def make_directory(self, path: str, **options: Any) -> Any:
        return await self.master.MakeDirectory(master_pb2.MakeDirectoryRequest(path=path, **options), timeout=30)

    async def _answered(self, request: Any) -> Any:
        """Asked again for a while, as clients do right after a start of the master."""
        for _ in range(100):
            try:
                return await self.master.List(request, timeout=30)
            except Unavailable:
                await asyncio.sleep(0.1)
        return await self.master.List(request, timeout=30)

    async def listed(self, path: str, *, recursive: bool = False) -> list[str]:
        found: list[str] = []
        while True:
            after = found[-1] if found else ""
            request = master_pb2.ListRequest(path=path, recursive=recursive, after=after)
            reply = await self._answered(request)
            found.extend(entry.path for entry in reply.entries)
            if reply.is_last:
                return found

    async def deleted(self) -> list[str]:
        """The hidden names of what can be had back, the oldest deletion first."""
        reply = await self.master.ListTrash(master_pb2.ListTrashRequest(), timeout=30)
        return [entry.hidden for entry in reply.entries]

    async def drain(self, *names: str, cancel: bool = False) -> None:
        await self.master.Drain(master_pb2.DrainRequest(servers=names, cancel=cancel), timeout=30)

    async def remove_server(self, name: str) -> None:
        await self.master.RemoveServer(master_pb2.RemoveServerRequest(server=name), timeout=30)

    async def left_to_drain(self, name: str) -> int:
        left: int = next(one for one in (await self.status()).servers if one.location.server == name).left_to_drain
        return left

    async def add_server(self, name: str) -> None:
        self.chunkservers[name] = FakeChunkserver(self, name)
        await self.chunkservers[name].start()

    async def status(self, *, chunks: bool = False, path: str = "") -> Any:
        request = master_pb2.ClusterStatusRequest(chunks=chunks, path=path)
        return await self.master.GetClusterStatus(request, timeout=30)

    def replicas(self, handle: int) -> tuple[str, ...]:
        return self.server.core.state.chunks.replicas(handle)

    def other_states(self, handle: int) -> dict[str, str]:
        """The master's opinion of the replicas that are neither current nor absent."""
        return {other.server: other.state.value for other in self.server.core.replicas.others(handle)}

    def version(self, handle: int) -> int:
        return self.server.core.state.chunks.version(handle)

    def holders(self, handle: int) -> list[str]:
        """Servers that really have the chunk, whatever the master thinks."""
        return [name for name, server in self.chunkservers.items() if handle in server.chunks]

    def events(self, kind: str) -> list[Any]:
        return [record.event for record in self.sink.records if type(record.event).__name__ == kind]


Story = Callable[[Scene], Awaitable[None]]


def played(*, chunkservers: int = 4, racks: dict[str, str] | None = None, **settings: Any) -> Callable[[Story], Any]:
    """Make a test of a story: it runs in a scene of its own, and afterwards every invariant must hold."""

    def decorate(story: Story) -> Any:
        def test() -> None:
            scene = Scene(chunkservers=chunkservers, **settings)
            scene.racks = racks or {}
            scene.play(story)

        test.__name__, test.__doc__ = story.__name__, story.__doc__
        return test

    return decorate


def fingerprint(server: MasterServer) -> tuple[Any, ...]:
    """The persistent state, comparable."""
    snapshot = server.core.state.snapshot()
    table = [item for leaf in snapshot.leaves for item in _unpacked(leaf)]
    totals = snapshot.totals
    return (
        (totals.files, totals.directories, totals.hidden_files, totals.last_stamp, totals.namespace),
        snapshot.servers,
        snapshot.draining,
        table,
        snapshot.segments,
        snapshot.attempted,
        snapshot.groups,
        snapshot.requests,
    )


def _unpacked(leaf: bytes) -> Iterator[tuple[bytes, bytes]]:
    from master.namespace.prefix_table import unpack

    keys, values = unpack(leaf)
    return zip(keys, values, strict=True)
