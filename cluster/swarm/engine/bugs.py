"""Planted bugs of the tablet engine: see `cluster/swarm/bugs.py`."""

from collections.abc import Sequence
from typing import Any

from cluster.swarm.bug_tools import Bug, Planted, noted_in, replaced
from runtime import tasks
from tablet.engine.engine import Engine
from tablet.engine.log import server_log
from tablet.engine.log.commit_log import CommitLog
from tablet.engine.log.records import Segment, encode_rows
from tablet.engine.log.segment_list import SegmentList
from tablet.engine.log.server_log import ServerLog
from tablet.engine.serving.row_locks import RowLocks
from tablet.engine.sstable import directory
from tablet.engine.sstable.bloom import blocked
from tablet.engine.tree import merge, nearest
from tablet.engine.world.storage import DiskStorage

BUGS: dict[str, Bug] = {}
bug = noted_in(BUGS)


@bug
def log_not_synced() -> Planted:
    """Without the sync of the log before the answer, a power cut takes rows that were acknowledged (BT 5.3: the log is
    what makes a write durable)."""

    def queue(
        self: CommitLog,
        tablet: bytes,
        rows: Sequence[bytes],
        fragments: Sequence[bytes],
        ended: Any,
        last_timestamp: int = 0,
    ) -> Any:
        return self._writer.append(encode_rows(tablet, rows, fragments, last_timestamp), ended)

    return replaced(CommitLog, "queue", queue)


@bug
def segments_dropped_too_early() -> Planted:
    """Without the needs of all tablets, the flush of one drops log segments that hold rows of the others, and a kill
    takes them (BT 5.3, 6: one log for all tablets)."""

    def only_the_last(segments: Sequence[Segment], needed_after: int | None) -> tuple[Segment, ...]:
        return tuple(segments[-1:])

    return replaced(server_log, "still_needed", only_the_last)


@bug
def unproven_end_only_synced() -> Planted:
    """Without writing the unproven end of a log again, a sync that failed in the life before leaves records that are
    not on the disk and count as durable: a power cut takes them, and the log cannot be opened (BT 5.3)."""

    async def sync_alone(self: DiskStorage, name: str, offset: int, count: int) -> None:
        file = await self.open(name)
        try:
            await file.sync()
        finally:
            await file.close()

    return replaced(DiskStorage, "write_again", sync_alone)


@bug
def sequences_begin_anew() -> Planted:
    """Without passing over the sequences that a tablet brings along from another server's log, what it writes to the
    new one lies before its redo point, and is not replayed (BT 6: tablets move between servers)."""
    return replaced(ServerLog, "pass_over", lambda self, sequence: None)


@bug
def cancelled_writer_lets_go_at_once() -> Planted:
    """Without keeping the lock of a row whose writer has given up until its record has ended, a later write can be
    decided by a read that does not see it (BT 3: a row changes in one step)."""
    return replaced(RowLocks, "lend", lambda self, row: None)


@bug
def filter_bits_moved() -> Planted:
    """Without another name for a Bloom filter policy that puts a key's bits elsewhere, the filters of the files that
    there are deny keys that they hold (BT 6)."""

    def moved(key: bytes) -> tuple[int, int]:
        number, mask = hashed(key)
        return number, mask >> 32 | (mask & (1 << 32) - 1) << 32

    hashed = blocked._hashed
    return replaced(blocked, "_hashed", moved)


@bug
def deletions_hidden_by_filters() -> Planted:
    """Without asking the filters for deletions too, a file that deletes a row and knows nothing of the column is left
    out, and what older files hold of the column is shown again (BT 6)."""
    return replaced(directory._Panel, "_with_deletions", lambda self, passed, row, column: passed)


@bug
def spans_forgotten_by_reads() -> Planted:
    """Without cutting a file's partitions to the spans that count for the tablet, reads find rows of a range that was
    deleted, or that another tablet has (BT 6)."""
    return replaced(directory, "_partitions", lambda table: iter(directory._all_partitions(table).items()))


@bug
def switch_cut_with_its_caller() -> Planted:
    """Without doing it to its end, a change of the tablet's files that its caller's deadline cuts is on the disk, not
    in memory: what was read, and built upon, is something else after a kill (BT 5.3: a tablet's files at each moment
    are what METADATA says)."""

    async def in_its_callers_time(work: Any) -> Any:
        return await work

    return replaced(tasks, "uninterrupted", in_its_callers_time)


@bug
def writes_taken_while_splitting() -> Planted:
    """Without refusing writes from the second flush on, what a tablet takes while it is split or merged is in its
    memory and its log alone, and nobody opens these again (BT 5.2, 6)."""

    async def only_flush(self: Engine) -> None:
        await self.flush()

    return replaced(Engine, "prepare_move", only_flush)


@bug
def scan_steps_as_far_as_the_farthest() -> Planted:
    """Without stopping at the nearest of the last rows that the sources have told, a scan goes on behind the farthest,
    and leaves out what other sources have before it (BT 5.3)."""
    return replaced(nearest, "_known_up_to", lambda bounds, last: max(bounds, default=None))


@bug
def log_not_fenced() -> Planted:
    """Without the look at its claim before each answer, an owner that was paused, and wakes up when another one has
    read its log, acknowledges what nobody will see (BT 5.2, 5.3: a server whose lock is lost must stop)."""

    async def no_look(self: SegmentList) -> None:
        pass

    return replaced(SegmentList, "check_owner", no_look)


@bug
def older_source_wins() -> Planted:
    """Without the order of the sources where two of them have a row, a scan shows what has been overwritten, and a
    compaction makes it last (BT 5.3: reads see the merged view of the memtable and the SSTables)."""
    return replaced(merge, "merge_fragments", lambda fragments: fragments[-1])
