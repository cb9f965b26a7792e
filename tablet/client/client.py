"""The asynchronous client of tables (BT 3, 5.1).

    client = TableClient(world, "127.0.0.1:7100")      # where the lock service is
    await client.put("users", b"ada", b"profile:name", b"Ada")
    async for key, cells in client.scan("users"): ...

Mutations of many rows are grouped by tablet server (`batching.py`), and each row has its own outcome.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lockservice.client.session import OwnLockService
from lockservice.interface import Session, SessionState
from runtime.errors import (
    InvalidRequest,
    NotFound,
    NotServed,
    Superseded,
    TabletopError,
    TimedOut,
    Unavailable,
    error_from_wire,
)
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import SnapshotRecord, TabletPlace
from runtime.wire.tables_pb2_grpc import TabletMasterStub, TabletServerStub
from runtime.world import World
from tablet.client.batching import Batch, Mutation, Placed
from tablet.client.locating import Locator, RootFinder, all_places
from tablet.client.requests import Requests
from tablet.client.settings import TableClientSettings
from tablet.engine.model.checks import EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, check_row
from tablet.engine.model.filters import EVERYTHING, ReadFilter, RowFilter, check_limit
from tablet.engine.model.operations import Operation, SetCell
from tablet.engine.model.schema import Schema
from tablet.engine.model.schema_message import schema_from_message, schema_to_message
from tablet.location.filter_messages import filter_to_message
from tablet.location.messages import FoundRow, changes_to_messages, row_from_message
from tablet.location.places import MASTER_PATH, ROOT_PATH, living

if TYPE_CHECKING:
    from runtime.wire.tables_pb2_grpc import TabletMasterAsyncStub, TabletServerAsyncStub

T = TypeVar("T")
_Part = tuple[wire.ScanRowsReply, TabletPlace]


class LockFiles:
    """One client's way to the lock service: it opens a session when it is first needed, and another when that ends."""

    def __init__(self, world: World, address: str) -> None:
        self._service = OwnLockService(world, address)
        self._session: Session | None = None
        self._opening = asyncio.Lock()

    async def read(self, path: str) -> bytes:
        """The contents of a file. Raises NotFound, Unavailable, TimedOut."""
        async with self._opening:
            if self._session is None or self._session.state is SessionState.EXPIRED:
                self._session = await self._service.open_session()
            session = self._session
        try:
            return (await session.read(path))[0]
        except Superseded as error:  # It is over, and the next question opens another one.
            raise Unavailable(error.message, definite=True) from error

    async def find_root(self) -> TabletPlace:
        """Where the root tablet is."""
        return TabletPlace.FromString(await self.read(ROOT_PATH))

    async def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class TableClient:
    """One application's access to the tables of a cluster. Many tasks may share it. `find_root`: for who has a session
    with the lock service already."""

    def __init__(
        self,
        world: World,
        lock_service: str,
        settings: TableClientSettings | None = None,
        *,
        find_root: RootFinder | None = None,
    ) -> None:
        self.settings = settings or TableClientSettings()
        self._world = world
        self._files = LockFiles(world, lock_service)
        self._requests = Requests(world)
        self.locator = Locator(world, find_root or self._files.find_root, self.settings)

    async def close(self) -> None:
        """End the session with the lock service."""
        await self._files.close()

    # Tables.

    async def create_table(self, table: str, schema: Schema, split_rows: Sequence[bytes] = ()) -> None:
        """Create a table, of one tablet and one more for each row to split at; returns when all of them are served.
        Raises AlreadyExists, InvalidRequest."""
        request = wire.CreateTableRequest(table=table, schema=schema_to_message(schema), split_rows=split_rows)
        await self._ask_master(
            lambda stub, seconds: self._requests.ask(stub.CreateTable, request, server="", seconds=seconds)
        )

    async def delete_table(self, table: str) -> None:
        """Delete a table with all its rows. Raises NotFound."""
        request = wire.DeleteTableRequest(table=table)
        await self._ask_master(
            lambda stub, seconds: self._requests.ask(stub.DeleteTable, request, server="", seconds=seconds)
        )

    async def tables(self) -> dict[str, Schema]:
        """All tables and their schemas."""
        request = wire.ListTablesRequest()
        reply = await self._ask_master(lambda stub, seconds: stub.ListTables(request, timeout=seconds))
        return {found.table: schema_from_message(found.schema) for found in reply.tables}

    async def tablets(self, table: str | None = None) -> list[TabletPlace]:
        """Where the tablets of a table, or of all tables, are, as METADATA has it."""
        return (await self.layout(table))[0]

    async def layout(self, table: str | None = None) -> tuple[list[TabletPlace], list[TabletPlace]]:
        """The tablets of a table, or of all, and the rows of METADATA that do not count any more."""
        found = await all_places(self.locator, table, lambda call: self._insisting(call, is_read=True))
        alive = living(found)
        names = {place.tablet for place in alive}
        return alive, [place for place in found if place.tablet not in names]

    async def split(self, tablet: str, row: bytes = b"") -> tuple[TabletPlace, TabletPlace]:
        """Have a tablet split at a row, or at its middle. Raises NotFound, InvalidRequest, Conflict."""
        request = wire.SplitTabletAtRequest(tablet=tablet, row=row)
        reply = await self._ask_master(lambda stub, seconds: stub.SplitTabletAt(request, timeout=seconds))
        return reply.lower, reply.upper

    async def merge(self, one: str, other: str) -> TabletPlace:
        """Have two neighbours made one tablet. Raises NotFound, InvalidRequest, Conflict."""
        request = wire.MergeNeighboursRequest(one=one, other=other)
        return (await self._ask_master(lambda stub, seconds: stub.MergeNeighbours(request, timeout=seconds))).place

    async def move(self, tablet: str, server: str) -> TabletPlace:
        """Have a tablet served by another server: a life's name, or a node's. Raises NotFound, Conflict, and indefinite
        Unavailable, TimedOut: it may have moved."""
        request = wire.MoveTabletRequest(tablet=tablet, server=server)
        return (await self._ask_master(lambda stub, seconds: stub.MoveTablet(request, timeout=seconds))).place

    async def compact(self, name: str, *, major: bool = True) -> list[str]:
        """Have a tablet, or all tablets of a table, compacted; returns which. Without `major`, only what is in memory
        is written to SSTables. Raises NotFound, NoSpace, DiskFailure, TimedOut."""
        request = wire.CompactTabletsRequest(name=name, major=major)
        return list(
            (await self._ask_master(lambda stub, seconds: stub.CompactTablets(request, timeout=seconds))).tablets
        )

    async def snapshot(self, table: str, name: str) -> SnapshotRecord:
        """Keep what a table holds under a name, without copying it: each tablet at one moment between this call and its
        answer. Raises NotFound, AlreadyExists, InvalidRequest, Conflict, Unavailable (it was aborted)."""
        request = wire.TakeSnapshotRequest(table=table, snapshot=name)
        reply = await self._ask_master(
            lambda stub, seconds: self._requests.ask(stub.TakeSnapshot, request, server="", seconds=seconds)
        )
        return reply.snapshot

    async def snapshots(self, table: str | None = None) -> list[SnapshotRecord]:
        """The snapshots of a table, or of all tables, by name."""
        request = wire.ListTableSnapshotsRequest()
        reply = await self._ask_master(lambda stub, seconds: stub.ListSnapshots(request, timeout=seconds))
        return [found for found in reply.snapshots if table is None or found.table == table]

    async def restore(self, name: str, table: str | None = None) -> str:
        """Make a table of a snapshot, under the name that its table had, or a new one; returns the name when its
        tablets are served. The snapshot stays. Raises NotFound, AlreadyExists (the table), InvalidRequest, Conflict."""
        request = wire.RestoreSnapshotRequest(snapshot=name, table=table or "")
        reply = await self._ask_master(
            lambda stub, seconds: self._requests.ask(stub.RestoreSnapshot, request, server="", seconds=seconds)
        )
        return reply.table

    async def delete_snapshot(self, name: str) -> None:
        """Delete a snapshot; tables that were made of it stay. Raises NotFound, Conflict."""
        request = wire.DeleteSnapshotRequest(snapshot=name)
        await self._ask_master(
            lambda stub, seconds: self._requests.ask(stub.DeleteSnapshot, request, server="", seconds=seconds)
        )

    async def status(self) -> wire.TabletStatus:
        """What the tablet master knows."""
        request = wire.TabletStatusRequest()
        return await self._ask_master(lambda stub, seconds: stub.GetTabletStatus(request, timeout=seconds))

    # Rows.

    async def read(self, table: str, row: bytes, wanted: RowFilter = EVERYTHING) -> FoundRow | None:
        """A row's cells that the filter wants; None if there are none. Raises NotFound (no such table or family),
        InvalidRequest, Unavailable, TimedOut."""
        message = filter_to_message(wanted)

        async def ask(place: TabletPlace, stub: "TabletServerAsyncStub", seconds: float) -> FoundRow | None:
            request = wire.ReadRowRequest(tablet=place.tablet, row=row, wanted=message)
            reply = await stub.ReadRow(request, timeout=seconds)
            return row_from_message(reply.row) if reply.HasField("row") else None

        return await self._on_tablet(table, row, ask, is_read=True)

    async def get(self, table: str, row: bytes, column: bytes) -> bytes | None:
        """The newest value of one column, or None. Raises as `read`."""
        found = await self.read(table, row, ReadFilter(columns=[column], versions=1))
        return None if found is None else found[1][0].value

    async def put(self, table: str, row: bytes, column: bytes, value: bytes, timestamp: int | None = None) -> None:
        """Write one cell. Raises as `mutate`."""
        await self.mutate(table, row, [SetCell(column, value, timestamp)])

    async def mutate(self, table: str, row: bytes, operations: Sequence[Operation]) -> None:
        """Apply operations to one row, as one atomic step. Raises NotFound, InvalidRequest, NoSpace; and indefinite
        Unavailable, TimedOut, DiskFailure: it may have happened."""
        check_row(row)
        [failure] = await self.mutate_many(table, [(row, operations)])
        if failure is not None:
            raise failure

    async def mutate_many(self, table: str, mutations: Iterable[Mutation]) -> list[TabletopError | None]:
        """Apply operations to many rows, each row atomically; returns the failure of each, or None. The rows of a
        tablet server go to it in calls of many rows, several calls at a time. There is no order between different
        rows. Errors as those of `mutate`."""
        batch = Batch.of(mutations)
        patience = _Patience(self._world, self.settings)
        while batch.left:
            groups: dict[str, list[Placed]] = {}
            for number in batch.take():
                try:
                    place = await self.locator.place_of(table, batch.row(number))
                    groups.setdefault(place.server, []).append((number, place))
                except TabletopError as error:
                    batch.note(number, _unasked(error), may_pass=_may_pass(error, is_read=True))
            await _all_of([self._mutate_at(group, batch) for group in groups.values()])
            if not batch.left or not await patience.pause():
                break
        return batch.outcomes

    async def increment(self, table: str, row: bytes, column: bytes, delta: int = 1) -> int:
        """Add to a counter, a value of 8 bytes (a missing one is 0), as one atomic step; returns its new value. It
        wraps around as hardware does. Raises as `mutate`, and InvalidRequest for a value of another length."""
        if type(delta) is not int or not EARLIEST_TIMESTAMP <= delta <= LATEST_TIMESTAMP:
            raise InvalidRequest(f"delta is {delta!r}; give a whole number that fits into 64 bits")
        request = wire.ChangeValueRequest(row=row, column=column, increment=delta)
        return int.from_bytes(await self._change_value(table, request), "big", signed=True)

    async def append(self, table: str, row: bytes, column: bytes, data: bytes) -> bytes:
        """Append to the newest value of a column (a missing one is empty), as one atomic step; returns the new value.
        Raises as `mutate`."""
        return await self._change_value(table, wire.ChangeValueRequest(row=row, column=column, append=data))

    async def _change_value(self, table: str, request: wire.ChangeValueRequest) -> bytes:
        check_row(request.row)

        async def ask(place: TabletPlace, stub: "TabletServerAsyncStub", seconds: float) -> bytes:
            request.tablet = place.tablet
            ask = self._requests.ask(stub.ChangeValue, request, server=place.server, seconds=seconds)
            return (await ask).value

        return await self._on_tablet(table, request.row, ask, is_read=False)

    async def check_and_mutate(
        self,
        table: str,
        row: bytes,
        wanted: RowFilter,
        if_found: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        value: bytes | None = None,
    ) -> bool:
        """Apply `if_found` if the filter finds a cell in the row (with this value, if one is given), else `otherwise`;
        returns which, True for found. One atomic step. Raises as `mutate`."""
        message = filter_to_message(wanted)

        async def ask(place: TabletPlace, stub: "TabletServerAsyncStub", seconds: float) -> bool:
            request = wire.CheckAndMutateRowRequest(
                tablet=place.tablet,
                row=row,
                wanted=message,
                value=value,
                if_found=changes_to_messages(if_found),
                otherwise=changes_to_messages(otherwise),
            )
            call = stub.CheckAndMutateRow
            return (await self._requests.ask(call, request, server=place.server, seconds=seconds)).found

        return await self._on_tablet(table, row, ask, is_read=False)

    async def scan(
        self,
        table: str,
        start: bytes = b"",
        end: bytes = b"",
        *,
        wanted: RowFilter = EVERYTHING,
        limit: int | None = None,
        reverse: bool = False,
    ) -> AsyncIterator[FoundRow]:
        """The rows with start <= row < end (empty: no bound) that have cells which the filter wants, in order, through
        all tablets; `reverse`: from the last to the first. Each row is read atomically; different rows at different
        moments. Raises as `read`."""
        check_limit(limit)
        request = wire.ScanRowsRequest(start=start, end=end, wanted=filter_to_message(wanted), reverse=reverse)

        async def ask(place: TabletPlace, stub: "TabletServerAsyncStub", seconds: float) -> _Part:
            request.tablet = place.tablet
            return await stub.ScanRows(request, timeout=seconds), place

        left = limit
        while left is None or left > 0:
            request.limit = self.settings.scan_rows if left is None else min(left, self.settings.scan_rows)
            where = request.end if reverse else request.start
            reply, place = await self._on_tablet(table, where, ask, is_read=True, before=reverse)
            for found in reply.rows:
                yield row_from_message(found)
            left = None if left is None else left - len(reply.rows)
            if reverse:
                request.end = reply.next if reply.HasField("next") else place.start_row
                if not request.end or request.end <= start:
                    return
            else:
                request.start = reply.next if reply.HasField("next") else place.end_row
                if not request.start or (end and request.start >= end):
                    return

    # How it is done.

    async def _mutate_at(self, group: Sequence[Placed], batch: Batch) -> None:
        """All calls to one server, several of them at a time."""
        calls = list(batch.calls(group, self.settings.mutations_a_call, self.settings.call_bytes))
        waiting = iter(calls)

        async def one_after_the_other() -> None:
            for call in waiting:
                await self._mutate_in_one_call(call, batch)

        await _all_of([one_after_the_other() for _ in calls[: self.settings.calls_in_flight]])

    async def _mutate_in_one_call(self, call: Sequence[Placed], batch: Batch) -> None:
        server, seconds = call[0][1], self.settings.call_seconds
        stub = TabletServerStub(self._world.network.channel(server.address))
        found: list[TabletopError | None]
        try:
            request = batch.request(call)
            reply = await self._requests.ask(stub.MutateRows, request, server=server.server, seconds=seconds)
            found = [
                error_from_wire(outcome.error, outcome.message, definite=outcome.definite) if outcome.error else None
                for outcome in reply.outcomes
            ]
        except TabletopError as error:
            found = [error] * len(call)
        for (number, place), failure in zip(call, found, strict=True):
            if failure is not None and _tells_of_moving(failure):
                self.locator.forget(place)
            batch.note(number, failure, may_pass=failure is not None and _may_pass(failure, is_read=False))

    async def _on_tablet(
        self,
        table: str,
        row: bytes,
        ask: Callable[[TabletPlace, "TabletServerAsyncStub", float], Awaitable[T]],
        *,
        is_read: bool,
        before: bool = False,
    ) -> T:
        """Ask the server of the tablet that has a row, or the rows just `before` it."""
        find = self.locator.place_before if before else self.locator.place_of

        async def attempt() -> T:
            try:
                place = await find(table, row)
            except (Unavailable, TimedOut) as error:
                raise _unasked(error) from error
            try:
                stub = TabletServerStub(self._world.network.channel(place.address))
                return await ask(place, stub, self.settings.call_seconds)
            except TabletopError as error:
                if _tells_of_moving(error):
                    self.locator.forget(place)
                raise

        return await self._insisting(attempt, is_read=is_read)

    async def _insisting(self, attempt: Callable[[], Awaitable[T]], *, is_read: bool) -> T:
        patience = _Patience(self._world, self.settings)
        while True:
            try:
                return await attempt()
            except TabletopError as error:
                if not _may_pass(error, is_read=is_read) or not await patience.pause():
                    raise

    async def _ask_master(self, ask: Callable[["TabletMasterAsyncStub", float], Awaitable[T]]) -> T:
        """Ask the tablet master, whoever that is. What it does takes long."""
        patience = _Patience(self._world, self.settings)
        while True:
            is_asked = False
            try:
                address = (await self._files.read(MASTER_PATH)).decode()
                is_asked = True
                return await ask(TabletMasterStub(self._world.network.channel(address)), patience.left())
            except (NotFound, NotServed, Unavailable, TimedOut) as error:
                is_passing = error.definite if is_asked else True
                if isinstance(error, NotFound) and is_asked:
                    raise
                if not is_passing or not await patience.pause():
                    raise


