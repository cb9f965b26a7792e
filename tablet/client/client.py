"""The asynchronous client of tables (BT 3, 5.1).

    client = TableClient(world, "127.0.0.1:7100")      # where the lock service is
    await client.put("users", b"ada", b"profile:name", b"Ada")
    async for key, cells in client.scan("users"): ...

Mutations of many rows are grouped by tablet server: one call for each server that has some of them, and each row has
its own outcome.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from lockservice.client.session import OwnLockService
from lockservice.interface import Session, SessionState
from runtime.errors import NotFound, NotServed, Superseded, TabletopError, TimedOut, Unavailable, error_from_wire
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import SnapshotRecord, TabletPlace
from runtime.wire.tables_pb2_grpc import TabletMasterStub, TabletServerStub
from runtime.world import World
from tablet.client.locating import Locator, RootFinder, all_places
from tablet.client.requests import Requests
from tablet.client.settings import TableClientSettings
from tablet.engine.model.checks import check_row
from tablet.engine.model.filters import EVERYTHING, ReadFilter, RowFilter
from tablet.engine.model.operations import Operation, SetCell
from tablet.engine.model.schema import Schema
from tablet.engine.model.schema_message import schema_from_message, schema_to_message
from tablet.location.messages import FoundRow, changes_to_messages, filter_to_message, row_from_message
from tablet.location.places import MASTER_PATH, ROOT_PATH, living

if TYPE_CHECKING:
    from runtime.wire.tables_pb2_grpc import TabletMasterAsyncStub, TabletServerAsyncStub

T = TypeVar("T")
Mutation = tuple[bytes, Sequence[Operation]]


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
        request = wire.TakeSnapshotRequest(table=table, name=name)
        return (await self._ask_master(lambda stub, seconds: stub.TakeSnapshot(request, timeout=seconds))).snapshot

    async def snapshots(self, table: str | None = None) -> list[SnapshotRecord]:
        """The snapshots of a table, or of all tables, by name."""
        request = wire.ListSnapshotsRequest()
        reply = await self._ask_master(lambda stub, seconds: stub.ListSnapshots(request, timeout=seconds))
        return [found for found in reply.snapshots if table is None or found.table == table]

    async def restore(self, name: str, table: str | None = None) -> str:
        """Make a table of a snapshot, under the name that its table had, or a new one; returns the name when its
        tablets are served. The snapshot stays. Raises NotFound, AlreadyExists (the table), InvalidRequest, Conflict."""
        request = wire.RestoreSnapshotRequest(name=name, table=table or "")
        return (await self._ask_master(lambda stub, seconds: stub.RestoreSnapshot(request, timeout=seconds))).table

    async def delete_snapshot(self, name: str) -> None:
        """Delete a snapshot; tables that were made of it stay. Raises NotFound, Conflict."""
        request = wire.DeleteSnapshotRequest(name=name)
        await self._ask_master(lambda stub, seconds: stub.DeleteSnapshot(request, timeout=seconds))

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
        """Apply operations to many rows, each row atomically, all of a tablet server in one call; returns the failure
        of each, or None. There is no order between different rows."""
        wanted = [(row, changes_to_messages(operations)) for row, operations in mutations]
        outcomes: list[TabletopError | None] = [None] * len(wanted)
        patience = _Patience(self._world, self.settings)
        left = list(range(len(wanted)))
        while left:
            groups: dict[str, list[tuple[int, TabletPlace]]] = {}
            again: list[int] = []
            for number in left:
                try:
                    place = await self.locator.place_of(table, wanted[number][0])
                    groups.setdefault(place.server, []).append((number, place))
                except TabletopError as error:
                    outcomes[number] = error
                    if _may_pass(error, is_read=True):
                        again.append(number)
            calls = [
                self._mutate_at(group[first : first + self.settings.mutations_a_call], wanted, outcomes)
                for group in groups.values()
                for first in range(0, len(group), self.settings.mutations_a_call)
            ]
            for failed in await asyncio.gather(*calls):
                again += failed
            if not again or not await patience.pause():
                break
            left = sorted(again)
        return outcomes

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
    ) -> AsyncIterator[FoundRow]:
        """The rows with start <= row < end (empty: no bound) that have cells which the filter wants, in order, through
        all tablets. Each row is read atomically; different rows at different moments. Raises as `read`."""
        message, left = filter_to_message(wanted), limit
        while left is None or left > 0:
            most = self.settings.scan_rows if left is None else min(left, self.settings.scan_rows)

            async def ask(
                place: TabletPlace,
                stub: "TabletServerAsyncStub",
                seconds: float,
                start: bytes = start,
                most: int = most,
            ) -> tuple[wire.ScanRowsReply, bytes]:
                request = wire.ScanRowsRequest(tablet=place.tablet, start=start, end=end, wanted=message, limit=most)
                return await stub.ScanRows(request, timeout=seconds), place.end_row

            reply, stop = await self._on_tablet(table, start, ask, is_read=True)
            for found in reply.rows:
                yield row_from_message(found)
            left = None if left is None else left - len(reply.rows)
            if reply.HasField("next"):
                start = reply.next
            elif not stop or (end and stop >= end):
                return
            else:
                start = stop

    # How it is done.

    async def _mutate_at(
        self,
        group: Sequence[tuple[int, TabletPlace]],
        wanted: Sequence[tuple[bytes, list[wire.ChangeMessage]]],
        outcomes: list[TabletopError | None],
    ) -> list[int]:
        """One call; returns the numbers of the mutations that certainly have not happened and may succeed later."""
        request = wire.MutateRowsRequest(
            mutations=[
                wire.RowMutation(tablet=place.tablet, row=wanted[number][0], changes=wanted[number][1])
                for number, place in group
            ]
        )
        server, seconds = group[0][1], self.settings.call_seconds
        stub = TabletServerStub(self._world.network.channel(server.address))
        try:
            reply = await self._requests.ask(stub.MutateRows, request, server=server.server, seconds=seconds)
            found = [
                error_from_wire(outcome.error, outcome.message, definite=outcome.definite) if outcome.error else None
                for outcome in reply.outcomes
            ]
        except TabletopError as error:
            found = [error] * len(group)
        again = []
        for (number, place), failure in zip(group, found, strict=True):
            outcomes[number] = failure
            if failure is not None and _tells_of_moving(failure):
                self.locator.forget(place)
            if failure is not None and _may_pass(failure, is_read=False):
                again.append(number)
        return again

    async def _on_tablet(
        self,
        table: str,
        row: bytes,
        ask: Callable[[TabletPlace, "TabletServerAsyncStub", float], Awaitable[T]],
        *,
        is_read: bool,
    ) -> T:
        async def attempt() -> T:
            try:
                place = await self.locator.place_of(table, row)
            except (Unavailable, TimedOut) as error:  # So far nothing was asked of any tablet.
                raise type(error)(error.message, definite=True) from error
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


def _tells_of_moving(error: TabletopError) -> bool:
    return isinstance(error, NotServed | Unavailable | TimedOut)


def _may_pass(error: TabletopError, *, is_read: bool) -> bool:
    """Whether another try may succeed and does no harm."""
    return _tells_of_moving(error) and (is_read or error.definite)
