"""Appending records that a reader can tell from padding, remains and copies (GFS 2.7.2, 3.3)."""

import asyncio
from dataclasses import dataclass

from gfs.client import Client
from gfs.names.arguments import Path, checked_bytes, checked_path
from gfs.records.duplicates import WINDOW
from gfs.records.frames import encode_record
from runtime.world import Buffer


@dataclass(frozen=True, slots=True)
class Appended:
    """Where in the file an acknowledged record stands, and the number that it has."""

    offset: int
    sequence: int


class RecordWriter:
    """Appends records to one file. Many tasks may share a writer, and many writers a file.

    `writer` is the number by which its records are known: drawn at random, so that no two writers have the same."""

    def __init__(self, client: Client, path: Path) -> None:
        self.path = checked_path(path)
        self.writer: int = client.world.random.getrandbits(64)
        self._client = client
        self._last = 0
        self._under_way: dict[int, None] = {}  # In rising order.
        self._ended = asyncio.Event()

    async def append(self, payload: Buffer) -> Appended:
        """Append one record; returns when every replica has it.

        A record has at most a quarter of a chunk, 28 bytes of which are its header. Raises as `Client.record_append`.
        An indefinite error leaves open whether readers find the record.
        """
        data = checked_bytes(payload)
        while self._under_way and self._last + 1 - next(iter(self._under_way)) >= WINDOW:
            self._ended.clear()
            await self._ended.wait()
        self._last += 1
        sequence = self._last
        self._under_way[sequence] = None
        try:
            frame = encode_record(data, writer=self.writer, sequence=sequence)
            return Appended(await self._client.record_append(self.path, frame), sequence)
        finally:
            del self._under_way[sequence]
            self._ended.set()