class _Patience:
    """The time limit of one operation, and pauses that double."""

    def __init__(self, world: World, settings: TableClientSettings) -> None:
        self._world = world
        self._until = world.clock.now() + settings.patience_seconds
        self._pause = settings.first_pause_seconds
        self._longest = settings.longest_pause_seconds

    def left(self) -> float:
        """Seconds."""
        return max(0.001, self._until - self._world.clock.now())

    async def pause(self) -> bool:
        """Wait before another try; False if there is no time for one."""
        length, self._pause = self._pause, min(2 * self._pause, self._longest)
        length = self._world.random.uniform(length / 2, length)
        if self._world.clock.now() + length >= self._until:
            return False
        await self._world.clock.sleep(length)
        return True


async def _all_of(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of it at the same time; a single one without a task of its own."""
    if len(work) == 1:
        await work[0]
    else:
        await asyncio.gather(*work)


def _unasked(error: TabletopError) -> TabletopError:
    """The error of one who looked for a tablet, as it is for what was to be asked of the tablet: definite."""
    return type(error)(error.message, definite=True) if _tells_of_moving(error) else error


def _tells_of_moving(error: TabletopError) -> bool:
    return isinstance(error, NotServed | Unavailable | TimedOut)


def _may_pass(error: TabletopError, *, is_read: bool) -> bool:
    """Whether another try may succeed and does no harm."""
    return _tells_of_moving(error) and (is_read or error.definite)
