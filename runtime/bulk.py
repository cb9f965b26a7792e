"""The bulk protocol: how data flows apart from control (GFS 3.2).

The problem. gRPC copies every message several times on its way through Python, and the paper sends data along another
path than control anyway: pushed down a chain of chunkservers, each of which forwards while it still receives. The idea
is a byte stream that carries small headers (protobuf messages of proto/bulk.proto behind their length and CRC32C, 4
bytes each) and, after them, bare payload bytes that are received straight into the buffer where they are wanted.

    connection:  Hello, then any number of requests one after the other; requests may be pipelined, answers keep order
    push:        PushRequest, payload ... PushReply
    read:        ReadRequest, ReadReply, payload

The header that announces a payload carries a CRC32C of each 64 KiB of it, which is also the unit in which chunkservers
check what is on their disks (GFS 5.2). So whoever makes the bytes computes their checksums, and whoever passes them on
or stores them compares once and keeps the numbers.

What we simplify. There is no flow control but TCP's own.
"""

import hmac
import struct
from collections.abc import Sequence
from typing import TypeVar

import crc32c
from google.protobuf.message import DecodeError, Message

from runtime.errors import Corrupted, InvalidRequest, Unauthenticated, shown
from runtime.wire import bulk_pb2
from runtime.world import Buffer, ByteStream, World

PROTOCOL = 3
HEADER_LIMIT_BYTES = 1024 * 1024
READ_LIMIT_BYTES = 4 * 1024 * 1024  # payload of one ReadRequest, at most
CHECKSUM_BYTES = 64 * 1024  # payload covered by one CRC32C

_FRAME = struct.Struct("<II")  # the message's length, and the CRC32C of that length and the message
_LENGTH = struct.Struct("<I")
MessageT = TypeVar("MessageT", bound=Message)


def encode_header(message: Message) -> bytes:
    """The bytes of one header, to be written at once, possibly joined with others."""
    encoded = message.SerializeToString(deterministic=True)
    return _FRAME.pack(len(encoded), _checksum(encoded)) + encoded


def _checksum(encoded: bytes) -> int:
    """TCP's own checksum has 16 bits and ends at each hop: a flipped bit in an offset must not become a wrong write."""
    checksum: int = crc32c.crc32c(encoded, crc32c.crc32c(_LENGTH.pack(len(encoded))))
    return checksum


async def read_header(stream: ByteStream, kind: type[MessageT]) -> MessageT:
    """The next header. Raises EOFError at a clean end of the stream, Corrupted for bytes that are no header."""
    length, expected = _FRAME.unpack(await stream.read_exactly(_FRAME.size))
    if length > HEADER_LIMIT_BYTES:
        raise Corrupted(
            f"a header of {length} bytes from {stream.peer}, at most {HEADER_LIMIT_BYTES} are allowed; "
            f"the other side does not speak the bulk protocol"
        )
    encoded = await stream.read_exactly(length) if length else b""
    if _checksum(encoded) != expected:
        raise Corrupted(
            f"a header of {length} bytes from {stream.peer} was damaged on the way: CRC32C {_checksum(encoded):#x}, "
            f"expected {expected:#x}; send it again on another connection"
        )
    message = kind()
    try:
        message.ParseFromString(encoded)
    except DecodeError as error:
        raise Corrupted(f"{length} bytes from {stream.peer} are no {kind.__name__}: {error}") from error
    return message


def hello(world: World) -> bytes:
    """The first header of a connection; it needs no answer."""
    return encode_header(
        bulk_pb2.Hello(protocol=PROTOCOL, token=world.network.token, lamport=world.events.sent(), sender=world.node)
    )


async def receive_hello(world: World, stream: ByteStream) -> str:
    """Read and check the first header of an accepted connection; returns the sender's name.

    Raises Unauthenticated for a wrong token and InvalidRequest for another protocol version.
    """
    message = await read_header(stream, bulk_pb2.Hello)
    if message.protocol != PROTOCOL:
        raise InvalidRequest(
            f"bulk protocol {message.protocol} from {stream.peer}, this node speaks {PROTOCOL}; "
            "use one release throughout"
        )
    if not hmac.compare_digest(message.token.encode(), world.network.token.encode()):
        raise Unauthenticated(
            f"{shown(message.sender)} at {stream.peer} does not hold this cluster's token; connect with the token file "
            f"of the cluster that {world.node} belongs to"
        )
    world.events.received(message.lamport)
    return message.sender


def checksums_of(payload: Buffer) -> list[int]:
    """The CRC32C of each 64 KiB of a payload, counted from its first byte; the last one of what is left.

    >>> [hex(checksum) for checksum in checksums_of(b"123456789")]
    ['0xe3069283']
    """
    view = memoryview(payload)
    return [crc32c.crc32c(view[begin : begin + CHECKSUM_BYTES]) for begin in range(0, len(view), CHECKSUM_BYTES)]


def digest_of(checksums: Sequence[int]) -> int:
    """One number for a whole payload: the CRC32C of its checksums. It costs next to nothing when they are known."""
    digest: int = crc32c.crc32c(struct.pack(f"<{len(checksums)}I", *checksums))
    return digest


def check_payload(payload: memoryview, checksums: Sequence[int], sender: str, *, begin: int = 0) -> None:
    """Raise Corrupted if a payload, or a part of one from `begin` (a multiple of 64 KiB), is not what its checksums
    were made from.

    >>> check_payload(memoryview(b"123456789"), [0xE3069283], "cs1")
    >>> check_payload(memoryview(b"123456780"), [0xE3069283], "cs1")
    Traceback (most recent call last):
    ...
    runtime.errors.Corrupted: bytes 0 to 9 from cs1 were damaged on the way: CRC32C 0x9bb4494f, expected 0xe3069283; \
send them again
    """
    found = checksums_of(payload)
    if found == list(checksums):
        return
    if len(checksums) != len(found):
        raise Corrupted(f"{sender} sent {len(checksums)} checksums with {len(payload)} bytes, not {len(found)}")
    place = next(place for place, checksum in enumerate(found) if checksum != checksums[place])
    first = begin + place * CHECKSUM_BYTES
    last = min(first + CHECKSUM_BYTES, begin + len(payload))
    raise Corrupted(
        f"bytes {first} to {last} from {sender} were damaged on the way: CRC32C {found[place]:#x}, expected "
        f"{checksums[place]:#x}; send them again"
    )
