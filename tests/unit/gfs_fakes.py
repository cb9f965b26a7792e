"""A master and chunkservers that do as little as a client can be tested with, and misbehave when told to.

They stand on worlds and serve the real contracts, so that the client under test is the whole client. What is left
out: leases have no time limit, nothing is persisted, and replicas are written without messages.

`mishaps[method]` is a list of errors: each call of that method takes the first and raises it instead of working;
`afterwards[method]` is the same, but the work is done first, as when an answer is lost. A mishap None means: work.
`interludes[method]` are functions; each is called once, after the work of one call and before its answer.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from gfs.client import Client
from gfs.settings import ClientSettings
from runtime.bulk import checksums_of, digest_of, encode_header, hello, read_header, receive_hello
from runtime.errors import (
    AlreadyExists,
    Conflict,
    DataNotBuffered,
    InvalidRequest,
    IsADirectory,
    NotFound,
    NotPrimary,
    StaleVersion,
    TabletopError,
    TimedOut,
    Unavailable,
)
from runtime.real.world import RealWorld
from runtime.wire import bulk_pb2, chunkserver_pb2, common_pb2, master_pb2
from runtime.wire.chunkserver_pb2_grpc import ChunkserverServicer, add_ChunkserverServicer_to_server
from runtime.wire.master_pb2_grpc import MasterServicer, add_MasterServicer_to_server

CHUNK_BYTES = 256 * 1024
PIECE_BYTES = 64 * 1024
Mishaps = dict[str, list[Exception | None]]

QUICK = ClientSettings(
    read_piece_bytes=PIECE_BYTES,
    write_piece_bytes=PIECE_BYTES,
    inline_bytes=4096,
    locations_at_once=2,
    list_entries=2,
    first_pause_seconds=0.001,
    longest_pause_seconds=0.01,
    call_seconds=5.0,
    read_seconds=5.0,
    push_seconds=5.0,
    write_seconds=5.0,
    patience_seconds=10.0,
    write_patience_seconds=10.0,
    shortage_seconds=0.02,
)


class Misbehaving:
    """Counts calls, and does to some of them what it was told."""

    def __init__(self) -> None:
        self.mishaps: Mishaps = {}
        self.afterwards: Mishaps = {}
        self.calls: list[tuple[str, Any]] = []
        self.rpcs: Counter[str] = Counter()  # of methods that carry many things, each of which is a call above
        self.interludes: dict[str, list[Callable[[], None]]] = {}  # Each happens after one call, before its answer.

    def begin(self, method: str, request: Any) -> None:
        self.calls.append((method, request))
        self._take(self.mishaps, method)

    def end(self, method: str) -> None:
        if self.interludes.get(method):
            self.interludes[method].pop(0)()
        self._take(self.afterwards, method)

    def count(self, method: str) -> int:
        return sum(1 for name, _ in self.calls if name == method)

    @staticmethod
    def _take(mishaps: Mishaps, method: str) -> None:
        if mishaps.get(method) and (error := mishaps[method].pop(0)) is not None:
            raise error


class FakeChunkserver(Misbehaving, ChunkserverServicer):
    def __init__(self, cluster: "FakeCluster", name: str) -> None:
        super().__init__()
        self.cluster = cluster
        self.name = name
        self.chunks: dict[int, bytearray] = {}
        self.versions: dict[int, int] = {}
        self.pushed: dict[tuple[int, int], bytes] = {}
        self.world = cluster.new_world(name)
        self.damages_payloads = False
        self.refuses: Callable[[Any], TabletopError | None] = lambda mutation: None
        self.unsure: set[int] = set()  # Handles of replicas that may lack acknowledged bytes.
        self.streams: list[Any] = []

    async def start(self) -> None:
        self.rpc = self.world.network.rpc_server("127.0.0.1:0")
        add_ChunkserverServicer_to_server(self, self.rpc.registrar)
        await self.rpc.start()
        self.listener = await self.world.network.listen("127.0.0.1:0", self.serve)
        self.location = common_pb2.Location(
            server=self.name, control_address=self.rpc.address, bulk_address=self.listener.address
        )

    async def stop(self) -> None:
        await self.listener.close()
        await self.rpc.stop(0)
        self.drop_connections()

    def drop_connections(self) -> None:
        for stream in self.streams:
            stream.abort()
        self.streams.clear()

    def hold(self, handle: int, version: int) -> None:
        self.chunks.setdefault(handle, bytearray())
        self.versions[handle] = version

    def apply(self, handle: int, offset: int, data: bytes) -> None:
        chunk = self.chunks[handle]
        chunk.extend(bytes(max(0, offset + len(data) - len(chunk))))
        chunk[offset : offset + len(data)] = data

    async def GetChunkStates(self, request: Any, context: Any) -> Any:
        self.begin("GetChunkStates", request)
        reply = chunkserver_pb2.ChunkStatesReply()
        for handle in request.handles:
            if handle in self.chunks:
                reply.states.add(
                    handle=handle,
                    version=self.versions[handle],
                    length=len(self.chunks[handle]),
                    unsure=handle in self.unsure,
                )
        return reply

    async def Write(self, request: Any, context: Any) -> Any:
        self.begin("Write", request)
        if self.cluster.meanwhile is not None:
            await self.cluster.meanwhile()
        self._order(request, request.mutation)
        self.end("Write")
        return chunkserver_pb2.WriteReply(length=len(self.chunks[request.handle]), serial=1)

    async def AppendRecord(self, request: Any, context: Any) -> Any:
        self.begin("AppendRecord", request)
        chunk = self.chunks.get(request.handle, bytearray())
        offset, record = len(chunk), request.record
        if offset + record.length > CHUNK_BYTES:
            zeros = bytes(CHUNK_BYTES - offset)
            for replica in self.cluster.master.chunks[request.handle].replicas:
                self.cluster.servers[replica.server].apply(request.handle, offset, zeros)
            return chunkserver_pb2.AppendRecordReply(chunk_is_full=True)
        record.offset = offset
        self._order(request, record)
        self.end("AppendRecord")
        return chunkserver_pb2.AppendRecordReply(offset=offset, length=len(chunk), serial=1)

    def _order(self, request: Any, mutation: Any) -> None:
        if (refusal := self.refuses(mutation)) is not None:
            raise refusal
        replicas = self.cluster.master.chunks[request.handle]
        if replicas.replicas[0].server != self.name:
            raise NotPrimary(f"{self.name} holds no lease for {request.handle}")
        if self.versions[request.handle] != request.version:
            raise StaleVersion(f"{self.name} has version {self.versions[request.handle]}, not {request.version}")
        servers = [self.cluster.servers[replica.server] for replica in replicas.replicas]
        for server in servers:
            if mutation.WhichOneof("data") == "inline":
                data = mutation.inline
            else:
                key = (mutation.pushed.client, mutation.pushed.number)
                if key not in server.pushed:
                    raise DataNotBuffered(f"{server.name} has no data {key}")
                data = server.pushed[key]
            assert len(data) == mutation.length and digest_of(checksums_of(data)) == mutation.crc32c
            server.apply(request.handle, mutation.offset, data)

    async def serve(self, stream: Any) -> None:
        self.streams.append(stream)
        await receive_hello(self.world, stream)
        while True:
            request = await read_header(stream, bulk_pb2.BulkRequest)
            if request.WhichOneof("kind") == "read":
                await self._serve_read(stream, request.read)
            else:
                await self._serve_push(stream, request.push)

    async def _serve_read(self, stream: Any, request: Any) -> None:
        try:
            self.begin("read", request)
            if request.handle not in self.chunks:
                raise NotFound(f"{self.name} has no chunk {request.handle}")
            if self.versions[request.handle] < request.version:
                raise StaleVersion(f"{self.name} has version {self.versions[request.handle]}")
        except TabletopError as error:
            reply = bulk_pb2.ReadReply(error_kind=type(error).__name__, message=error.message)
            await stream.write(encode_header(reply))
            return
        chunk = self.chunks[request.handle]
        self.end("read")
        payload = bytes(chunk[request.offset : request.offset + request.length])
        reply = bulk_pb2.ReadReply(length=len(payload), crc32c=checksums_of(payload), chunk_length=len(chunk))
        if self.damages_payloads and payload:
            payload = bytes([payload[0] ^ 1]) + payload[1:]
        await stream.write(encode_header(reply))
        await stream.write(payload)

    async def _serve_push(self, stream: Any, request: Any) -> None:
        data = await stream.read_exactly(request.length)
        assert checksums_of(data) == list(request.crc32c)
        try:
            self.begin("push", request)
        except TabletopError as error:
            reply = bulk_pb2.PushReply(failed=self.name, error_kind=type(error).__name__, message=error.message)
        else:
            self.pushed[request.data.client, request.data.number] = data
            reply = await self._forward(request, data)
        await stream.write(encode_header(reply))

    async def _forward(self, request: Any, data: bytes) -> Any:
        if not request.chain:
            return bulk_pb2.PushReply(stored=[self.name])
        following = request.chain[0]
        try:
            stream = await self.world.network.connect(following.bulk_address)
        except Unavailable as error:
            return bulk_pb2.PushReply(failed=following.server, error_kind="Unavailable", message=error.message)
        onward = bulk_pb2.PushRequest(
            data=request.data, length=request.length, chain=request.chain[1:], crc32c=request.crc32c
        )
        await stream.write(hello(self.world) + encode_header(bulk_pb2.BulkRequest(push=onward)))
        await stream.write(data)
        reply = await read_header(stream, bulk_pb2.PushReply)
        await stream.close()
        reply.stored.append(self.name)
        return reply


class FakeMaster(Misbehaving, MasterServicer):
    def __init__(self, cluster: "FakeCluster") -> None:
        super().__init__()
        self.cluster = cluster
        self.world = cluster.new_world("master")
        self.files: dict[str, list[int]] = {}
        self.file_ids: dict[str, int] = {}
        self.goals: dict[str, int] = {}  # where it is not 3
        self.ids_given = 0
        self.answers: dict[tuple[int, int], Any] = {}  # By client and number of the request.
        self.directories = {"/"}
        self.chunks: dict[int, common_pb2.ChunkLocations] = {}
        self.lengths_are_settled = False
        self.tail_begins: int | None = None  # The first chunk of every tail; None: the last chunk that holds bytes.
        self.replicas = 3
        self.makes_first_chunks = True  # If not, a file that is about to be written comes without a chunk.

    async def start(self) -> None:
        self.rpc = self.world.network.rpc_server("127.0.0.1:0")
        add_MasterServicer_to_server(self, self.rpc.registrar)
        await self.rpc.start()

    def info(self, path: str) -> master_pb2.FileInfo:
        if path in self.directories:
            return master_pb2.FileInfo(path=path, is_directory=True, length_is_settled=True)
        if path not in self.files:
            raise NotFound(f"no file {path}")
        handles = self.files[path]
        info = master_pb2.FileInfo(
            path=path,
            replication_goal=self.goals.get(path, 3),
            chunk_count=len(handles),
            chunk_bytes=CHUNK_BYTES,
            length_is_settled=not handles or self.lengths_are_settled,
            file_id=self.file_ids[path],
        )
        held = [self.held(handle) for handle in handles]
        last = max((index for index, length in enumerate(held) if length), default=0)
        if info.length_is_settled:
            info.length = last * CHUNK_BYTES + held[last] if handles else 0
        else:
            for index in range(last if self.tail_begins is None else self.tail_begins, len(handles)):
                info.tail.add().CopyFrom(self.chunks[handles[index]])
                info.tail[-1].index = index
        return info

    def replace(self, path: str, data: bytes = b"") -> None:
        """What another client does: the file goes, and another one of this name comes, with a chunk of its own."""
        self.ids_given += 1
        self.files[path], self.file_ids[path] = [], self.ids_given
        if data:
            handle = self.allocate()
            self.files[path].append(handle)
            for replica in self.chunks[handle].replicas:
                self.cluster.servers[replica.server].chunks[handle] = bytearray(data)

    def held(self, handle: int) -> int:
        """How many bytes the primary of a chunk holds."""
        return len(self.cluster.servers[self.chunks[handle].replicas[0].server].chunks[handle])

    def check_file(self, path: str, file_id: int) -> None:
        """Raise what a master answers when a path does not name the file that was opened."""
        if path not in self.files and path not in self.directories:
            raise NotFound(f"no file {path}")
        if file_id and self.file_ids.get(path) != file_id:
            raise Conflict(f"{path} is another file now; it was renamed or replaced since it was opened")

    async def once(self, method: str, request: Any, work: Callable[[], Any]) -> Any:
        """Do a change of the namespace; its repetition gets the first answer."""
        self.begin(method, request)
        name = (request.request.client, request.request.number)
        assert all(name), f"{method} has no name"
        if name not in self.answers:
            try:
                self.answers[name] = work()
            except TabletopError as error:
                self.answers[name] = error
        if isinstance(self.answers[name], TabletopError):
            raise self.answers[name]
        self.end(method)
        return self.answers[name]

    async def Create(self, request: Any, context: Any) -> Any:
        return await self.once("Create", request, lambda: self.create(request.path))

    async def CreateFiles(self, request: Any, context: Any) -> Any:
        self.rpcs["CreateFiles"] += 1
        reply = master_pb2.CreateFilesReply()
        for item in request.items:
            result = reply.results.add()
            try:
                result.file.CopyFrom(await self.once("CreateFiles", item, lambda item=item: self.create(item.path)))
            except (Unavailable, TimedOut):
                raise  # The whole call fails.
            except TabletopError as error:
                result.error_kind, result.message = type(error).__name__, error.message
                result.definite = error.definite
                continue
            if request.with_chunks and self.makes_first_chunks and not self.files[item.path]:
                self.files[item.path].append(self.allocate())
                result.file.CopyFrom(self.info(item.path))
                result.holder.CopyFrom(self.holder_of(item.path, 0))
        return reply

    def create(self, path: str) -> master_pb2.FileInfo:
        if path in self.files or path in self.directories:
            raise AlreadyExists(f"{path} exists")
        if (path.rpartition("/")[0] or "/") not in self.directories:
            raise NotFound(f"no directory for {path}")
        self.ids_given += 1
        self.files[path], self.file_ids[path] = [], self.ids_given
        return self.info(path)

    async def MakeDirectory(self, request: Any, context: Any) -> Any:
        def work() -> Any:
            if request.path in self.directories and not request.parents:
                raise AlreadyExists(f"{request.path} exists")
            self.directories.add(request.path)
            return self.info(request.path)

        return await self.once("MakeDirectory", request, work)

    async def Delete(self, request: Any, context: Any) -> Any:
        def work() -> Any:
            self.check_file(request.path, request.file_id)
            del self.files[request.path], self.file_ids[request.path]
            return master_pb2.DeleteReply(files=1)

        return await self.once("Delete", request, work)

    async def Rename(self, request: Any, context: Any) -> Any:
        def work() -> Any:
            self.check_file(request.source, request.file_id)
            if request.target in self.files and not request.replace:
                raise AlreadyExists(f"{request.target} exists")
            self.files[request.target] = self.files.pop(request.source)
            self.file_ids[request.target] = self.file_ids.pop(request.source)
            return master_pb2.RenameReply()

        return await self.once("Rename", request, work)

    async def SetReplication(self, request: Any, context: Any) -> Any:
        def work() -> Any:
            self.check_file(request.path, request.file_id)
            before, self.goals[request.path] = self.goals.get(request.path, 3), request.replication_goal
            return master_pb2.SetReplicationReply(previous_goal=before)

        return await self.once("SetReplication", request, work)

    async def Stat(self, request: Any, context: Any) -> Any:
        self.begin("Stat", request)
        return self.info(request.path)

    async def List(self, request: Any, context: Any) -> Any:
        self.begin("List", request)
        below = request.path.rstrip("/") + "/"
        names = sorted(name for name in [*self.files, *self.directories] if name.startswith(below) and name != below)
        wanted = [
            name for name in names if (request.recursive or "/" not in name[len(below) :]) and name > request.after
        ]
        page = wanted[: request.limit] if request.limit else wanted
        self.end("List")
        return master_pb2.ListReply(entries=[self.info(name) for name in page], is_last=page == wanted)

    async def FindLocations(self, request: Any, context: Any) -> Any:
        self.begin("FindLocations", request)
        self.check_file(request.path, request.file_id)
        info = self.info(request.path)
        if info.is_directory:
            raise IsADirectory(f"{request.path} is a directory")
        reply = master_pb2.FindLocationsReply(file=info)
        handles = self.files[request.path]
        for index in range(request.first_index, min(len(handles), request.first_index + request.count)):
            chunk = reply.chunks.add()
            chunk.CopyFrom(self.chunks[handles[index]])
            chunk.index = index
        self.end("FindLocations")
        return reply

    async def FindLeaseHolder(self, request: Any, context: Any) -> Any:
        self.begin("FindLeaseHolder", request)
        self.check_file(request.path, request.file_id)
        handles = self.files[request.path]
        if request.index > len(handles):
            raise InvalidRequest(f"chunk {request.index} of {request.path} does not follow the last")
        if request.index == len(handles):
            handles.append(self.allocate())
        chunk = self.chunks[handles[request.index]]
        if request.suspect:
            self.leave_out(chunk, request.suspect)
        if request.refused_version == chunk.version:
            self.leave_out(chunk, "")
        self.end("FindLeaseHolder")
        return self.holder_of(request.path, request.index)

    def holder_of(self, path: str, index: int) -> master_pb2.LeaseHolder:
        chunk = self.chunks[self.files[path][index]]
        return master_pb2.LeaseHolder(
            handle=chunk.handle,
            version=chunk.version,
            index=index,
            primary=chunk.replicas[0],
            secondaries=chunk.replicas[1:],
            lease_milliseconds=60_000,
        )

    async def GetClusterStatus(self, request: Any, context: Any) -> Any:
        self.begin("GetClusterStatus", request)
        return master_pb2.ClusterStatus(cluster="fake", file_count=len(self.files))

    def allocate(self) -> int:
        handle = len(self.chunks) + 1
        names = sorted(self.cluster.servers)
        chosen = [names[(handle + step) % len(names)] for step in range(min(self.replicas, len(names)))]
        chunk = common_pb2.ChunkLocations(handle=handle, version=1)
        for name in chosen:
            self.cluster.servers[name].hold(handle, 1)
            chunk.replicas.add().CopyFrom(self.cluster.servers[name].location)
        self.chunks[handle] = chunk
        return handle

    def leave_out(self, chunk: common_pb2.ChunkLocations, server: str) -> None:
        """Go on without the server, under a new version, as a master does when a lease has run out (GFS 4.5)."""
        left = [replica for replica in chunk.replicas if replica.server != server] or list(chunk.replicas)
        del chunk.replicas[:]
        chunk.replicas.extend(left)
        chunk.version += 1
        for replica in left:
            self.cluster.servers[replica.server].versions[chunk.handle] = chunk.version


class FakeCluster:
    """One master, some chunkservers, and clients: `async with FakeCluster(folder) as cluster`."""

    def __init__(self, folder: Any, *, chunkservers: int = 4) -> None:
        self.folder = folder
        self.worlds: list[RealWorld] = []
        self.clients: list[Client] = []
        self.servers: dict[str, FakeChunkserver] = {}
        self.master = FakeMaster(self)
        self.meanwhile: Callable[[], Awaitable[None]] | None = None  # Waited for in the middle of each Write.
        for number in range(1, chunkservers + 1):
            self.servers[f"cs{number}"] = FakeChunkserver(self, f"cs{number}")

    def new_world(self, node: str, *, token: str = "secret") -> Any:
        world = RealWorld(node=node, root=self.folder / node, token=token)
        self.worlds.append(world)
        return world

    def new_client(self, settings: ClientSettings = QUICK) -> Client:
        world = self.new_world(f"client{len(self.clients) + 1}")
        client = Client(world, self.master.rpc.address, settings)
        self.clients.append(client)
        return client

    def holders(self, path: str, index: int = 0) -> list[FakeChunkserver]:
        """The servers of a chunk's replicas, the primary first."""
        chunk = self.master.chunks[self.master.files[path][index]]
        return [self.servers[replica.server] for replica in chunk.replicas]

    def to_happen(self, when: str, method: str, errors: list[Exception]) -> None:
        """Have these errors come from whichever chunkservers are called next."""
        shared: list[Exception | None] = list(errors)
        for server in self.servers.values():
            getattr(server, when)[method] = shared

    def stored(self, path: str) -> list[bytes]:
        """The file's bytes as each place in the order of replicas has them."""
        copies = []
        for place in range(self.master.replicas):
            parts = []
            for index, handle in enumerate(self.master.files[path]):
                servers = self.holders(path, index)
                parts.append(bytes(servers[min(place, len(servers) - 1)].chunks[handle]))
            copies.append(b"".join(parts))
        return copies

    async def __aenter__(self) -> "FakeCluster":
        await self.master.start()
        for server in self.servers.values():
            await server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self.clients:
            await client.close()
            client._reader.locations.check_invariants()
            client._writer.holders.check_invariants()
        for server in self.servers.values():
            await server.stop()
        await self.master.rpc.stop(0)
        for world in self.worlds:
            await world.close()
        # Nothing is left running but this.
        assert asyncio.all_tasks() == {asyncio.current_task()}
