"""How far a tablet's own log is durable, written down outside of the log.

The problem, the idea and the file's content are those of `runtime/durable_mark.py`: the last records of a log have none
after them that says they were durable, so damage to the last block looks like a write that a crash has interrupted.
Here a file `durable` in the tablet's folder says so.

An acknowledged record is durable with `sync="fsync"`; otherwise what was written before a `sync`, or before the tablet
was closed. The mark is written after that, and not synced: it never promises too much. A server's tablet writes it a
moment later, once for many records; an embedded one, which has no background, with each sync, beside which it is
nothing. A mark that cannot be read or written is none.

The log that tablets share (`server_log.py`) has none: it lies in GFS, where each block has copies, and may have two
owners at once, of which only one knows what counts.
"""

import asyncio
from contextlib import suppress

from runtime.durable_mark import DELAY_SECONDS, decode_mark, encode_mark
from runtime.errors import Corrupted, TabletopError
from tablet.engine.world.names import MARK_NAME
from tablet.engine.world.options import EngineWorld
from tablet.engine.world.storage import Storage


class LogMark:
    """The mark in a tablet's folder. `inline`: there is no background in which it could be written later."""

    def __init__(self, storage: Storage, world: EngineWorld, *, inline: bool) -> None:
        self._storage = storage
        self._world = world
        self._is_inline = inline
        self._wanted = 0
        self._written = 0
        self._writing: asyncio.Task[None] | None = None

    async def note(self, sequence: int) -> None:
        """All acknowledged records up to this one are durable."""
        if sequence <= self._wanted:
            return
        self._wanted = sequence
        if self._is_inline:
            await self._write()
        elif self._writing is None:
            self._writing = self._world.spawn(self._write_soon(), "mark what is durable")

    async def close(self) -> None:
        """Write what is not written yet."""
        while (writing := self._writing) is not None and not writing.done():
            await asyncio.wait([writing])
        await self._write()

    async def _write_soon(self) -> None:
        await self._world.clock.sleep(DELAY_SECONDS)
        self._writing = None
        await self._write()

    async def _write(self) -> None:
        """If the disk refuses, the old mark stays, which promises less."""
        wanted = self._wanted
        if wanted > self._written:
            with suppress(TabletopError):
                await self._storage.note(MARK_NAME, encode_mark(wanted))
                self._written = max(self._written, wanted)


async def marked_sequence(storage: Storage) -> int:
    """What the mark in a folder says: the last durable record; 0 without one that can be read."""
    try:
        file = await storage.open(MARK_NAME)
        try:
            return decode_mark(await file.read_at(0, len(encode_mark(0))))
        finally:
            await file.close()
    except TabletopError:
        return 0


def refuse_short_log(mark: int, last_sequence: int, log: str) -> None:
    """Raise Corrupted if a log ends with this record, and the mark says that more was durable."""
    if last_sequence < mark:
        raise Corrupted(
            f"{log or 'the log'} ends with record {last_sequence}, but the file {MARK_NAME} says that all up to record "
            f"{mark} had been durable: its end is damaged. Restore it from a copy; or remove {MARK_NAME} to do without "
            f"the rows that are lost"
        )
