"""The synchronous face: a tablet in a folder, for a program, a test or a notebook.

The problem. The engine is written as coroutines, because servers are. A program that stores a row a microsecond must
not pay for an event loop, and a notebook has one running already, which must not be blocked nor entered twice.

The idea. Files of the real world's disk never make anybody wait: its coroutines run to their end at the first
`send(None)`. So this face drives the engine by hand, without a loop. The only places where the engine's coroutines do
pause are those between two slices of background work. A flush or a compaction therefore is a coroutine that
is kept, and each write pays for a few slices of it, in proportion to what it wrote (`pace.py`): no threads, no
surprises in the middle of a read, and the same order of events in every run. `docs/decisions/` tells why.

One thread at a time may use an `EmbeddedTablet`. Rows, columns and values may be texts, which are taken as UTF-8.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import TypeVar

from runtime.errors import AlreadyExists, InvalidRequest, TabletopError
from runtime.real.disk import RealDisk, names_in
from tablet.embedded.arguments import mutations_of, operations_of, size_of
from tablet.embedded.folder import Folder, path_of
from tablet.embedded.guard import INTERRUPTED, OpenTablet, forwarded, nothing_cached
from tablet.embedded.inline import run_inline
from tablet.engine.cloning import copy_tablet
from tablet.engine.engine import Engine
from tablet.engine.figures import EngineFigures
from tablet.engine.model.checks import Text, as_bytes, as_timestamp
from tablet.engine.model.filter_tree import families_named
from tablet.engine.model.filters import EVERYTHING, RowFilter, check_filter, check_limit, newest_of
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation
from tablet.engine.model.ranges import RowRange
from tablet.engine.model.rows import Row
from tablet.engine.model.schema import Schema
from tablet.engine.tree.manifest import load_snapshot
from tablet.engine.world.eventual import Eventual
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

T = TypeVar("T")


class EmbeddedTablet(OpenTablet):
    """One tablet in a folder. Open it with `tablet.engine.open`, close it or use it in a `with` statement.

    Operations raise Conflict once it is closed, in the child of a fork, after an interrupted operation, and while
    another thread uses it; InvalidRequest for arguments that cannot be meant.
    """

    def __init__(self, folder: Folder, options: Options | None = None) -> None:
        super().__init__(folder, options)
        self._get = self._engine.reader.newest_value
        self._put = self._engine.put_now
        self._known_columns = self._engine.known_columns
        self._check_column = self._engine.check_column

    @property
    def schema(self) -> Schema:
        """Families and locality groups."""
        return self._engine.schema

    create_family = forwarded(Engine.create_family)
    set_garbage_rule = forwarded(Engine.set_garbage_rule)
    drop_family = forwarded(Engine.drop_family, after_jobs=True)
    set_locality_group = forwarded(Engine.set_locality_group)

    sync = forwarded(Engine.sync)
    flush = forwarded(Engine.flush, after_jobs=True)
    compact = forwarded(Engine.compact, after_jobs=True)

    save_snapshot = forwarded(Engine.save_snapshot, after_jobs=True)
    snapshots = forwarded(Engine.snapshots)
    restore_snapshot = forwarded(Engine.restore_snapshot, after_jobs=True)
    delete_snapshot = forwarded(Engine.delete_snapshot, after_jobs=True)

    def put(self, row: Text, column: Text, value: Text, timestamp: int | None = None) -> None:
        """Write one cell; without a timestamp (microseconds), at the present time.

        Raises InvalidRequest, NotFound for the family, NoSpace (definite), DiskFailure.
        """
        if type(row) is not bytes:
            row = as_bytes("the row", row)
        if type(column) is not bytes:
            column = as_bytes("the column", column)
        if type(value) is not bytes:
            value = as_bytes("the value", value)
        if timestamp is not None:
            timestamp = as_timestamp(timestamp)
        if self._busy:
            self._refuse()
        try:  # As in `_alone`, spelled out for speed.
            self._busy = True
            waiting = self._put(row, column, value, timestamp)
            if waiting is not None:
                run_inline(waiting)
            self._advance(len(value) + len(row) + 32)
        except TabletopError:
            self._busy = False
            raise
        except BaseException:
            self._why, self._cached = INTERRUPTED, nothing_cached
            raise
        self._busy = False

    def write(self, row: Text, *operations: Operation) -> None:
        """Apply operations to one row, atomically and in their order."""
        self._alone(self._write, as_bytes("the row", row), operations, size_of(operations))

    async def _write(self, row: bytes, operations: Sequence[Operation], size: int) -> None:
        await self._engine.write(row, operations)
        self._advance(size)

    def write_many(
        self, mutations: Mapping[Text, Sequence[Operation]] | Iterable[tuple[Text, Sequence[Operation]]]
    ) -> None:
        """Apply mutations to many rows, each row atomically: quicker than one `write` for each."""
        if self._busy:
            self._refuse()
        admitted = self._engine.admit(mutations_of(mutations))  # Who gives them may use the tablet meanwhile.
        self._alone(self._engine.write_admitted, admitted, written=self._advance)

    def delete(
        self, row: Text, column: Text | None = None, *, start: int | None = None, end: int | None = None
    ) -> None:
        """Delete the row, or one of its columns, or that column's versions with start <= timestamp < end."""
        if column is not None:
            self.write(row, DeleteCells(column, start, end))
        elif start is None and end is None:
            self.write(row, DeleteRow())
        else:
            raise InvalidRequest(
                "a deletion of versions needs a column: name it, or leave start and end out to delete the whole row"
            )

    def delete_family(self, row: Text, family: Text) -> None:
        """Delete the row's cells of one family."""
        self.write(row, DeleteFamily(family))

    def get(self, row: Text, column: Text) -> bytes | None:
        """The newest value of one column, or None. Raises InvalidRequest, NotFound for the family, Corrupted,
        DiskFailure."""
        if type(row) is not bytes:
            row = as_bytes("the row", row)
        if type(column) is not bytes:
            column = as_bytes("the column", column)
        # Functions are kept in local names: so CPython calls them without looking for a method of that name first.
        cached = self._cached
        known = cached(row, column)
        if known is not None:
            return known
        if self._busy:
            self._refuse()
        get = self._get
        try:
            self._busy = True
            found = get(row, column)
            if found is not None and not isinstance(found, bytes):
                found = run_inline(found)
        finally:
            self._busy = False
        if found is None and column not in self._known_columns:
            self._check_column(column)
        return found

    def read(self, row: Text, wanted: RowFilter | None = None) -> Row | None:
        """The row's cells that the filter wants, all by default; None if there are none."""
        row, wanted = as_bytes("the row", row), self._checked(wanted)
        if self._busy:
            self._refuse()
        try:
            self._busy = True
            return run_inline(self._engine.read(row, wanted))
        finally:
            self._busy = False

    def scan(
        self,
        start: Text = b"",
        end: Text = b"",
        *,
        prefix: Text = b"",
        rows: Iterable[RowRange | Text] | None = None,
        wanted: RowFilter | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Row]:
        """The rows with start <= row < end (empty: no bound) and this prefix, in order, at most `limit`. `rows`: only
        these single keys and `RowRange`s, given in any order; `reverse`: from the last row to the first."""
        if self._busy:
            self._refuse()
        check_limit(limit)
        bounds = as_bytes("start", start), as_bytes("end", end)
        batches = self._engine.scan_batches(
            *bounds,
            prefix=as_bytes("prefix", prefix),
            rows=rows,
            wanted=self._checked(wanted),
            reverse=reverse,
        )
        return self._one_by_one(batches.next_batch, limit)

    def items(
        self,
        column: Text,
        start: Text = b"",
        end: Text = b"",
        *,
        prefix: Text = b"",
        rows: Iterable[RowRange | Text] | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """(row, newest value) of one column, for the rows that have it; rows as in `scan`, and quicker than that."""
        if self._busy:
            self._refuse()
        if limit is not None:
            check_limit(limit)
        column = as_bytes("the column", column)
        if column not in self._known_columns:
            self._check_column(column)
        batches = self._engine.scan_batches(
            start if type(start) is bytes else as_bytes("start", start),
            end if type(end) is bytes else as_bytes("end", end),
            prefix=prefix if type(prefix) is bytes else as_bytes("prefix", prefix),
            rows=rows,
            wanted=newest_of(column),
            reverse=reverse,
        )
        return self._one_by_one(batches.next_items, limit)

    def increment(self, row: Text, column: Text, delta: int = 1) -> int:
        """Add to a 64-bit big-endian counter and return its new value."""
        if type(delta) is not int:
            raise InvalidRequest(f"delta is {delta!r}; give a whole number")
        return self._alone(self._increment, as_bytes("the row", row), as_bytes("the column", column), delta)

    async def _increment(self, row: bytes, column: bytes, delta: int) -> int:
        total = await self._engine.increment(row, column, delta)
        self._advance(len(row) + len(column) + 40)
        return total

    def append(self, row: Text, column: Text, data: Text) -> bytes:
        """Append to the newest value and return the new one."""
        data = as_bytes("the data", data)
        return self._alone(self._append, as_bytes("the row", row), as_bytes("the column", column), data)

    async def _append(self, row: bytes, column: bytes, data: bytes) -> bytes:
        value = await self._engine.append(row, column, data)
        self._advance(len(row) + len(value) + 32)
        return value

    def check_and_mutate(
        self,
        row: Text,
        wanted: RowFilter,
        if_found: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        value: Text | None = None,
    ) -> bool:
        """Apply `if_found` if the filter finds a cell (with this value, if given), else `otherwise`; returns which."""
        expected = None if value is None else as_bytes("the value", value)
        choices = operations_of(if_found), operations_of(otherwise)
        return self._alone(self._check_and_mutate, as_bytes("the row", row), self._checked(wanted), *choices, expected)

    async def _check_and_mutate(
        self,
        row: bytes,
        wanted: RowFilter,
        if_found: Sequence[Operation],
        otherwise: Sequence[Operation],
        value: bytes | None,
    ) -> bool:
        found = await self._engine.check_and_mutate(row, wanted, if_found, otherwise, value=value)
        self._advance(size_of(if_found if found else otherwise))
        return found

    def settle(self) -> None:
        """Do all the background work that is due now, and put the memtable's rows in order for the next scan."""
        self._alone(self._pace.finish)
        while self._alone(self._engine.do_some_housework):
            pass
        self._alone(self._engine.put_in_order)

    def clone(self, folder: Folder, snapshot: str | None = None) -> None:
        """Copy the tablet, or one of its snapshots, into an empty folder. Raises AlreadyExists, NotFound."""
        place = path_of(folder)
        if names := names_in(place):
            raise AlreadyExists(f"the target of the clone is not empty: {place} holds {names[0]!r}")
        if snapshot is not None:
            self._alone(load_snapshot, self._engine.state.storage, snapshot)
        self.flush()
        target = DiskStorage(RealDisk(place, inline=True))
        self._alone(copy_tablet, self._engine, target, snapshot)

    def figures(self) -> EngineFigures:
        """Counters and sizes."""
        return self._engine.figures()

    def _one_by_one(self, next_batch: Callable[[], Eventual[list[T]]], limit: int | None) -> Iterator[T]:
        """What the batches hold, at most `limit` of it. What a batch has read may be had after the tablet is closed."""
        rows = chain.from_iterable(iter(partial(self._batch_of, next_batch), []))
        return rows if limit is None else islice(rows, limit)

    def _check_family(self, family: bytes) -> None:
        schema = self._engine.schema
        if family not in schema.families:
            schema.family(family.decode("utf-8", "replace"))

    def _checked(self, wanted: RowFilter | None) -> RowFilter:
        """The filter. Raises InvalidRequest for what is none, NotFound for families that there are not."""
        if wanted is None or wanted is EVERYTHING:
            return EVERYTHING
        check_filter(wanted)
        for family in sorted(families_named(wanted)):
            self._check_family(family)
        return wanted
