"""Copies of other servers' replicas (GFS 4.3), and of other chunks' replicas on this server (GFS 3.4).

The problem. A chunk has fewer replicas than its goal, and this server is to hold one more; clients must not suffer from
the copying, half a copy must never look like a replica, and whoever ordered the copy wants to know whether it comes on.
The idea: read the chunk over the same path as any reader, verified at the source and on arrival, slowly if so told,
into files of another place; put them into their place when everything is there. Each piece may come from another
source: if one is gone, or its block is damaged, the next one is asked. Progress is told while the bytes arrive.

When a chunk that files share is to be written, the writer's file gets a chunk of its own: a copy is made under another
handle on each server that has a replica, from its own disk ("our disks are about three times as fast as our 100 Mb
Ethernet links", 3.4). It is the same work, but for where the bytes come from.

Invariants: (1) until the copy is complete nothing of it is visible, and what was here before stays; (2) it is on stable
storage before it is answered for, with the version that was asked for; (3) a source is at that version and has the same
length after the last byte as before the first, and no source that was used says otherwise; a replica of another chunk
that is copied here is at the named version or a higher one; (4) a caller that goes away ends the copy, unless it is
complete, and nothing of it is left.

What we simplify. A copy that breaks off begins from the start.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from chunkserver.events import ChunkCloned
from chunkserver.mutation.advancing import to_wire
from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_format import TABLE_OFFSET, Header, Progress, encode_entries, encode_slots, with_table
from chunkserver.storage.chunk_store import ChunkStore, ReplicaState
from chunkserver.storage.headers import rewritten
from chunkserver.storage.placing import incoming_path
from chunkserver.transfer.peers import read_from
from runtime.bulk import checksums_of
from runtime.bulk_pool import BulkPool
from runtime.errors import (
    Conflict,
    Corrupted,
    InvalidRequest,
    NotFound,
    StaleVersion,
    TabletopError,
    TimedOut,
    Unavailable,
)
from runtime.events import current_cause
from runtime.wire.bulk_pb2 import ReadRequest
from runtime.wire.chunkserver_pb2 import ChunkStatesRequest, CloneProgress, CloneRequest
from runtime.wire.chunkserver_pb2_grpc import ChunkserverStub
from runtime.wire.common_pb2 import Location
from runtime.world import File, World

PIECE_BYTES = 16 * BLOCK_BYTES
_PROGRESS_SECONDS = 0.5  # At least so often something is told, while the copy is slowed down on purpose.


class _Copy:
    """One copy under way."""

    def __init__(self, request: CloneRequest) -> None:
        self.request = request
        self.sources = list(request.sources)  # in the order in which they are tried now
        self.used: dict[str, Location] = {}
        self.length = 0
        self.copied = 0
        self.is_complete = False  # It is being put in its place, and is not given up any more.
        self.moved = asyncio.Event()

    def came_on(self, copied: int) -> None:
        """So many bytes are here."""
        self.copied = copied
        self.moved.set()


class Cloning:
    """Makes copies; one at a time of each chunk. `on_installed` is told of a chunk that was replaced."""

    def __init__(
        self,
        world: World,
        settings: ChunkserverSettings,
        store: ChunkStore,
        links: BulkPool,
        *,
        chunk_bytes: Callable[[], int],
        on_installed: Callable[[int], None],
    ) -> None:
        self.counters = {"chunks_cloned": 0, "bytes_cloned": 0}
        self._world = world
        self._settings = settings
        self._store = store
        self._links = links
        self._chunk_bytes = chunk_bytes
        self._on_installed = on_installed
        self._running: dict[int, None] = {}

    async def clone(self, request: CloneRequest) -> AsyncIterator[CloneProgress]:
        """Copy a chunk; tells progress, and at last what is here when the copy is in place. A replica that is here at
        that version already is the answer at once, unless it is unsure or damaged: then it is replaced, like an older
        one.

        Raises Conflict (it is being copied, or changed at the source), StaleVersion, NotFound, Corrupted, NoSpace,
        Unavailable, TimedOut, DiskFailure.
        """
        handle = request.handle
        await self._store.finish(handle)
        present = self._store.state(handle)
        if present is not None and present.version > request.version:
            raise StaleVersion(f"chunk {handle:#x} is here at version {present.version}, not {request.version}")
        if present is not None and present.version == request.version and not (present.is_unsure or present.is_damaged):
            yield await self._done(present)
            return
        if not request.sources and not request.copy_of:
            raise InvalidRequest(f"chunk {handle:#x} is to be copied from nowhere; name at least one source")
        if handle in self._running:
            raise Conflict(f"chunk {handle:#x} is being copied already; wait for that")
        self._running[handle] = None
        copy = _Copy(request)
        task = self._world.spawn(self._outcome(copy), f"copy chunk {handle:#x}")
        task.add_done_callback(lambda _: self._ended(copy))
        try:
            while not task.done():
                await copy.moved.wait()
                copy.moved.clear()
                if not task.done():
                    yield CloneProgress(copied_bytes=copy.copied, total_bytes=copy.length)
        finally:
            if not copy.is_complete:
                task.cancel()
        outcome = task.result()
        if isinstance(outcome, TabletopError):
            raise outcome
        yield await self._done(outcome)

    async def _done(self, state: ReplicaState) -> CloneProgress:
        """The last word: what is here."""
        digest = (await self._store.compare(state.handle)).digest
        return CloneProgress(copied_bytes=state.length, total_bytes=state.length, done=to_wire(state), digest=digest)

    async def _outcome(self, copy: _Copy) -> ReplicaState | TabletopError:
        try:
            return await self._copy(copy)
        except TabletopError as error:
            return error

    def _ended(self, copy: _Copy) -> None:
        del self._running[copy.request.handle]
        copy.moved.set()

    async def _copy(self, copy: _Copy) -> ReplicaState:
        handle, version, placing = copy.request.handle, copy.request.version, self._store.placing
        of = copy.request.copy_of
        copy.length = self._length_here(copy.request) if of else await self._length_at(copy)
        await self._store.check_space(copy.length)
        await placing.begin_copy()
        try:
            file = await self._world.disk.open(incoming_path(handle, "data"), "replace")
            try:
                checksums = await (self._copy_here(copy, file) if of else self._fetch(copy, file))
                await file.sync()
            finally:
                await file.close()
            if of:
                self._check_here(copy)
            else:
                await self._check_sources(copy)
            header = await self._write_draft(handle, version, copy.length, checksums)
            copy.is_complete = True
            await self._store.install(header)
        except BaseException:
            await placing.discard(handle)
            raise
        self._on_installed(handle)
        self.counters["chunks_cloned"] += 1
        self.counters["bytes_cloned"] += copy.length
        names = f"chunk {of:#x} here" if of else ", ".join(copy.used) or copy.sources[0].server
        self._world.events.emit(ChunkCloned(handle=handle, version=version, length=copy.length, source=names))
        return self._store.state(handle) or ReplicaState(handle, version, copy.length)

    async def _write_draft(self, handle: int, version: int, length: int, checksums: list[int]) -> Header:
        """Write the copy's metadata file, complete and synced. Its sources are sure at this version, so that it has all
        that was acknowledged under lower ones; nothing was written under this one yet."""
        writer = self._store.writer
        empty = Header(
            sequence=1,
            handle=handle,
            boot=writer.boot,
            version=version,
            length=0,
            capacity=max(self._chunk_bytes(), length),
            is_synced=writer.syncs,
            progress=Progress(version, 0),
            durable_progress=Progress(version, 0),
        )
        header = with_table(rewritten(empty, length, 0, checksums), checksums)
        file = await self._world.disk.open(incoming_path(handle, "draft"), "replace")
        try:
            await file.write_at(0, encode_slots(header))
            await file.write_at(TABLE_OFFSET, encode_entries(checksums[: header.entries_count]))
            await file.sync()
        finally:
            await file.close()
        return header

    # The sources

    async def _length_at(self, copy: _Copy) -> int:
        """How long the chunk is at the first source that holds it as asked for; the others come after that one."""
        first_error: TabletopError | None = None
        for source in list(copy.sources):
            try:
                return await self._source_length(copy.request, source)
            except TabletopError as error:
                first_error = first_error or error
                copy.sources.append(copy.sources.pop(0))
        assert first_error is not None
        raise first_error

    async def _check_sources(self, copy: _Copy) -> None:
        """Raise unless the sources still hold what was copied. One that does not answer any more says nothing."""
        silent: TabletopError | None = None
        confirmed = 0
        for source in copy.used.values() or copy.sources[:1]:
            try:
                length = await self._source_length(copy.request, source)
            except (Unavailable, TimedOut) as error:
                silent = error
                continue
            if length != copy.length:
                raise Conflict(
                    f"chunk {copy.request.handle:#x} changed at {source.server} while it was copied; copy it again"
                )
            confirmed += 1
        if not confirmed and silent is not None:
            raise silent

    async def _source_length(self, request: CloneRequest, source: Location) -> int:
        stub = ChunkserverStub(self._world.network.channel(source.control_address))
        reply = await stub.GetChunkStates(
            ChunkStatesRequest(handles=[request.handle]), timeout=self._settings.call_seconds
        )
        if not reply.states:
            raise NotFound(f"{source.server} has no replica of chunk {request.handle:#x}")
        state = reply.states[0]
        if state.version != request.version:
            raise StaleVersion(
                f"chunk {request.handle:#x} is at version {state.version} on {source.server}, "
                f"expected {request.version}"
            )
        if state.unsure:
            raise Unavailable(
                f"the replica of chunk {request.handle:#x} on {source.server} has lost power and awaits comparison",
                definite=True,
            )
        return state.length

    # Another chunk on this server

    def _length_here(self, request: CloneRequest) -> int:
        """How long the replica is that is to be copied under another handle. Raises NotFound, StaleVersion, Unavailable
        (it is unsure)."""
        self._store.require_sure(request.copy_of)
        state = self._store.state(request.copy_of)
        assert state is not None
        if state.version < request.copy_version:
            raise StaleVersion(
                f"chunk {request.copy_of:#x} is at version {state.version} here, expected {request.copy_version}"
            )
        return state.length

    def _check_here(self, copy: _Copy) -> None:
        """Raise unless the replica is as long as when the copy began: nobody writes a chunk that files share."""
        if self._length_here(copy.request) != copy.length:
            raise Conflict(f"chunk {copy.request.copy_of:#x} has changed while it was copied; copy it again")

    async def _copy_here(self, copy: _Copy, file: File) -> list[int]:
        """Write all bytes of the replica into the file; returns their checksums, one a block: those that the replica
        has, with which every block is compared once more as it is copied."""
        request, checksums = copy.request, list[int]()
        for offset in range(0, copy.length, PIECE_BYTES):
            count = min(PIECE_BYTES, copy.length - offset)
            reading = self._store.reading(
                request.copy_of, least_version=request.copy_version, offset=offset, count=count
            )
            async with reading as verified:
                if verified.file is None or verified.length != count:
                    raise Conflict(f"chunk {request.copy_of:#x} has changed while it was copied; copy it again")
                piece = await verified.file.read_at(offset, count)
            if len(piece) != count or checksums_of(piece) != verified.checksums:
                raise Corrupted(f"bytes {offset} to {offset + count} of chunk {request.copy_of:#x} changed when read")
            await file.write_at(offset, piece)
            checksums += verified.checksums
            copy.came_on(offset + count)
            await self._world.breathe()
        return checksums

    # The bytes of other servers

    async def _fetch(self, copy: _Copy, file: File) -> list[int]:
        """Read all bytes into the file; returns their checksums, one a block."""
        checksums: list[int] = []
        buffer = memoryview(bytearray(min(PIECE_BYTES, max(1, copy.length))))
        clock, began = self._world.clock, self._world.clock.now()
        for offset in range(0, copy.length, PIECE_BYTES):
            piece = buffer[: min(PIECE_BYTES, copy.length - offset)]
            checksums += await self._fetch_piece(copy, offset, piece)
            await file.write_at(offset, piece)
            if rate := copy.request.bytes_per_second:
                # Told as if the bytes came evenly: whoever waits must see that a copy comes on, however low the rate.
                due = began + (offset + len(piece)) / rate
                while (remaining := due - clock.now()) > 0:
                    copy.came_on(max(offset, int((clock.now() - began) * rate)))
                    await clock.sleep(min(remaining, _PROGRESS_SECONDS))
            copy.came_on(offset + len(piece))
        return checksums

    async def _fetch_piece(self, copy: _Copy, offset: int, piece: memoryview) -> list[int]:
        """Fill a piece from the first source that gives it whole; returns the checksums of its blocks. A source that
        cannot be reached is asked last from now on."""
        first_error: TabletopError | None = None
        for source in list(copy.sources):
            try:
                checksums = await self._read_from(source, copy.request, offset, piece)
            except TabletopError as error:
                first_error = first_error or error
                if isinstance(error, Unavailable | TimedOut):
                    copy.sources.remove(source)
                    copy.sources.append(source)
                continue
            copy.used[source.server] = source
            return checksums
        assert first_error is not None
        raise first_error

    async def _read_from(self, source: Location, request: CloneRequest, offset: int, piece: memoryview) -> list[int]:
        wanted = ReadRequest(
            handle=request.handle,
            version=request.version,
            offset=offset,
            length=len(piece),
            cause=current_cause(),
            for_copy=True,
        )
        reply = await read_from(self._links, source, wanted, piece, stall_seconds=self._settings.stall_seconds)
        if reply.length != len(piece):
            raise Conflict(f"{source.server} sent {reply.length} of {len(piece)} bytes of chunk {request.handle:#x}")
        return list(reply.crc32c)
