"""Reading from another chunkserver, as a client would: for copies (`cloning.py`) and for single blocks (`mending.py`).

Invariant: what arrived matches the checksums that were announced, and it was all that was sent, or the connection is
dropped."""

import asyncio

from runtime.bulk import check_payload, encode_header, read_header
from runtime.bulk_pool import BulkPool
from runtime.errors import Corrupted, TimedOut, Unavailable, error_from_wire
from runtime.wire.bulk_pb2 import BulkRequest, ReadReply, ReadRequest
from runtime.wire.common_pb2 import Location


async def read_from(
    links: BulkPool, source: Location, wanted: ReadRequest, target: memoryview, *, stall_seconds: float
) -> ReadReply:
    """Fill `target`, or the beginning of it if the chunk is shorter; the answer says how much there was.

    Raises Unavailable, TimedOut, Corrupted (on the way, or at the source), and what else the source answered.
    """
    first_bytes = encode_header(BulkRequest(read=wanted))
    try:
        async with asyncio.timeout(stall_seconds), links.borrow(source.bulk_address, first_bytes) as link:
            reply = await read_header(link.stream, ReadReply)
            if reply.error_kind:
                link.is_clean = True
                raise error_from_wire(reply.error_kind, f"{source.server}: {reply.message}", definite=True)
            if reply.length > len(target):
                raise Corrupted(f"{source.server} sends {reply.length} bytes, {len(target)} were asked for")
            piece = target[: reply.length]
            if reply.length:
                await link.stream.read_into(piece)
            link.is_clean = True
    except EOFError as error:
        raise Unavailable(f"{source.server} ended the transfer: {error}") from error
    except TimeoutError:
        raise TimedOut(f"{source.server} sent nothing for {stall_seconds:g} seconds") from None
    check_payload(piece, reply.crc32c, source.server, begin=wanted.offset)
    return reply
