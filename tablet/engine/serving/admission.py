"""What a mutation must be to be taken, and the time it is given.

Checks come twice: before anything waits, so that a mutation that cannot be right is refused at once; and, of what can
change meanwhile (families, the row range), when the row's lock is held. The time is given then too: whoever comes to a
row later writes a newer version.
"""

from collections.abc import Sequence

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

_KNOWN_COLUMNS = 10_000


class Admission:
    """The gatekeeper of one tablet. `known_columns`: columns that were found to be right, and have a family now."""

    def __init__(self, state: TabletState) -> None:
        self.known_columns: set[bytes] = set()
        self._state = state

    def check(self, row: bytes, operations: Sequence[Operation]) -> int:
        """Check a mutation of one row; returns about how long its fragment is, never less. Raises InvalidRequest,
        NotFound for a family."""
        size = 0
        for operation in operations:
            size += CELL_BYTES + 8
            if isinstance(operation, SetCell):
                size += len(operation.column) + len(operation.value)
                self._check_cells(operation.column, (operation.timestamp,))
            elif isinstance(operation, DeleteCells):
                size += len(operation.column)
                self._check_cells(operation.column, (operation.start, operation.end))
            elif isinstance(operation, DeleteFamily):
                size += len(operation.family) + 1
                self._check_family(operation.family)
        self.check_row(row, size)
        return size

    def check_many(self, mutations: Sequence[Mutation]) -> list[int]:
        """`check` each mutation; returns how long they are with their rows, never less."""
        known, manifest = self.known_columns, self._state.manifest
        start, end = manifest.start_row, manifest.end_row
        sizes: list[int] = []
        for row, operations in mutations:
            row_bytes, size = len(row), 0
            for operation in operations:
                if operation.__class__ is not SetCell or operation.timestamp is not None:
                    break
                column = operation.column
                size += CELL_BYTES + 8 + len(column) + len(operation.value)
                if column not in known:
                    break
            else:
                is_right = 0 < row_bytes <= ROW_LIMIT_BYTES and size <= MUTATION_LIMIT_BYTES
                if is_right and row >= start and (row < end or not end):
                    # The most common mutations are right, and found so without a call.
                    sizes.append(row_bytes + size)
                    continue
            sizes.append(row_bytes + self.check(row, operations))
        return sizes

    def encode_many(self, mutations: Sequence[Mutation], checked: Manifest) -> tuple[list[bytes], list[bytes], bool]:
        """Encode mutations of rows whose locks are held, each as of a later time than the one before: the rows, their
        fragments, and whether each is exactly one cell. Mutations that say nothing are left out. They were checked
        under the manifest `checked`; under a later one they are once more. Errors as `check`."""
        if self._state.manifest is not checked:
            self.check_many(mutations)
        now, pack, single_puts = self.next_timestamp() - 1, CELL.pack, True
        rows: list[bytes] = []
        fragments: list[bytes] = []
        for row, operations in mutations:
            now += 1
            if len(operations) == 1 and (operation := operations[0]).__class__ is SetCell:
                column, value, timestamp = operation.column, operation.value, operation.timestamp
                if timestamp is None:
                    timestamp = now
                fragments.append(pack(PUT, 0, len(column), timestamp, len(value)) + column + value)
            elif fragment := encode_fragment(fragment_of(operations, now)):
                fragments.append(fragment)
                single_puts = False
            else:
                continue
            rows.append(row)
        self._state.last_timestamp = now
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
        now = state.world.clock.wall_microseconds()
        if now <= state.last_timestamp:
            now = state.last_timestamp + 1
        state.last_timestamp = now
        return now

    def _check_cells(self, column: bytes, timestamps: tuple[int | None, ...]) -> None:
        if column not in self.known_columns:
            self.check_column(column)
        for timestamp in timestamps:
            if timestamp is not None:
                check_timestamp(timestamp)

    def _check_family(self, family: bytes) -> None:
        schema = self._state.manifest.schema
        if family not in schema.families:
            schema.family(family.decode("utf-8", "replace"))
