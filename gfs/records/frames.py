"""One record as bytes: self-validating and self-identifying (GFS 2.7.2). Pure.

    | magic, 4 bytes | u32 payload length | u32 CRC32C | u64 writer | u64 sequence | payload |

Integers are little-endian. The CRC32C covers the length, the writer, the sequence and the payload: so a header that
stands before other bytes than its own is none.

>>> frame = encode_record(b"hello", writer=7, sequence=1)
>>> len(frame), decode_record(frame, 0)
(33, (7, 1, b'hello'))
>>> decode_record(frame[:-1] + b"!", 0) is None
True
"""

import struct
from dataclasses import dataclass

import crc32c

from runtime.world import Buffer

MAGIC = b"\xf5rec"
"""Its first byte stands in no text: UTF-8 does not use it."""
HEADER = struct.Struct("<4sIIQQ")
HEADER_BYTES = HEADER.size
_CHECKED = struct.Struct("<IQQ")


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read: where in the file it begins, its writer, the number that this gave it, and its payload."""

    offset: int
    writer: int
    sequence: int
    payload: bytes

    @property
    def end(self) -> int:
        """The offset just after the record."""
        return self.offset + HEADER_BYTES + len(self.payload)


def encode_record(payload: Buffer, *, writer: int, sequence: int) -> bytes:
    """A record as it stands in a file."""
    data = bytes(payload)
    return HEADER.pack(MAGIC, len(data), _checksum(data, writer, sequence), writer, sequence) + data


def payload_length(data: Buffer, begin: int) -> int:
    """What the header that begins here says of the length of its payload, bytes. There must be a whole header."""
    return int(HEADER.unpack_from(data, begin)[1])


def decode_record(data: Buffer, begin: int) -> tuple[int, int, bytes] | None:
    """Writer, sequence and payload of the record that begins here; None if it is none, or is not whole."""
    if len(data) < begin + HEADER_BYTES:
        return None
    magic, length, checksum, writer, sequence = HEADER.unpack_from(data, begin)
    payload = bytes(memoryview(data)[begin + HEADER_BYTES : begin + HEADER_BYTES + length])
    if magic != MAGIC or len(payload) != length or checksum != _checksum(payload, writer, sequence):
        return None
    return writer, sequence, payload


def _checksum(payload: bytes, writer: int, sequence: int) -> int:
    return crc32c.crc32c(payload, crc32c.crc32c(_CHECKED.pack(len(payload), writer, sequence)))
