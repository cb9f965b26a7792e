"""The commit log: what was promised, before it is anywhere else (BT 5.3).

The problem. A mutation is acknowledged when it cannot be lost any more; the memtable is lost with the process. So the
mutation goes to a log first, and opening a tablet reads back what no SSTable holds yet.

The idea. One log per memtable: `records.py` says what is in it. Sequences continue from log to log.

Durability. With `sync="fsync"` a write is acknowledged once it is on stable storage; concurrent writers share a sync
(group commit). With `sync="os"` it is acknowledged once the operating system has it: it survives the death of the
process, but a power cut may take the last writes, always a suffix of them: if the tail of one log is lost, a later log
is dropped. A record whose sync failed was never acknowledged and changed nothing that anybody saw; so each header says
up to which record earlier logs were *acknowledged*: what they hold beyond it counts for nothing, and need not be there.

Invariants: (1) the records that are replayed are a prefix of those that were acknowledged, and hold every durable one;
(2) no frame claims that a record is durable before all acknowledged ones up to it are, in this log and in earlier ones.
"""

from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from runtime.errors import DiskFailure, NoSpace, TabletopError
from runtime.record_log import Ended, Fence, LogWriter
from tablet.engine.log.records import ONLY_ROW_HEAD, LogHeader, encode_rows
from tablet.engine.world.names import log_name
from tablet.engine.world.options import SyncMode
from tablet.engine.world.storage import Storage, StoredFile


class CommitLog:
    """One log being written. `inline`: there is no event loop, so a commit is an append and a sync of its own.
    `identity`: what its frames are told by from those of all other logs. `fence`: see `runtime/record_log.py`."""

    def __init__(
        self,
        file: StoredFile,
        header: LogHeader,
        *,
        next_sequence: int,
        sync: SyncMode,
        inline: bool,
        identity: int = 0,
        fence: Fence | None = None,
    ) -> None:
        self.number = header.number
        self._file = file
        self._sync_mode = sync
        self._is_inline = inline
        self._owner = header.tablet.encode()
        self._writer = LogWriter(
            file,
            next_sequence=next_sequence,
            durable_sequence=header.durable_sequence,
            acknowledged_sequence=header.acknowledged_sequence,
            identity=identity,
            fence=fence,
        )
        self._first_sequence = next_sequence
        self._mark_sequence = 0

    @classmethod
    async def create(
        cls,
        storage: Storage,
        header: LogHeader,
        *,
        next_sequence: int,
        sync: SyncMode,
        inline: bool,
        identity: int = 0,
        fence: Fence | None = None,
    ) -> "CommitLog":
        """Begin a log; its header takes one sequence. Raises NoSpace, DiskFailure, and then leaves no file behind if
        the disk lets it be removed: a writer without room for a log tries again, each time under a new number."""
        name = log_name(header.number)
        try:
            file = await storage.create(name)
            log = cls(
                file, header, next_sequence=next_sequence, sync=sync, inline=inline, identity=identity, fence=fence
            )
            try:
                await log._writer.append(header.encode(), promised=False)
            except BaseException:
                await file.close()
                raise
        except (NoSpace, DiskFailure):
            with suppress(TabletopError):
                await storage.remove(name)
            raise
        return log

    @property
    def last_sequence(self) -> int:
        """The sequence of the last record."""
        return self._writer.next_sequence - 1

    @property
    def durable_sequence(self) -> int:
        """Every acknowledged record up to this one is known to be durable."""
        return self._writer.durable_sequence

    @property
    def acknowledged_sequence(self) -> int:
        """The last record that was acknowledged, or would have been if its writer had waited."""
        return self._writer.acknowledged_sequence

    @property
    def is_free(self) -> bool:
        """Whether `write` may be called: nobody else is writing, and no sync is shared."""
        return self._is_inline or (self._sync_mode == "os" and not self._writer.is_busy)

    @property
    def is_over(self) -> bool:
        """Whether it takes no more records, because it may end with one that failed: another segment is to follow."""
        return self._writer.is_over

    @property
    def file_bytes(self) -> int:
        """The length of the log."""
        return self._writer.offset

    @property
    def syncs(self) -> int:
        """How often it was synced."""
        return self._writer.syncs

    def write_now(
        self, head: bytes, row: bytes, fragment: bytes, last_timestamp: int = 0
    ) -> int | Coroutine[Any, Any, NoReturn] | None:
        """As `write`, of one mutation: its sequence, if nothing must be waited for; None, and nothing was done, if
        something must; a coroutine that raises the error, if there was one. `head`: that of the tablet's records
        (`one_row_head`)."""
        if self._sync_mode != "os":
            return None
        sizes = ONLY_ROW_HEAD.pack(last_timestamp, len(row), len(fragment))
        return self._writer.write_now(b"".join((head, sizes, row, fragment)))

    def write(
        self, tablet: bytes, rows: Sequence[bytes], fragments: Sequence[bytes], last_timestamp: int = 0
    ) -> Awaitable[int]:
        """Log mutations of a tablet in one record, of each row the fragment in the same place, while the log `is_free`;
        returns its sequence when it is as durable as the mode says. If the caller is cancelled, the record is taken
        back. `last_timestamp`: the highest that the tablet gave.

        Raises NoSpace (definite) or DiskFailure.
        """
        payload = encode_rows(tablet, rows, fragments, last_timestamp)
        return self._writer.write_alone(payload, durable=self._sync_mode != "os")

    def queue(
        self,
        tablet: bytes,
        rows: Sequence[bytes],
        fragments: Sequence[bytes],
        ended: Ended,
        last_timestamp: int = 0,
    ) -> Awaitable[int]:
        """As `write`, at any time. `ended` is called in the order of the log, once the record is as durable as the mode
        says (with its sequence) or has failed (with None): whether or not the caller still waits."""
        write = self._writer.append if self._sync_mode == "os" else self._writer.commit
        return write(encode_rows(tablet, rows, fragments, last_timestamp), ended)

    def settled(self) -> Awaitable[None]:
        """Wait until no record is being written, and none is left behind whose writer was cancelled within it."""
        return self._writer.settled()

    async def sync(self) -> None:
        """Make everything written so far durable."""
        await self._writer.sync()

    async def write_mark(self) -> None:
        """After a sync: write after the last rows that they are durable, so that damage to them does not look like a
        tail.

        Not synced itself, for whatever it says is true without it. Raises NoSpace, DiskFailure."""
        durable = self._writer.durable_sequence
        if durable > max(self._writer.claimed_sequence, self._first_sequence) and durable != self._mark_sequence:
            self._mark_sequence = await self._writer.append(encode_rows(self._owner, (), ()), promised=False)

    async def close(self) -> None:
        """Let go of the file."""
        await self._file.close()
