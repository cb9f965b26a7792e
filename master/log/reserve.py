"""Space that the master keeps back on its disk, for the records that make room (GFS leaves it open).

The problem. A master writes before it answers: that its epoch has begun, that a file is deleted. On a full disk it
could do neither. A master that was started again would end at once, and even a running one could not be told to delete,
which is how room is made where chunkservers have the same disk.

The idea. A file of zeros takes space while there is some. When a record that may use it finds the disk full, one piece
is cut off, and the record is written again. The last pieces are for the beginning of an epoch alone, so that a start
never finds that deletions have used up everything. Records by which the state grows get nothing of it: they are refused
as long as something is missing, and the first of them that finds room enough has the file made whole before.

    reserve    16 pieces of 16 KiB, of which the last four are for starts

Invariant: what is cut off is durably free before the record is tried again.

What we simplify. Somebody else may take a piece before the record does: then the next attempt takes the next one. A
file system that compresses zeros keeps nothing back.
"""

import asyncio
from collections.abc import Sequence

from master.events import ReserveChanged
from master.log.operation_log import OperationLog
from master.log.records import (
    ChunkAllocated,
    ChunkReplaced,
    DirectoriesMade,
    EpochBegun,
    FileCreated,
    FileWithChunkCreated,
    HandlesReserved,
    Record,
    SnapshotTaken,
    TenureBegun,
)
from runtime.errors import NoSpace, TabletopError
from runtime.world import World

PATH = "reserve"
PIECE_BYTES = 16 * 1024
RESERVE_BYTES = 16 * PIECE_BYTES
KEPT_FOR_STARTS_BYTES = 4 * PIECE_BYTES
# Free space beside the reserve that a disk must have before the reserve is made whole again.
_ROOM_BYTES = RESERVE_BYTES

GROWS = (
    FileCreated,
    FileWithChunkCreated,
    DirectoriesMade,
    HandlesReserved,
    ChunkAllocated,
    ChunkReplaced,
    SnapshotTaken,
)
"""The records by which the state grows, so that they get nothing of the reserve."""
_BEGINS = (EpochBegun, TenureBegun)


class Reserve:
    """The space that one master keeps back."""

    def __init__(self, world: World) -> None:
        self.left_bytes = RESERVE_BYTES
        """What the file has; before `look` the best is assumed."""
        self._world = world
        self._changing = asyncio.Lock()

    async def look(self) -> None:
        """Find out what an earlier run has left. Raises DiskFailure."""
        disk = self._world.disk
        self.left_bytes = min(await disk.size(PATH), RESERVE_BYTES) if await disk.exists(PATH) else 0

    async def commit_all(self, log: OperationLog, records: Sequence[Record]) -> list[list[int] | TabletopError]:
        """As of the log; a record for which the disk has no room may get some of what is kept back."""
        if self.left_bytes < RESERVE_BYTES:
            await self.fill()
        if self.left_bytes == RESERVE_BYTES:
            outcomes = await log.commit_all(records)
        else:
            outcomes = [
                await self._refusal() if isinstance(record, GROWS) else (await log.commit_all([record]))[0]
                for record in records
            ]
        return [await self._tried_again(log, *pair) for pair in zip(records, outcomes, strict=True)]

    async def _tried_again(
        self, log: OperationLog, record: Record, outcome: list[int] | TabletopError
    ) -> list[int] | TabletopError:
        """One piece for each attempt, but for a start, which ends this run if it fails."""
        is_last = False
        while isinstance(outcome, NoSpace) and outcome.definite and not is_last and await self._give_for(record):
            is_last = not isinstance(record, _BEGINS)
            [outcome] = await log.commit_all([record])
        if isinstance(outcome, NoSpace) and isinstance(record, _BEGINS):
            return NoSpace(
                "the master cannot begin, for it cannot log that it does: its disk is full, and nothing is left of "
                "what it kept back for that; free some space on that disk and start it again; nothing is lost "
                f"({outcome.message})",
                definite=True,
            )
        return outcome

    async def fill(self) -> None:
        """Make it whole, if the disk has room for it and some more. Otherwise a part stays missing."""
        async with self._changing:
            missing = RESERVE_BYTES - self.left_bytes
            try:
                if not missing or (await self._world.disk.usage()).free_bytes < missing + _ROOM_BYTES:
                    return
                await self._append(missing)
            except TabletopError:
                return  # What there is of it counts after the next start; until then less is given than could be.
            self.left_bytes = RESERVE_BYTES
        self._world.events.emit(ReserveChanged(left=RESERVE_BYTES))

    async def has_room(self) -> bool:
        """Whether it is whole, or can be made so now, and the disk has room for some records beside it."""
        await self.fill()
        if self.left_bytes < RESERVE_BYTES:
            return False
        try:
            return (await self._world.disk.usage()).free_bytes >= _ROOM_BYTES
        except TabletopError:
            return False

    async def _append(self, missing: int) -> None:
        disk = self._world.disk
        file = await disk.open(PATH, "update" if await disk.exists(PATH) else "replace")
        try:
            await file.truncate(self.left_bytes)
            await file.append(bytes(missing))
            await file.sync()
            await disk.sync_directory()
        finally:
            await file.close()

    async def _give_for(self, record: Record) -> bool:
        """Free a piece for a record that the disk had no room for; whether there was one that it may have."""
        if isinstance(record, GROWS):
            return False
        async with self._changing:
            kept = 0 if isinstance(record, _BEGINS) else KEPT_FOR_STARTS_BYTES
            if self.left_bytes <= kept:
                return False
            size = max(kept, self.left_bytes - PIECE_BYTES)
            try:
                await self._cut(size)
            except TabletopError:
                return False
            self.left_bytes = size
        self._world.events.emit(ReserveChanged(left=size))
        return True

    async def _cut(self, size: int) -> None:
        file = await self._world.disk.open(PATH, "update")
        try:
            await file.truncate(size)
            await file.sync()
        finally:
            await file.close()

    async def _refusal(self) -> TabletopError:
        """Why a record by which the state grows is not written now."""
        try:
            free_bytes = (await self._world.disk.usage()).free_bytes
        except TabletopError as error:
            return error
        return NoSpace(
            f"the master's disk is full or nearly so ({free_bytes} bytes are free), and it cannot log the change, so "
            f"it was not made: {RESERVE_BYTES - self.left_bytes} bytes are missing in what it keeps back for "
            "deletions; free some space on the master's disk, or delete files; reads and deletions go on",
            definite=True,
        )
