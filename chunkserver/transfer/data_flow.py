"""Bulk bytes: pushes that run down a chain of chunkservers, and reads (GFS 3.1 step 3, 3.2, 5.2).

The problem. Three replicas need the same megabyte. If the client sent it three times, its own network link would be the
bottleneck; if each server forwarded it only after all had come, the time would triple. The idea: the servers form a
chain, and each forwards every part while the next one is still arriving. Sending B bytes to R replicas ideally takes
B/T + R*L: throughput T of one link, latency L of one hop.

    client --bytes--> cs2 --bytes--> cs1 --bytes--> cs3
    client <-- stored: cs2, cs1, cs3 <-- cs1, cs3 <-- cs3

Each hop checks every part before it forwards it, so that damage is noticed where it happened. The answer runs back up
the chain: who has everything, and who was the first that has not. If the chain breaks, the part before the break still
takes the data.

A read is answered only after each block that it touches has been compared with its checksum; the answer carries
checksums of what is sent, so that the reader can check the way as well. After an error the connection stays usable.

Invariants:
1. A payload is always read to its last byte, wanted or not, so that both sides agree where the next request begins.
2. Nothing stands still for ever: a server that is paused keeps its connections. Who has more of the chain behind
   itself waits longer, so that it is the neighbour of the one that stands still who gives up first, and names it.

What we simplify. A part is received as a whole before it is forwarded: at most `FORWARD_BYTES` stay behind at each hop.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from chunkserver.mutation.advancing import progress_to_wire
from chunkserver.mutation.push_buffer import DataKey, PushBuffer
from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.block_mender import BlockMender
from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.reads import ReadCounts
from runtime.bulk import (
    CHECKSUM_BYTES,
    READ_LIMIT_BYTES,
    check_payload,
    encode_header,
    read_header,
    receive_hello,
)
from runtime.bulk_pool import BulkPool, Link
from runtime.errors import Corrupted, InvalidRequest, NoSpace, TabletopError, TimedOut, Unauthenticated, Unavailable
from runtime.events import because
from runtime.wire.bulk_pb2 import BulkRequest, PushReply, PushRequest, ReadReply, ReadRequest
from runtime.wire.common_pb2 import Location
from runtime.world import ByteStream, World

FORWARD_BYTES = 2 * CHECKSUM_BYTES  # a part: received, checked, forwarded; a megabyte has several of them

_ROOM_SECONDS = 4.0  # how long a push waits for room in the buffer
_ROOM_POLL_SECONDS = 0.05
_PATIENCE_WITH_SENDERS = 3  # times the time limit of one hop


class DataFlow:
    """Serves bulk streams."""

    def __init__(
        self,
        world: World,
        settings: ChunkserverSettings,
        store: ChunkStore,
        buffer: PushBuffer,
        mender: BlockMender,
        links: BulkPool,
        reads: ReadCounts,
    ) -> None:
        self.counters = {
            "bytes_pushed": 0,
            "bytes_forwarded": 0,
            "bytes_read": 0,
            "reads": 0,
            "pushes": 0,
            "pushes_failed": 0,
        }
        self._world = world
        self._settings = settings
        self._store = store
        self._mender = mender
        self._buffer = buffer
        self._links = links
        self._reads = reads

    async def serve(self, stream: ByteStream) -> None:
        """Answer the requests of one connection, one after the other, until it ends."""
        try:
            await receive_hello(self._world, stream)
        except (Unauthenticated, InvalidRequest) as refusal:
            await self._refuse(stream, refusal)
            return
        except Corrupted:
            return
        while True:
            try:
                request = await read_header(stream, BulkRequest)
            except EOFError:
                return
            except Corrupted:
                stream.abort()  # Whoever this is does not speak the protocol; there is no way to find the next request.
                return
            if request.WhichOneof("kind") == "push":
                with because(request.push.cause):
                    await self._receive_push(stream, request.push)
            else:
                answer = self._answer_salvage if request.read.salvage else self._answer_read
                with because(request.read.cause):
                    await answer(stream, request.read)

    async def _refuse(self, stream: ByteStream, refusal: TabletopError) -> None:
        """Answer the first request of a connection that may not have any, and end it."""
        kind, message = type(refusal).__name__, refusal.message
        try:
            request = await read_header(stream, BulkRequest)
        except (EOFError, Corrupted):
            return
        if request.WhichOneof("kind") == "push":
            await _skip(stream, request.push.length)
            reply = PushReply(failed=self._world.node, error_kind=kind, message=message)
            await stream.write(encode_header(reply))
        else:
            await stream.write(encode_header(ReadReply(error_kind=kind, message=message)))

    # Reads

    async def _answer_read(self, stream: ByteStream, request: ReadRequest) -> None:
        async with AsyncExitStack() as stack:
            try:
                if not 0 < request.length <= READ_LIMIT_BYTES:
                    raise InvalidRequest(f"a read of {request.length} bytes: expected 1 to {READ_LIMIT_BYTES}")
                found = await stack.enter_async_context(
                    self._store.reading(
                        request.handle, least_version=request.version, offset=request.offset, count=request.length
                    )
                )
            except TabletopError as error:
                await stream.write(encode_header(ReadReply(error_kind=type(error).__name__, message=error.message)))
                return
            reply = ReadReply(length=found.length, crc32c=found.checksums, chunk_length=found.chunk_length)
            await stream.write(encode_header(reply))
            if found.length and found.file is not None:
                await stream.send_file(found.file, found.offset, found.length)
            self.counters["reads"] += 1
            self.counters["bytes_read"] += found.length
            if not request.for_copy:
                self._reads.note(request.handle, found.length)

    async def _answer_salvage(self, stream: ByteStream, request: ReadRequest) -> None:
        """Send one block that matches its checksum, of whatever replica is here (`mending.py`)."""
        try:
            if request.offset % BLOCK_BYTES or request.length != BLOCK_BYTES:
                raise InvalidRequest(
                    f"bytes {request.offset} to {request.offset + request.length} are to be salvaged: expected one "
                    f"block of {BLOCK_BYTES} bytes"
                )
            found = await self._mender.sound_block(request.handle, request.offset // BLOCK_BYTES)
        except TabletopError as error:
            await stream.write(encode_header(ReadReply(error_kind=type(error).__name__, message=error.message)))
            return
        checksums = [found.checksum] if found.data else []
        reply = ReadReply(
            length=len(found.data),
            crc32c=checksums,
            chunk_length=found.chunk_length,
            version=found.version,
            progress=progress_to_wire(found.progress),
        )
        await stream.write(encode_header(reply) + found.data)

    # Pushes

    async def _receive_push(self, stream: ByteStream, request: PushRequest) -> None:
        key = (request.data.client, request.data.number)
        try:
            target = await self._reserve(key, request.length, request.crc32c)
        except TabletopError as error:
            await _skip(stream, request.length)
            await stream.write(encode_header(self._failed(self._world.node, error)))
            return
        is_complete = False
        try:
            reply = await self._receive_and_forward(stream, request, target)
            if self._world.node in reply.stored:
                self._buffer.complete(key, now=self._world.clock.now())
                is_complete = True
        finally:
            if not is_complete:
                self._buffer.abandon(key)
        self.counters["pushes"] += 1
        self.counters["bytes_pushed"] += request.length
        await stream.write(encode_header(reply))

    async def _receive_and_forward(self, stream: ByteStream, request: PushRequest, target: memoryview) -> PushReply:
        if not request.chain:
            wrong = await self._receive(stream, target, request.crc32c, None)
            return PushReply(stored=[self._world.node]) if wrong is None else self._failed(self._world.node, wrong)
        following = request.chain[0]
        rest = PushRequest(
            data=request.data,
            length=request.length,
            chain=request.chain[1:],
            cause=request.cause,
            crc32c=request.crc32c,
        )
        first_bytes = encode_header(BulkRequest(push=rest))
        async with AsyncExitStack() as stack:
            onward = _Onward(following, self._settings.stall_seconds * len(request.chain))
            try:
                onward.link = await stack.enter_async_context(self._links.borrow(following.bulk_address, first_bytes))
            except TabletopError as error:
                onward.error = error
            wrong = await self._receive(stream, target, request.crc32c, onward)
            if wrong is not None:
                return self._failed(self._world.node, wrong)
            reply = await self._answer_from(onward)
        if onward.error is not None and onward.link is not None and not onward.link.is_new:
            reply = await self._push_again(following, first_bytes, target, onward.stall_seconds)
        elif onward.error is None:
            self.counters["bytes_forwarded"] += request.length
        reply.stored.insert(0, self._world.node)
        return reply

    async def _push_again(
        self, following: Location, first_bytes: bytes, data: memoryview, stall_seconds: float
    ) -> PushReply:
        """The connection had been idle, and the next server was restarted meanwhile: try once more on a new one."""
        self._links.drop(following.bulk_address)
        onward = _Onward(following, stall_seconds)
        try:
            async with self._links.borrow(following.bulk_address, first_bytes) as onward.link:
                for begin in range(0, len(data), FORWARD_BYTES):
                    await onward.forward(data[begin : begin + FORWARD_BYTES])
                return await self._answer_from(onward)
        except TabletopError as error:
            return self._failed(following.server, error)

    async def _receive(
        self, stream: ByteStream, target: memoryview, checksums: Sequence[int], onward: "_Onward | None"
    ) -> TabletopError | None:
        """Fill `target`, forwarding each part; returns what was wrong with one, if any.

        Raises Unavailable if the sender goes away: then there is nobody to tell.
        """
        wrong: TabletopError | None = None
        for begin in range(0, len(target), FORWARD_BYTES):
            part = target[begin : begin + FORWARD_BYTES]
            await self._receive_part(stream, part)
            if wrong is not None:
                continue
            expected = checksums[begin // CHECKSUM_BYTES : (begin + FORWARD_BYTES) // CHECKSUM_BYTES]
            try:
                check_payload(part, expected, stream.peer, begin=begin)
            except Corrupted as error:
                wrong = error
            else:
                if onward is not None:
                    await onward.forward(part)
        return wrong

    async def _receive_part(self, stream: ByteStream, part: memoryview) -> None:
        """Fill a part. Raises Unavailable."""
        seconds = _PATIENCE_WITH_SENDERS * self._settings.stall_seconds
        try:
            async with asyncio.timeout(seconds):
                await stream.read_into(part)
        except TimeoutError:
            stream.abort()
            raise Unavailable(f"{stream.peer} sent nothing for {seconds:g} seconds in the middle of a push") from None

    async def _answer_from(self, onward: "_Onward") -> PushReply:
        """What the rest of the chain says."""
        link = onward.link
        if onward.error is None and link is not None:
            try:
                async with asyncio.timeout(onward.stall_seconds):
                    reply = await read_header(link.stream, PushReply)
                link.is_clean = True
                return reply
            except (EOFError, TabletopError) as error:
                onward.error = Unavailable(f"it ended the transfer: {error}")
            except TimeoutError:
                onward.error = TimedOut(f"it gave no answer within {onward.stall_seconds:g} seconds")
        return self._failed(onward.server.server, onward.error or Unavailable("it cannot be reached"))

    def _failed(self, server: str, error: TabletopError) -> PushReply:
        self.counters["pushes_failed"] += 1
        return PushReply(failed=server, error_kind=type(error).__name__, message=error.message)

    async def _reserve(self, key: DataKey, length: int, checksums: Sequence[int]) -> memoryview:
        """Room in the buffer, waiting a while for it. Raises InvalidRequest, NoSpace."""
        if not 0 < length <= self._buffer.limit_bytes:
            raise InvalidRequest(f"a push of {length} bytes: expected 1 to {self._buffer.limit_bytes}")
        if len(checksums) != -(-length // CHECKSUM_BYTES):
            raise InvalidRequest(
                f"a push of {length} bytes with {len(checksums)} checksums: expected one for each 64 KiB"
            )
        await self._store.check_space(length)
        clock = self._world.clock
        until = clock.now() + _ROOM_SECONDS
        while (target := self._buffer.reserve(key, length, now=clock.now(), checksums=checksums)) is None:
            if clock.now() >= until:
                raise NoSpace(
                    f"the push buffer of {self._buffer.limit_bytes} bytes has no room for {length} more; other pushes "
                    "fill it, try again"
                )
            await clock.sleep(_ROOM_POLL_SECONDS)
        return target


class _Onward:
    """The way to the next server of the chain, while it lasts."""

    def __init__(self, server: Location, stall_seconds: float) -> None:
        self.server = server
        self.stall_seconds = stall_seconds
        self.link: Link | None = None
        self.error: TabletopError | None = None

    async def forward(self, part: memoryview) -> None:
        """Send one part on; after a failure, do nothing."""
        if self.link is None or self.error is not None:
            return
        try:
            async with asyncio.timeout(self.stall_seconds):
                await self.link.stream.write(part)
        except Unavailable as error:
            self.error = error
        except TimeoutError:
            self.error = TimedOut(f"it took nothing for {self.stall_seconds:g} seconds")


async def _skip(stream: ByteStream, length: int) -> None:
    """Read a payload that is not wanted."""
    scratch = memoryview(bytearray(min(length, FORWARD_BYTES)))
    for begin in range(0, length, FORWARD_BYTES):
        await stream.read_into(scratch[: length - begin])
