"""The client's connections for bulk bytes: reading a piece from a replica, pushing one down a chain (GFS 3.2).

A connection carries one transfer at a time; the caller that wants several pieces at once uses several connections, so
that no piece waits for another one's replica. `runtime/bulk_pool.py` keeps them for the next transfer.

Invariant: bytes are given to the caller only after their checksums were compared (GFS 5.2 ends at the chunkserver; this
also covers the way from there to here).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from runtime.bulk import check_payload, encode_header, read_header
from runtime.bulk_pool import BulkPool
from runtime.errors import Corrupted, TimedOut, Unavailable, error_from_wire
from runtime.wire.bulk_pb2 import BulkRequest, PushReply, PushRequest, ReadReply, ReadRequest
from runtime.wire.chunkserver_pb2 import DataId
from runtime.wire.common_pb2 import Location
from runtime.world import ByteStream, World

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What a replica answered: `length` bytes are in the target; the whole chunk has `chunk_length` bytes there."""

    length: int
    chunk_length: int


class BulkLinks:
    """Connections to bulk listeners, and what travels over them."""

    def __init__(self, world: World, *, idle_connections: int) -> None:
        self._pool = BulkPool(world, idle_connections=idle_connections)

    async def read(
        self, replica: Location, request: ReadRequest, target: memoryview, *, timeout_seconds: float
    ) -> ReadAnswer:
        """Read a piece of a chunk into `target`, which has room for `request.length` bytes.

        Raises what the replica answered (StaleVersion, NotFound, Corrupted, ...), Corrupted for damage on the way,
        Unavailable, and TimedOut.
        """
        encoded = encode_header(BulkRequest(read=request))

        async def talk(stream: ByteStream) -> ReadReply:
            reply = await read_header(stream, ReadReply)
            if reply.length > min(request.length, len(target)):
                raise Corrupted(f"{replica.server} sent {reply.length} bytes where {request.length} were asked for")
            if reply.length:
                await stream.read_into(target[: reply.length])
            return reply

        reply = await self._transfer(replica, encoded, talk, timeout_seconds)
        if reply.error_kind:
            raise error_from_wire(reply.error_kind, reply.message, definite=True)
        check_payload(target[: reply.length], reply.crc32c, replica.server)
        return ReadAnswer(reply.length, reply.chunk_length)

    async def push(
        self,
        chain: Sequence[Location],
        data_id: DataId,
        data: memoryview,
        checksums: Sequence[int],
        *,
        cause: str,
        timeout_seconds: float,
    ) -> PushReply:
        """Send data to the first of the chain, which forwards it while it arrives (GFS 3.1 step 3, 3.2).

        `checksums` are those of each 64 KiB. The reply says who has the data and who failed. Raises Unavailable or
        TimedOut when the first one does not answer.
        """
        request = PushRequest(data=data_id, length=len(data), chain=chain[1:], cause=cause, crc32c=checksums)
        encoded = encode_header(BulkRequest(push=request))

        async def talk(stream: ByteStream) -> PushReply:
            await stream.write(data)
            return await read_header(stream, PushReply)

        # A receiver that fails may answer before it has read everything, so that the connection is of no more use.
        return await self._transfer(chain[0], encoded, talk, timeout_seconds, keep=lambda reply: not reply.failed)

    def close(self) -> None:
        """Drop every idle connection."""
        self._pool.close()

    async def _transfer(
        self,
        server: Location,
        first_bytes: bytes,
        talk: Callable[[ByteStream], Awaitable[T]],
        timeout_seconds: float,
        keep: Callable[[T], bool] = lambda _: True,
    ) -> T:
        address = server.bulk_address
        who = f"{server.server} at {address}"
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    async with self._pool.borrow(address, first_bytes) as link:
                        try:
                            reply = await talk(link.stream)
                        except (Unavailable, EOFError) as error:
                            if link.is_new:
                                raise Unavailable(f"{who} ended the transfer: {error}") from error
                            # It was closed while it lay idle, because the server was restarted; so were the others.
                            self._pool.drop(address)
                            continue
                        link.is_clean = keep(reply)
                        return reply
        except TimeoutError:
            raise TimedOut(f"{who} moved no piece within {timeout_seconds:g} seconds") from None
