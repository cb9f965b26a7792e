"""The acting master's log as a shadow asks for it: from any record on, or as a whole state (GFS 5.1.3).

Records that were shipped lately are kept in memory: whoever follows closely never makes the master read its disk. Who
was away for a while gets the rest from the log files, and who was away for longer than these reach back a checkpoint
first, in pieces.
"""

from collections import deque
from collections.abc import AsyncIterator
from itertools import islice

from master.log import log_files
from runtime.errors import NotFound
from runtime.record_log import LogReader
from runtime.world import World

PIECE_BYTES = 1024 * 1024


class RecentRecords:
    """The last records of the log, in memory. `first` is the number of the oldest, `last` that of the newest.

    >>> recent = RecentRecords(after=4, kept_bytes=5)
    >>> for sequence, payload in enumerate((b"five", b"six", b"7"), start=5):
    ...     recent.add(sequence, payload)
    >>> recent.first, recent.last, recent.since(7, limit_bytes=100), recent.since(6, limit_bytes=1)
    (6, 7, [b'7'], [b'six'])
    """

    def __init__(self, *, after: int, kept_bytes: int) -> None:
        self.first = after + 1
        self._kept_bytes = kept_bytes
        self._payloads: deque[bytes] = deque()
        self._bytes = 0

    @property
    def last(self) -> int:
        """The newest record; one before `first` if there is none."""
        return self.first + len(self._payloads) - 1

    def add(self, sequence: int, payload: bytes) -> None:
        """Take the next record."""
        assert sequence == self.last + 1, f"record {sequence} comes after record {self.last}"
        self._payloads.append(payload)
        self._bytes += len(payload)
        while self._bytes > self._kept_bytes and len(self._payloads) > 1:
            self._bytes -= len(self._payloads.popleft())
            self.first += 1

    def since(self, sequence: int, *, limit_bytes: int) -> list[bytes]:
        """Records from this one on, as many as fit, but one at least if there is one."""
        found: list[bytes] = []
        size = 0
        for payload in islice(self._payloads, sequence - self.first, None):
            if found and size + len(payload) > limit_bytes:
                break
            found.append(payload)
            size += len(payload)
        return found


async def oldest_record(world: World) -> int:
    """The first record that the log files hold."""
    return min((log_files.sequence_of(name) for name in await _names(world, log_files.LOG_SUFFIX)), default=1)


async def newest_checkpoint(world: World) -> int:
    """The record that the newest checkpoint stands before. Raises NotFound."""
    names = await _names(world, log_files.CHECKPOINT_SUFFIX)
    if not names:
        raise NotFound("the log does not reach back far enough, and there is no checkpoint yet")
    return log_files.sequence_of(names[-1])


async def stored_records(world: World, sequence: int) -> AsyncIterator[tuple[int, bytes]]:
    """Records from this one on, from the log files, up to the end that they have when they are read.

    Raises NotFound (a checkpoint has made a file unnecessary meanwhile), Corrupted, DiskFailure."""
    names = await _names(world, log_files.LOG_SUFFIX)
    begun = [name for name in names if log_files.sequence_of(name) <= sequence]
    for name in [*begun[-1:], *names[len(begun) :]]:
        path = f"{log_files.FOLDER}/{name}"
        file = await world.disk.open(path, "read")
        try:
            async for record in LogReader(file, path, first_sequence=log_files.sequence_of(name)):
                if record.sequence >= sequence:
                    yield record.sequence, record.payload
                    sequence = record.sequence + 1
        finally:
            await file.close()


async def pieces_of_checkpoint(world: World, sequence: int) -> AsyncIterator[tuple[int, bytes, bool]]:
    """Offset, bytes, and whether they are the last, of the checkpoint before this record."""
    file = await world.disk.open(log_files.checkpoint_path(sequence), "read")
    try:
        size, offset = await file.size(), 0
        while offset < size:
            data = await file.read_at(offset, PIECE_BYTES)
            yield offset, data, offset + len(data) >= size
            offset += len(data)
    finally:
        await file.close()


async def _names(world: World, suffix: str) -> list[str]:
    names = log_files.without_hidden(await world.disk.list(log_files.FOLDER))
    return [name for name in names if name.endswith(suffix)]
