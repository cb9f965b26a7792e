"""The synchronous face: the same client for programs that know nothing of asyncio.

    from tablet.client import connect
    with connect() as tables:
        tables.put("users", "ada", "profile:name", "Ada")

As with files (`gfs/synchronous.py`), one background thread runs an event loop with a world and a `TableClient`; each
method hands its coroutine over and waits. Row keys, columns and values may be texts, which are taken as UTF-8.

This module belongs to the real world alone.
"""

import json
import tempfile
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from gfs.names.locate import CONTACT_FILE, find_contact
from gfs.synchronous import BackgroundLoop
from runtime.errors import InvalidRequest, TabletopError
from runtime.events import Record
from runtime.real.world import RealWorld
from runtime.wire.tables_pb2 import SnapshotRecord, TabletPlace
from tablet.client.client import TableClient
from tablet.client.settings import TableClientSettings
from tablet.engine.model.checks import Text, as_bytes
from tablet.engine.model.filters import EVERYTHING, RowFilter
from tablet.engine.model.operations import DeleteCells, DeleteRow, Operation
from tablet.engine.model.ranges import RowRange
from tablet.engine.model.schema import Family, GarbageRule, Schema
from tablet.location.messages import FoundRow

T = TypeVar("T")
_SCANNED = 500


class Tables:
    """One program's access to the tables of one cluster; any number of threads may share it."""

    def __init__(self, lock_service: str, token: str, settings: TableClientSettings | None = None) -> None:
        self._background = BackgroundLoop()
        self._stop_at_exit = weakref.finalize(self, BackgroundLoop.stop, self._background)
        self._world, self._client = self._background.call(self._start(lock_service, token, settings))

    async def _start(
        self, lock_service: str, token: str, settings: TableClientSettings | None
    ) -> tuple[RealWorld, TableClient]:
        world = RealWorld(node="client", root=tempfile.gettempdir(), token=token, sink=_Unrecorded())
        return world, TableClient(world, lock_service, settings)

    def __enter__(self) -> "Tables":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything. Closing twice is harmless."""
        if not self._background.is_of_another_process and self._stop_at_exit.alive:
            try:
                self._background.call(self._end())
            finally:
                self._stop_at_exit()

    async def _end(self) -> None:
        await self._client.close()
        await self._world.close()

    def run(self, work: Callable[[TableClient], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine over the asynchronous client, for what this face does not have."""
        return self._background.call(work(self._client))

    def create_table(
        self,
        table: str,
        families: Sequence[str] | Mapping[str, GarbageRule | None],
        split_rows: Iterable[Text] = (),
    ) -> None:
        """Create a table with these families, perhaps with a rule for each. Raises as `TableClient.create_table`."""
        schema = Schema()
        rules = families if isinstance(families, Mapping) else dict.fromkeys(families)
        for name, rule in rules.items():
            schema = schema.with_family(Family(name, rule))
        rows = [as_bytes("a row to split at", row) for row in split_rows]
        self.run(lambda client: client.create_table(table, schema, rows))

    def delete_table(self, table: str) -> None:
        """Delete a table. Raises NotFound."""
        self.run(lambda client: client.delete_table(table))

    def tables(self) -> dict[str, Schema]:
        """All tables and their schemas."""
        return self.run(lambda client: client.tables())

    def tablets(self, table: str | None = None) -> list[TabletPlace]:
        """Where the tablets are."""
        return self.run(lambda client: client.tablets(table))

    def snapshot(self, table: str, name: str) -> SnapshotRecord:
        """Keep what a table holds under a name. Raises as `TableClient.snapshot`."""
        return self.run(lambda client: client.snapshot(table, name))

    def snapshots(self, table: str | None = None) -> list[SnapshotRecord]:
        """The snapshots of a table, or of all."""
        return self.run(lambda client: client.snapshots(table))

    def restore(self, name: str, table: str | None = None) -> str:
        """Make a table of a snapshot; returns its name. Raises as `TableClient.restore`."""
        return self.run(lambda client: client.restore(name, table))

    def delete_snapshot(self, name: str) -> None:
        """Delete a snapshot. Raises NotFound, Conflict."""
        self.run(lambda client: client.delete_snapshot(name))

    def put(self, table: str, row: Text, column: Text, value: Text, timestamp: int | None = None) -> None:
        """Write one cell. Raises as `TableClient.put`."""
        key, name, data = as_bytes("the row", row), as_bytes("the column", column), as_bytes("the value", value)
        self.run(lambda client: client.put(table, key, name, data, timestamp))

    def mutate(self, table: str, row: Text, operations: Sequence[Operation]) -> None:
        """Apply operations to one row, as one atomic step. Raises as `TableClient.mutate`."""
        key = as_bytes("the row", row)
        self.run(lambda client: client.mutate(table, key, operations))

    def mutate_many(
        self, table: str, mutations: Iterable[tuple[Text, Sequence[Operation]]]
    ) -> list[TabletopError | None]:
        """Apply operations to many rows; returns the failure of each, or None."""
        wanted = [(as_bytes("a row", row), operations) for row, operations in mutations]
        return self.run(lambda client: client.mutate_many(table, wanted))

    def check_and_mutate(
        self,
        table: str,
        row: Text,
        wanted: RowFilter,
        if_found: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        value: Text | None = None,
    ) -> bool:
        """As `TableClient.check_and_mutate`."""
        key, held = as_bytes("the row", row), None if value is None else as_bytes("the value", value)
        return self.run(lambda client: client.check_and_mutate(table, key, wanted, if_found, otherwise, value=held))

    def increment(self, table: str, row: Text, column: Text, delta: int = 1) -> int:
        """As `TableClient.increment`."""
        key, name = as_bytes("the row", row), as_bytes("the column", column)
        return self.run(lambda client: client.increment(table, key, name, delta))

    def append(self, table: str, row: Text, column: Text, data: Text) -> bytes:
        """As `TableClient.append`."""
        key, name, more = as_bytes("the row", row), as_bytes("the column", column), as_bytes("the data", data)
        return self.run(lambda client: client.append(table, key, name, more))

    def delete(self, table: str, row: Text, column: Text | None = None) -> None:
        """Delete a row, or one column of it. Raises as `TableClient.mutate`."""
        self.mutate(table, row, [DeleteRow() if column is None else DeleteCells(column)])

    def get(self, table: str, row: Text, column: Text) -> bytes | None:
        """The newest value of one column, or None. Raises as `TableClient.read`."""
        key, name = as_bytes("the row", row), as_bytes("the column", column)
        return self.run(lambda client: client.get(table, key, name))

    def read(self, table: str, row: Text, wanted: RowFilter = EVERYTHING) -> FoundRow | None:
        """A row's cells that the filter wants, or None. Raises as `TableClient.read`."""
        key = as_bytes("the row", row)
        return self.run(lambda client: client.read(table, key, wanted))

    def scan(
        self,
        table: str,
        start: Text = b"",
        end: Text = b"",
        *,
        prefix: Text = b"",
        wanted: RowFilter = EVERYTHING,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[FoundRow]:
        """Rows in order, or in reverse, as `TableClient.scan` gives them, some hundred at a time."""
        low, high = as_bytes("the start", start), as_bytes("the end", end)
        if prefix:
            if low or high:
                raise InvalidRequest("give a prefix, or a start and an end")
            rows = RowRange.with_prefix(prefix)
            low, high = rows.start, rows.end
        left = limit
        while left is None or left > 0:
            most = _SCANNED if left is None else min(left, _SCANNED)
            found = self.run(partial(_some, table=table, bounds=(low, high), wanted=wanted, most=most, reverse=reverse))
            yield from found
            left = None if left is None else left - len(found)
            if len(found) < most:
                return
            if reverse:
                high = found[-1][0]
            else:
                low = found[-1][0] + b"\0"


def connect(
    cluster: str | None = None, *, state: str | None = None, settings: TableClientSettings | None = None
) -> Tables:
    """The tables of a cluster of this machine: of the name in TABLETOP_CLUSTER, else "desk", as `gfs.connect` finds it.
    Raises NotFound, Unauthenticated, Unavailable, and InvalidRequest if it has no tablet servers."""
    contact = find_contact(cluster, home=state)
    assert contact.folder is not None
    record = json.loads((contact.folder / CONTACT_FILE).read_text(encoding="utf-8"))
    if not record.get("settings", {}).get("tablet_servers"):
        raise InvalidRequest(
            f"cluster {contact.cluster!r} has no tablet servers; `tabletop up --tablet-servers 3` makes one that has"
        )
    return Tables(record["lock"], contact.token, settings)


class _Unrecorded:
    """A client's own events go nowhere: an application's memory is not ours to fill."""

    def write(self, record: Record) -> None:
        """Forget the record."""


async def _some(
    client: TableClient, *, table: str, bounds: tuple[bytes, bytes], wanted: RowFilter, most: int, reverse: bool
) -> list[FoundRow]:
    rows = client.scan(table, *bounds, wanted=wanted, limit=most, reverse=reverse)
    return [row async for row in rows]
