"""Bugs that a first version of the paper's file system is likely to have: one sentence of it, left out.

Some of these sentences are guarded twice here or three times, and all guards go: a lease that has run out is of an
older version as well, a stale replica is no member of the newest version and is refused by its own server, too, and a
chunk whose file goes on takes no more records even if it has room."""

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import crc32c

from chunkserver.mutation import mutations
from chunkserver.mutation.appending import Place, Placed, plan_append
from chunkserver.mutation.leases import Lease, LeaseTable
from chunkserver.mutation.serial_order import SerialOrder
from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.verification import Verifier
from cluster.swarm.bug_tools import Planted, bug, replaced, together
from master.chunks.judging import Reported, judge_report
from master.chunks.replicas import ReplicaState
from master.log import operation_log
from master.protocol import reporting
from runtime.record_log import Ended, LogWriter
from runtime.world import Buffer

_current = LeaseTable.current
_queue = mutations.Mutations._queue
_reading = ChunkStore.reading
_write = ChunkStore.write


@bug
def expired_lease_orders_on() -> Planted:
    """A primary orders nothing when its lease has run out, and a replica takes nothing that was ordered under an older
    version than its own.

    Without these rules, a primary that does not hear the master any more, and the one that the master has put in its
    place, order the mutations of one chunk side by side (GFS 3.1)."""

    def current(self: LeaseTable, handle: int, *, version: int, now: float) -> Lease:
        return _current(self, handle, version=version, now=float("-inf"))

    older: WeakKeyDictionary[mutations.Mutations, dict[tuple[int, int], Any]] = WeakKeyDictionary()

    def queue(self: mutations.Mutations, handle: int, version: int) -> Any:
        state = self._store.state(handle)
        if state is None or state.version <= version:
            return _queue(self, handle, version)
        queues = older.setdefault(self, {})
        return queues.setdefault((handle, version), mutations._Queue(SerialOrder(version)))

    async def write(self: ChunkStore, handle: int, *, version: int, **facts: Any) -> int:
        state = self.state(handle)
        newest = version if state is None else max(version, state.version)
        return await _write(self, handle, version=newest, **facts)

    return together(
        replaced(LeaseTable, "current", current),
        replaced(mutations.Mutations, "_queue", queue),
        replaced(ChunkStore, "write", write),
    )


@bug
def append_without_padding() -> Planted:
    """Before a record goes to the next chunk because it does not fit, every replica is padded to the chunk's full size.

    Without the rule, and without the one that ends all appends to a chunk whose file goes on, the chunk that was left
    has room: another client, which has a smaller record or does not know of the next chunk yet, appends to it, and a
    reader who has gone on to the next one never sees that record (GFS 3.3)."""

    def choose(lease: Lease, length: int, capacity: int) -> Placed:
        placed = plan_append(replace(lease, file_goes_on=False), length, capacity)
        return Placed(Place.FULL) if placed.place is Place.PADDING else placed

    return replaced(mutations, "plan_append", choose)


@bug
def blocks_unverified() -> Planted:
    """A block is compared with its checksum before anybody is given it, and before a part of it is written over.

    Without the rule, whoever reads the replica with a rotten block gets its bytes (GFS 5.2)."""

    def check(self: Verifier, chunk: Any, files: Any, block: int, data: memoryview) -> int:
        return int(crc32c.crc32c(data))

    return replaced(Verifier, "_check", check)


@bug
def answered_before_the_log_is_flushed() -> Planted:
    """A change of names is answered when its record is on stable storage.

    Without the rule, a loss of power takes names that were acknowledged (GFS 2.6.3)."""

    class Careless(LogWriter):
        """Says of a record that it is durable when it is written."""

        def begin_commit(self, payload: Buffer, ended: Ended | None = None) -> Any:
            return self._queued(payload, ended, durable=False, promised=True)

    return replaced(operation_log, "LogWriter", Careless)


@bug
def stale_replica_accepted() -> Planted:
    """A replica with a lower version than the master's has missed mutations: the master does not count it, and its
    server does not serve it to a reader who asks for the newer version.

    Without these rules, a server that was down while others were written gives readers what was there before (GFS
    4.5)."""

    def judge(report: Reported, *, version: int | None, is_member: bool, **facts: Any) -> ReplicaState:
        is_old = version is not None and report.version < version
        newest = replace(report, version=max(report.version, version or 0))
        return judge_report(newest, version=version, is_member=is_member or is_old, **facts)

    def reading(self: ChunkStore, handle: int, *, least_version: int, offset: int, count: int) -> Any:
        return _reading(self, handle, least_version=0, offset=offset, count=count)

    return together(replaced(reporting, "judge_report", judge), replaced(ChunkStore, "reading", reading))
