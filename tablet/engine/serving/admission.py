"""What a mutation must be to be taken, and the time it is given.

Checks come twice: before anything waits, so that a mutation that cannot be right is refused at once; and, of what can
change meanwhile (families, the row range), when the row's lock is held. The time is given then too: whoever comes to a
row later writes a newer version.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress

from tablet.engine.model.checks import (
    MUTATION_LIMIT_BYTES,
    ROW_LIMIT_BYTES,
    check_column,
    check_fragment_size,
    check_row,
    check_timestamp,
)
from tablet.engine.model.fragments import CELL, CELL_BYTES, PUT, encode_fragment, family_of
from tablet.engine.model.mutations import fragment_of
from tablet.engine.model.operations import DeleteCells, DeleteFamily, Operation, SetCell
from tablet.engine.tree.manifest import Manifest
from tablet.engine.tree.state import TabletState

Mutation = tuple[bytes, Sequence[Operation]]
"""(row, what is done to it)"""

Batch = tuple[Sequence[bytes], Sequence[bytes], bool]
"""Mutations that are logged together: the rows, their fragments, and whether each is known to be exactly one cell."""

_KNOWN_COLUMNS = 10_000


@dataclass(slots=True)
class Admitted:
    """Many mutations that were found to be right under a manifest, taken apart. The one in a place sets a cell of a row
    to a value, without a timestamp; if the column is empty, `others` has what it does. `sizes`: how long they are with
    their rows, in bytes, never less."""

    manifest: Manifest
    rows: list[bytes] = field(default_factory=list)
    columns: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    others: dict[int, tuple[Operation, ...]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)

    def operations(self, place: int) -> tuple[Operation, ...]:
        """What the mutation in a place does."""
        column = self.columns[place]
        return (SetCell(column, self.values[place]),) if column else self.others[place]


class Admission:
    """The gatekeeper of one tablet. `known_columns`: columns that were found to be right, and have a family now."""

    def __init__(self, state: TabletState) -> None:
        self.known_columns: set[bytes] = set()
        self._state = state
        self._wall_microseconds = state.world.clock.wall_microseconds

    def check(self, row: bytes, operations: Sequence[Operation]) -> int:
        """Check a mutation of one row; returns about how long its fragment is, never less. Raises InvalidRequest,
        NotFound for a family."""
        size, known = len(operations) * (CELL_BYTES + 8), self.known_columns
        for operation in operations:
            if isinstance(operation, SetCell):
                column, timestamp = operation.column, operation.timestamp
                size += len(column) + len(operation.value)
                if column not in known:
                    self.check_column(column)
                if timestamp is not None:
                    check_timestamp(timestamp)
            elif isinstance(operation, DeleteCells):
                size += len(operation.column)
                if operation.column not in known:
                    self.check_column(operation.column)
                for timestamp in (operation.start, operation.end):
                    if timestamp is not None:
                        check_timestamp(timestamp)
            elif isinstance(operation, DeleteFamily):
                size += len(operation.family) + 1
                self._check_family(operation.family)
        self.check_row(row, size)
        return size

    def admit(self, mutations: Iterable[Mutation]) -> Admitted:
        """`check` each mutation of many, and take it apart at once: thousands of objects that live until all are read
        would cost the garbage collector more than the checks."""
        known, manifest = self.known_columns, self._state.manifest
        start, end = manifest.start_row, manifest.end_row
        admitted = Admitted(manifest)
        rows, columns, values, sizes = admitted.rows, admitted.columns, admitted.values, admitted.sizes
        for row, operations in mutations:
            row_bytes = len(row)
            if len(operations) == 1 and (operation := operations[0]).__class__ is SetCell:
                # The most common mutation is right, and found so without a call; `check` says what is wrong.
                column, value = operation.column, operation.value
                size = CELL_BYTES + 8 + len(column) + len(value)
                is_right = 0 < row_bytes <= ROW_LIMIT_BYTES and size <= MUTATION_LIMIT_BYTES and column in known
                if is_right and operation.timestamp is None and row >= start and (row < end or not end):
                    rows.append(row)
                    columns.append(column)
                    values.append(value)
                    sizes.append(row_bytes + size)
                    continue
            sizes.append(row_bytes + self.check(row, operations))
            admitted.others[len(rows)] = tuple(operations)
            rows.append(row)
            columns.append(b"")
            values.append(b"")
        return admitted

    def encode_many(self, admitted: Admitted, first: int, end: int) -> Batch:
        """Encode the mutations from `first` up to `end`, whose rows' locks are held, each as of a later time than the
        one before; those that say nothing are left out. If there is another manifest than when they were admitted,
        they are checked once more. Errors as `check`."""
        if self._state.manifest is not admitted.manifest:
            for place in range(first, end):
                self.check(admitted.rows[place], admitted.operations(place))
        now, pack, single_puts = self.next_timestamp() - 1, CELL.pack, True
        rows, fragments = admitted.rows[first:end], []
        for place, column in enumerate(admitted.columns[first:end], first):
            now += 1
            if column:
                value = admitted.values[place]
                fragments.append(pack(PUT, 0, len(column), now, len(value)) + column + value)
            else:
                fragments.append(encode_fragment(fragment_of(admitted.others[place], now)))
                single_puts = False
        self._state.last_timestamp = now
        if not all(fragments):
            rows, fragments = list(compress(rows, fragments)), list(filter(None, fragments))
        return rows, fragments, single_puts

    def encode(self, row: bytes, operations: Sequence[Operation], *, not_before: int = 0) -> bytes:
        """Check a mutation and encode it as of now, or as of `not_before` if that is later; empty if it says nothing.
        The row's lock is held. Errors as `check`."""
        self.check(row, operations)
        return encode_fragment(fragment_of(operations, max(self.next_timestamp(), not_before)))

    def check_row(self, row: bytes, size: int) -> None:
        """Check the row of a mutation and its size in bytes. Raises InvalidRequest."""
        manifest, end = self._state.manifest, self._state.manifest.end_row
        is_right = 0 < len(row) <= ROW_LIMIT_BYTES and size <= MUTATION_LIMIT_BYTES
        if not (is_right and row >= manifest.start_row and (row < end or not end)):
            check_row(row)
            check_fragment_size(row, size)
            manifest.check_holds(row)

    def check_column(self, column: bytes) -> None:
        """Check a column. Raises InvalidRequest, NotFound for its family."""
        check_column(column)
        self._check_family(family_of(column))
        if len(self.known_columns) >= _KNOWN_COLUMNS:
            self.known_columns.clear()
        self.known_columns.add(column)

    def next_timestamp(self) -> int:
        """The wall clock, but later than any timestamp that the tablet has ever given: two writes are two versions."""
        state = self._state
        now = self._wall_microseconds()
        if now <= state.last_timestamp:
            now = state.last_timestamp + 1
        state.last_timestamp = now
        return now

    def _check_family(self, family: bytes) -> None:
        schema = self._state.manifest.schema
        if family not in schema.families:
            schema.family(family.decode("utf-8", "replace"))
