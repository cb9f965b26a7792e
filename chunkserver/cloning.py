"""Copies of other servers' replicas (GFS 4.3).

The problem. A chunk has fewer replicas than its goal, and this server is to hold one more; clients must not suffer from
the copying, and half a copy must never look like a replica. The idea: read the chunk over the same path as any reader,
verified at the source and on arrival, slowly if so told, into files of another place; rename them into place when
everything is there. The copy carries its source's version.

Invariants: (1) until the copy is complete nothing of it is visible; (2) the source is at the same version and length
after the last byte as before the first.

What we simplify. A copy that breaks off begins from the start.
"""

import asyncio
from collections.abc import Callable

from chunkserver.blocks import BLOCK_BYTES
from chunkserver.chunk_files import INCOMING
from chunkserver.chunk_format import TABLE_OFFSET, Header, encode_entries, encode_header, slot_offset
from chunkserver.chunk_store import ChunkStore, ReplicaState
from chunkserver.events import ChunkCloned
from chunkserver.settings import ChunkserverSettings
from chunkserver.settling import rewritten
from runtime.bulk import check_payload, read_header
from runtime.bulk import encode_header as encode_bulk_header
from runtime.bulk_pool import BulkPool
from runtime.errors import Conflict, NotFound, StaleVersion, TimedOut, Unavailable, error_from_wire
from runtime.events import current_cause
from runtime.wire.bulk_pb2 import BulkRequest, ReadReply, ReadRequest
from runtime.wire.chunkserver_pb2 import ChunkStatesRequest, CloneRequest
from runtime.wire.chunkserver_pb2_grpc import ChunkserverStub
from runtime.wire.common_pb2 import ChunkState
from runtime.world import File, World

PIECE_BYTES = 16 * BLOCK_BYTES


class Cloning:
    """Makes copies; one at a time of each chunk."""

    def __init__(
        self,
        world: World,
        settings: ChunkserverSettings,
        store: ChunkStore,
        links: BulkPool,
        *,
        chunk_bytes: Callable[[], int],
    ) -> None:
        self.counters = {"chunks_cloned": 0, "bytes_cloned": 0}
        self._world = world
        self._settings = settings
        self._store = store
        self._links = links
        self._chunk_bytes = chunk_bytes
        self._running: dict[int, None] = {}

    async def clone(self, request: CloneRequest, *, is_known_bad: bool) -> ReplicaState:
        """Copy a chunk; returns when the copy is in place. A replica that is here at that version already is the
        answer at once, unless it is known to be damaged.

        Raises Conflict (it is being copied, or changed at the source), StaleVersion, Corrupted, NoSpace, Unavailable.
        """
        handle = request.handle
        present = self._store.state(handle)
        if present is not None and present.version == request.version and not is_known_bad:
            return present
        if present is not None and present.version > request.version:
            raise StaleVersion(f"chunk {handle:#x} is here at version {present.version}, not {request.version}")
        if handle in self._running:
            raise Conflict(f"chunk {handle:#x} is being copied already; wait for that")
        self._running[handle] = None
        try:
            return await self._copy(request)
        finally:
            del self._running[handle]

    async def _copy(self, request: CloneRequest) -> ReplicaState:
        handle, version, source = request.handle, request.version, request.source.server
        before = await self._source_state(request)
        await self._store.check_space(before.length)
        disk = self._world.disk
        data_path, metadata_path = f"{INCOMING}/{handle:016x}.data", f"{INCOMING}/{handle:016x}.meta"
        paths = [data_path]
        try:
            file = await disk.open(data_path, "replace")
            try:
                checksums = await self._fetch(request, before.length, file)
                if self._settings.durability == "fsync":
                    await file.sync()
            finally:
                await file.close()
            after = await self._source_state(request)
            if after.length != before.length:
                raise Conflict(f"chunk {handle:#x} changed at {source} while it was copied; copy it again")
            paths.append(metadata_path)
            header = await self._write_metadata(metadata_path, handle, version, before.length, checksums)
            await self._store.install(header, data_path, metadata_path)
        finally:
            for path in paths:
                if await disk.exists(path):
                    await disk.remove(path)
        self.counters["chunks_cloned"] += 1
        self.counters["bytes_cloned"] += before.length
        self._world.events.emit(ChunkCloned(handle=handle, version=version, length=before.length, source=source))
        return ReplicaState(handle, version, before.length)

    async def _write_metadata(self, path: str, handle: int, version: int, length: int, checksums: list[int]) -> Header:
        empty = Header(sequence=0, handle=handle, version=version, length=0, capacity=self._chunk_bytes())
        header = rewritten(empty, length, 0, checksums)
        file = await self._world.disk.open(path, "replace")
        try:
            await file.write_at(TABLE_OFFSET, encode_entries(checksums[: header.entries_count]))
            await file.write_at(slot_offset(header.sequence), encode_header(header))
            if self._settings.durability == "fsync":
                await file.sync()
        finally:
            await file.close()
        return header

    async def _source_state(self, request: CloneRequest) -> ChunkState:
        stub = ChunkserverStub(self._world.network.channel(request.source.control_address))
        reply = await stub.GetChunkStates(
            ChunkStatesRequest(handles=[request.handle]), timeout=self._settings.call_seconds
        )
        if not reply.states:
            raise NotFound(f"{request.source.server} has no replica of chunk {request.handle:#x}")
        if reply.states[0].version != request.version:
            raise StaleVersion(
                f"chunk {request.handle:#x} is at version {reply.states[0].version} on {request.source.server}, "
                f"expected {request.version}"
            )
        return reply.states[0]

    async def _fetch(self, request: CloneRequest, length: int, file: File) -> list[int]:
        """Read all bytes into the file; returns their checksums, one a block."""
        checksums: list[int] = []
        buffer = memoryview(bytearray(min(PIECE_BYTES, max(1, length))))
        clock, began = self._world.clock, self._world.clock.now()
        for offset in range(0, length, PIECE_BYTES):
            piece = buffer[: min(PIECE_BYTES, length - offset)]
            checksums += await self._fetch_piece(request, offset, piece)
            await file.write_at(offset, piece)
            if request.bytes_per_second:
                due = began + (offset + len(piece)) / request.bytes_per_second
                await clock.sleep(max(0.0, due - clock.now()))
        return checksums

    async def _fetch_piece(self, request: CloneRequest, offset: int, piece: memoryview) -> list[int]:
        source = request.source
        wanted = ReadRequest(
            handle=request.handle, version=request.version, offset=offset, length=len(piece), cause=current_cause()
        )
        first_bytes = encode_bulk_header(BulkRequest(read=wanted))
        try:
            async with (
                asyncio.timeout(self._settings.stall_seconds),
                self._links.borrow(source.bulk_address, first_bytes) as link,
            ):
                reply = await read_header(link.stream, ReadReply)
                if reply.error_kind:
                    link.is_clean = True
                    raise error_from_wire(reply.error_kind, f"{source.server}: {reply.message}", definite=True)
                if reply.length != len(piece):
                    raise Conflict(
                        f"{source.server} sent {reply.length} of {len(piece)} bytes of chunk {request.handle:#x}"
                    )
                await link.stream.read_into(piece)
                link.is_clean = True
        except EOFError as error:
            raise Unavailable(f"{source.server} ended the transfer: {error}") from error
        except TimeoutError:
            raise TimedOut(f"{source.server} sent nothing for {self._settings.stall_seconds:g} seconds") from None
        check_payload(piece, reply.crc32c, source.server, begin=offset)
        return list(reply.crc32c)
