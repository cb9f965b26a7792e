"""Small files that hold one message: a manifest, a list of log segments, a sorted log's list, a catalogue.

The contract of each is in `proto/tablet.proto`. A file is one frame of a record log, so it has a checksum and says how
long it is. In the frame is a `TabletFile`: in words what it is, its format, and the message. So another kind of file,
and one of a future version, is recognised before its message is looked at. The header of a commit log is the same,
without the frame.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from runtime.errors import Corrupted, IncompatibleFormat
from runtime.record_log import LogReader, encode_frame
from runtime.wire import tablet_pb2
from tablet.engine.world.storage import Storage

Body = TypeVar("Body", bound=Message)

BEGINNING = b"\n"
"""What the payload of each begins with: the tag of `TabletFile.kind`. No other record of a log begins so."""


@dataclass(frozen=True, slots=True)
class FileKind(Generic[Body]):
    """A kind of file: what it calls itself, the format that this program writes and reads, and its message."""

    kind: str
    format: int
    message: type[Body]

    def encode(self, body: Body) -> bytes:
        """The payload of the record."""
        whole = tablet_pb2.TabletFile(kind=self.kind, format=self.format, body=body.SerializeToString())
        return whole.SerializeToString()

    def framed(self, body: Body, *, sequence: int) -> bytes:
        """The bytes of a whole file; `sequence` is at least 1."""
        return encode_frame(self.encode(body), sequence=sequence, durable_sequence=0)

    def decode(self, payload: bytes, name: str) -> Body:
        """The reverse of `encode`. Raises IncompatibleFormat for another kind or format, Corrupted."""
        if payload[:1] == b"{":
            raise IncompatibleFormat(
                f"{name} is JSON, as earlier versions wrote it; this program reads a {self.kind!r} of format "
                f"{self.format}: use the version that wrote it"
            )
        try:
            whole = tablet_pb2.TabletFile.FromString(payload)
            if whole.kind != self.kind:
                raise IncompatibleFormat(
                    f"{name} is a {whole.kind!r}, expected a {self.kind!r}; put the right file here"
                )
            if whole.format != self.format:
                raise IncompatibleFormat(
                    f"{name} has format {whole.format}, this program reads a {self.kind!r} of format {self.format}; "
                    f"use the version that wrote it"
                )
            return self.message.FromString(whole.body)
        except DecodeError as error:
            raise Corrupted(f"{name} does not hold a {self.kind!r} ({error}); restore it from a copy") from error

    async def read(self, storage: Storage, name: str) -> Body:
        """What a whole file holds. Raises NotFound, IncompatibleFormat, Corrupted, DiskFailure."""
        file = await storage.open(name)
        try:
            reader = LogReader(file, name)
            payloads = [record.payload async for record in reader]
        finally:
            await file.close()
        if len(payloads) != 1 or reader.end.kind != "clean":
            reason = reader.end.reason or f"{len(payloads)} records where one is expected"
            raise Corrupted(f"{name} is damaged ({reason}); restore it from a copy")
        return self.decode(payloads[0], name)
