"""Reading the records of a file, each once (GFS 2.7.2, 3.3).

Padding and what failed tries have left are passed over, and so are the second copies of records. A reader goes to the
end of the file, or follows it: what is appended comes as soon as it is looked for again.

A reader that follows waits where a header claims bytes that are not there yet, until the file has grown by as much, or
the chunk is full: so it never mistakes for remains what it has not read yet. But a server that died may have left half
a record, and the records after it may be fewer bytes than it claims. So if the file has not grown for a while, whole
records that stand after such a header are believed, for records do not overlap.
"""

from collections.abc import AsyncIterator

from gfs.client import Client
from gfs.file import File
from gfs.names.arguments import Path, checked_number, checked_path
from gfs.records.duplicates import Duplicates
from gfs.records.frames import Record
from gfs.records.scanning import Scanner

_READ_BYTES = 1024 * 1024
POLL_SECONDS = 0.5
REMAINS_SECONDS = 5.0
"""How long a file must not have grown before records after an incomplete one are believed."""


class RecordReader:
    """Reads the records of one file from a position on, which is 0, or the `end` of a record that was read before."""

    def __init__(self, client: Client, path: Path, *, position: int = 0) -> None:
        self.path = checked_path(path)
        self._client = client
        self._position = checked_number(position, f"{self.path}: position")
        self._seen = Duplicates()
        self._file: File | None = None
        self._scanner: Scanner | None = None

    @property
    def skipped_bytes(self) -> int:
        """Bytes so far that belong to no record: padding, and what failed tries have left."""
        return 0 if self._scanner is None else self._scanner.skipped_bytes

    @property
    def duplicates(self) -> int:
        """Records so far that had been read before."""
        return self._seen.duplicates

    async def batch(self) -> list[Record] | None:
        """The records in the next part of the file, perhaps none; None at its end. Raises NotFound or Conflict if the
        file that was opened is there no more, Unavailable, Corrupted; after an error it may be called again."""
        if self._file is None or self._scanner is None:
            self._file = await self._client.open(self.path)
            self._scanner = Scanner(chunk_bytes=self._file.chunk_bytes, position=self._position)
            await self._file.seek(self._position)
        data = await self._file.read(_READ_BYTES)
        return self._new(self._scanner.feed(data)) if data else None

    def rest(self) -> list[Record]:
        """At the end, if nothing is to be read any more: the records after a header that claims more bytes than there
        are. It was none."""
        return [] if self._scanner is None else self._new(self._scanner.finish())

    async def records(self) -> AsyncIterator[Record]:
        """All records up to the end that the file has now. Raises as `batch`."""
        while (batch := await self.batch()) is not None:
            for record in batch:
                yield record
        for record in self.rest():
            yield record

    async def follow(
        self, poll_seconds: float = POLL_SECONDS, *, remains_seconds: float = REMAINS_SECONDS
    ) -> AsyncIterator[Record]:
        """All records, and those that are appended later, without an end. Raises as `batch`."""
        clock = self._client.world.clock
        grown = clock.now()
        while True:
            batch = await self.batch()
            if batch is None and self._scanner is not None and clock.now() >= grown + remains_seconds:
                batch, grown = self._new(self._scanner.pass_over_remains()) or None, clock.now()
            elif batch is not None:
                grown = clock.now()
            for record in batch or ():
                yield record
            if batch is None:
                await clock.sleep(poll_seconds)

    async def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        if self._file is not None:
            await self._file.close()

    def _new(self, found: list[Record]) -> list[Record]:
        return [record for record in found if self._seen.is_new(record.writer, record.sequence)]
