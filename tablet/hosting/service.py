"""The gRPC face of a tablet server.

Every answer of a read, and of a conditional mutation, waits for one more look at the session after the reading: if the
lock was in doubt by then, another server may have changed the row already, and the answer is not given.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from runtime.errors import DiskFailure, InvalidRequest, NotFound, NotServed, TabletopError, Unavailable
from runtime.wire import tables_pb2 as wire
from runtime.wire import tables_pb2_grpc
from tablet.client.metadata import MetadataRows
from tablet.engine.engine import Engine
from tablet.engine.model.checks import check_row
from tablet.engine.model.filter_tree import families_named
from tablet.engine.model.filters import EVERYTHING, RowFilter
from tablet.engine.model.rows import Row
from tablet.hosting.life import Life, explained
from tablet.hosting.merging import merge
from tablet.hosting.snapshotting import acquire
from tablet.hosting.splitting import Numbers, split
from tablet.location.filter_messages import filter_from_message
from tablet.location.messages import changes_from_messages, row_to_message

T = TypeVar("T")
Figures = Callable[[], wire.TabletServerFigures]
_SCAN_ROWS = 1000
_SCAN_BYTES = 1024 * 1024
_COUNTER_BYTES = 8


class TabletServicer(tables_pb2_grpc.TabletServerServicer):
    """What clients and the tablet master call. `life`: the present one. Raises NotServed while there is none."""

    def __init__(self, life: Callable[[], Life], rows: MetadataRows, numbers: Numbers, figures: Figures) -> None:
        self.reads = self.scans = self.rows_scanned = self.mutations = 0
        self._figures = figures
        self._life = life
        self._rows = rows
        self._numbers = numbers

    # Clients.

    async def ReadRow(self, request: wire.ReadRowRequest, context: Any) -> wire.ReadRowReply:
        """One row. Raises NotServed, InvalidRequest, Unavailable."""
        life = self._life()
        check_row(request.row)

        async def one() -> Row | None:
            engine = life.engine(request.tablet)
            return await engine.read(request.row, _wanted(engine, request.wanted))

        found = await _read(one)
        life.require_safe()
        self.reads += 1
        return wire.ReadRowReply(row=None if found is None else row_to_message(request.row, found.cells))

    async def ScanRows(self, request: wire.ScanRowsRequest, context: Any) -> wire.ScanRowsReply:
        """Some rows of one tablet, and where to continue. Raises as `ReadRow`."""
        life = self._life()
        most = min(request.limit or _SCAN_ROWS, _SCAN_ROWS)
        reply = wire.ScanRowsReply()

        async def some() -> None:
            size, engine = 0, life.engine(request.tablet)
            bounds, wanted = (request.start, request.end), _wanted(engine, request.wanted)
            async for row in engine.scan(*bounds, wanted=wanted, reverse=request.reverse):
                try:
                    reply.rows.append(row_to_message(row.key, row.cells))
                except InvalidRequest:  # Too large. It is refused when it is the first one.
                    if not reply.rows:
                        raise
                    reply.next = row.key + b"\0" if request.reverse else row.key
                    return
                size += reply.rows[-1].ByteSize()
                if len(reply.rows) >= most or size >= _SCAN_BYTES:
                    reply.next = row.key if request.reverse else row.key + b"\0"
                    return

        await _read(some)
        life.require_safe()
        self.scans += 1
        self.rows_scanned += len(reply.rows)
        return reply

    async def MutateRows(self, request: wire.MutateRowsRequest, context: Any) -> wire.MutateRowsReply:
        """Mutations of many rows; each has its own outcome. They share commits of the log (BT 5.3)."""
        life = self._life()
        return await life.once.run(request.name, lambda: self._mutated(life, request))

    async def _mutated(self, life: Life, request: wire.MutateRowsRequest) -> wire.MutateRowsReply:
        async def one(mutation: wire.RowMutation) -> wire.MutationOutcome:
            try:
                check_row(mutation.row)
                changes = changes_from_messages(mutation.changes)
                if not changes:
                    raise InvalidRequest(f"nothing is to be changed in row {mutation.row[:80]!r}")
                await life.engine(mutation.tablet).write(mutation.row, changes)
            except TabletopError as error:
                known = explained(error)
                return wire.MutationOutcome(error=type(known).__name__, message=known.message, definite=known.definite)
            self.mutations += 1
            return wire.MutationOutcome()

        return wire.MutateRowsReply(outcomes=await asyncio.gather(*map(one, request.mutations)))

    async def CheckAndMutateRow(
        self, request: wire.CheckAndMutateRowRequest, context: Any
    ) -> wire.CheckAndMutateRowReply:
        """A conditional mutation of one row, as one atomic step."""
        life = self._life()
        check_row(request.row)
        return await life.once.run(request.name, lambda: self._checked_and_mutated(life, request))

    async def _checked_and_mutated(
        self, life: Life, request: wire.CheckAndMutateRowRequest
    ) -> wire.CheckAndMutateRowReply:
        try:
            engine = life.engine(request.tablet)
            found = await engine.check_and_mutate(
                request.row,
                _wanted(engine, request.wanted),
                changes_from_messages(request.if_found),
                changes_from_messages(request.otherwise),
                value=request.value if request.HasField("value") else None,
            )
        except TabletopError as error:
            raise explained(error) from error
        life.require_safe(definite=False)
        self.mutations += 1
        return wire.CheckAndMutateRowReply(found=found)

    async def ChangeValue(self, request: wire.ChangeValueRequest, context: Any) -> wire.ChangeValueReply:
        """Read, change and write one column of a row, as one atomic step. Raises NotServed, InvalidRequest, NotFound
        (no such family), NoSpace, and indefinite Unavailable, DiskFailure."""
        life = self._life()
        check_row(request.row)
        if request.WhichOneof("change") is None:
            raise InvalidRequest(f"it is not said how {request.column[:80]!r} is to be changed")
        return await life.once.run(request.name, lambda: self._changed_value(life, request))

    async def _changed_value(self, life: Life, request: wire.ChangeValueRequest) -> wire.ChangeValueReply:
        try:
            engine, where = life.engine(request.tablet), (request.row, request.column)
            if request.WhichOneof("change") == "increment":
                total = await engine.increment(*where, request.increment)
                value = total.to_bytes(_COUNTER_BYTES, "big", signed=True)
            else:
                value = await engine.append(*where, request.append)
        except TabletopError as error:
            raise explained(error) from error
        life.require_safe(definite=False)
        self.mutations += 1
        return wire.ChangeValueReply(value=value)

    # The tablet master.

    async def LoadTablet(self, request: wire.LoadTabletRequest, context: Any) -> wire.LoadTabletReply:
        """Serve a tablet. Raises Superseded (the order is old), NotServed (this life is not the one that was meant)."""
        life = await self._ordered(request.master, request.sequencer)
        if request.place.server != life.name:
            raise NotServed(f"{request.place.tablet} was given to {request.place.server}, and this is {life.name}")
        await life.load(request.place)
        return wire.LoadTabletReply()

    async def UnloadTablet(self, request: wire.UnloadTabletRequest, context: Any) -> wire.UnloadTabletReply:
        """Serve a tablet no more. Raises as `Life.unload`."""
        life = await self._ordered(request.master, request.sequencer)
        try:
            await life.unload(request.tablet, request.token)
        except TabletopError as error:
            raise explained(error) from error  # It may just be being closed, for this life has ended.
        return wire.UnloadTabletReply()

    async def ListTablets(self, request: wire.ListTabletsRequest, context: Any) -> wire.ListTabletsReply:
        """What is served here."""
        life = await self._ordered(request.master, request.sequencer)
        served = [name for name, engine in life.engines.items() if not engine.state.superseded]
        return wire.ListTabletsReply(
            server=life.name,
            serving=[life.places[name] for name in served],
            loading=list(life.loading),
            file_bytes=[life.file_bytes(name) for name in served],
            preparing=list(life.preparing),
            files_in_use=sorted(life.files_in_use()) if request.with_files else (),
        )

    async def SortLog(self, request: wire.SortLogRequest, context: Any) -> wire.SortLogReply:
        """Close and sort the log of a life that is over."""
        life = await self._ordered(request.master, request.sequencer)
        await life.sort(request.server)
        return wire.SortLogReply()

    async def SplitTablet(self, request: wire.SplitTabletRequest, context: Any) -> wire.SplitTabletReply:
        """Split a tablet that is served here."""
        life = await self._ordered(request.master, request.sequencer)
        lower, upper = await split(life, self._rows, self._numbers, request.tablet, request.row)
        return wire.SplitTabletReply(lower=lower, upper=upper)

    async def MergeTablets(self, request: wire.MergeTabletsRequest, context: Any) -> wire.MergeTabletsReply:
        """Merge two neighbours that are served here."""
        life = await self._ordered(request.master, request.sequencer)
        made = await merge(life, self._rows, self._numbers, request.lower, request.upper)
        return wire.MergeTabletsReply(place=made)

    async def CompactTablet(self, request: wire.CompactTabletRequest, context: Any) -> wire.CompactTabletReply:
        """A minor or a major compaction of a tablet that is served here."""
        life = await self._ordered(request.master, request.sequencer)
        engine = life.engine(request.tablet)
        try:
            await (engine.compact() if request.major else engine.flush())
        except TabletopError as error:
            raise explained(error) from error
        return wire.CompactTabletReply()

    async def AcquireSnapshot(self, request: wire.AcquireSnapshotRequest, context: Any) -> wire.AcquireSnapshotReply:
        """Put tablets that are served here into a snapshot."""
        life = await self._ordered(request.master, request.sequencer)
        return wire.AcquireSnapshotReply(bytes=await acquire(life, request.folder, request.tablets))

    # Anybody.

    async def DescribeTabletServer(
        self, request: wire.DescribeTabletServerRequest, context: Any
    ) -> wire.TabletServerFigures:
        """How it is now. Raises nothing."""
        return self._figures()

    async def _ordered(self, master: int, sequencer: bytes) -> Life:
        life = self._life()
        life.require_safe()
        await life.orders.admit(life.session, master, sequencer)
        return life


def _wanted(engine: Engine, message: wire.CellFilter) -> RowFilter:
    """The filter of a request. Raises InvalidRequest, and NotFound for a family that the table does not have."""
    wanted = filter_from_message(message)
    if wanted is not EVERYTHING:
        for family in sorted(families_named(wanted) - engine.schema.families.keys()):
            engine.schema.family(family.decode("utf-8", "replace"))
    return wanted


async def _read(ask: Callable[[], Awaitable[T]]) -> T:
    """A read changes nothing: whatever hinders it, it may be asked for again."""
    try:
        return await ask()
    except (InvalidRequest, NotFound):
        raise
    except DiskFailure as error:
        raise Unavailable(f"a file of the tablet cannot be read: {error.message}", definite=True) from error
    except TabletopError as error:
        raise explained(error) from error
