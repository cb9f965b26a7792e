"""The bulk protocol's headers and frames: how data flows apart from control (GFS 3.2).

The problem. gRPC copies every message several times on its way through Python, and the paper sends data along another
path than control anyway: pushed down a chain of chunkservers, each of which forwards while it still receives. The idea
is a byte stream that carries small headers (protobuf messages of proto/bulk.proto behind a 4-byte length) and, after
them, bare payload bytes that are received straight into the buffer where they are wanted.

    connection:  Hello, then any number of requests one after the other; requests may be pipelined, answers keep order
    push:        PushRequest, frames, ... PushReply
    read:        ReadRequest, ReadReply, payload

A frame is <u32 byte count> <u32 CRC32C> <bytes>, so that a hop notices damage before it forwards more than one frame.

What we simplify. There is no flow control but TCP's own.
"""

import hmac
import struct
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from runtime.errors import Corrupted, InvalidRequest, Unauthenticated, shown
from runtime.wire import bulk_pb2
from runtime.world import ByteStream, World

PROTOCOL = 1
HEADER_LIMIT_BYTES = 1024 * 1024
FRAME_BYTES = 1024 * 1024  # payload of one frame, at most
READ_LIMIT_BYTES = 4 * 1024 * 1024  # payload of one ReadRequest, at most
CHECKSUM_BYTES = 64 * 1024  # payload covered by one CRC32C of a ReadReply
FRAME = struct.Struct("<II")

_LENGTH = struct.Struct("<I")
MessageT = TypeVar("MessageT", bound=Message)


def encode_header(message: Message) -> bytes:
    """The bytes of one header, to be written at once, possibly joined with others."""
    encoded = message.SerializeToString(deterministic=True)
    return _LENGTH.pack(len(encoded)) + encoded


async def read_header(stream: ByteStream, kind: type[MessageT]) -> MessageT:
    """The next header. Raises EOFError at a clean end of the stream, Corrupted for bytes that are no header."""
    (length,) = _LENGTH.unpack(await stream.read_exactly(_LENGTH.size))
    if length > HEADER_LIMIT_BYTES:
        raise Corrupted(
            f"a header of {length} bytes from {stream.peer}, at most {HEADER_LIMIT_BYTES} are allowed; "
            f"the other side does not speak the bulk protocol"
        )
    message = kind()
    try:
        message.ParseFromString(await stream.read_exactly(length) if length else b"")
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
