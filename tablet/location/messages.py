"""Rows, filters and mutations on the wire (`proto/tables.proto`), and back."""

from collections.abc import Iterable, Sequence

from runtime.errors import InvalidRequest
from runtime.wire import tables_pb2 as wire
from tablet.engine.model.filters import EVERYTHING, ReadFilter, RowFilter
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation, SetCell
from tablet.engine.model.rows import Cell

FoundRow = tuple[bytes, tuple[Cell, ...]]


def filter_to_message(wanted: RowFilter) -> wire.CellFilter:
    """Raises InvalidRequest for a filter that is put together from parts."""
    if wanted is EVERYTHING:
        return wire.CellFilter()
    if not isinstance(wanted, ReadFilter):
        raise InvalidRequest(f"{wanted!r} cannot be sent to a tablet server; give a ReadFilter")
    return wire.CellFilter(
        families=sorted(wanted.families or ()),
        columns=sorted(wanted.columns or ()),
        column_pattern=wanted.column_pattern,
        versions=wanted.versions,
        start_timestamp=wanted.start_timestamp,
        end_timestamp=wanted.end_timestamp,
    )


def filter_from_message(message: wire.CellFilter) -> RowFilter:
    """Raises InvalidRequest for conditions that nothing could meet."""
    if not message.ByteSize():
        return EVERYTHING
    return ReadFilter(
        families=list(message.families) or None,
        columns=list(message.columns) or None,
        column_pattern=message.column_pattern if message.HasField("column_pattern") else None,
        versions=message.versions if message.HasField("versions") else None,
        start_timestamp=message.start_timestamp if message.HasField("start_timestamp") else None,
        end_timestamp=message.end_timestamp if message.HasField("end_timestamp") else None,
    )


def change_to_message(operation: Operation) -> wire.ChangeMessage:
    """One operation."""
    match operation:
        case SetCell(column, value, timestamp):
            return wire.ChangeMessage(set_cell=wire.SetCellMessage(column=column, value=value, timestamp=timestamp))
        case DeleteCells(column, start, end):
            return wire.ChangeMessage(delete_cells=wire.DeleteCellsMessage(column=column, start=start, end=end))
        case DeleteFamily(family):
            return wire.ChangeMessage(delete_family=family)
        case DeleteRow():
            return wire.ChangeMessage(delete_row=True)


def changes_to_messages(operations: Iterable[Operation]) -> list[wire.ChangeMessage]:
    """Operations in their order."""
    return [change_to_message(operation) for operation in operations]


def changes_from_messages(messages: Sequence[wire.ChangeMessage]) -> list[Operation]:
    """Raises InvalidRequest for an operation that this version does not know."""
    found: list[Operation] = []
    for message in messages:
        match message.WhichOneof("change"):
            case "set_cell":
                cell = message.set_cell
                found.append(SetCell(cell.column, cell.value, cell.timestamp if cell.HasField("timestamp") else None))
            case "delete_cells":
                span = message.delete_cells
                start = span.start if span.HasField("start") else None
                found.append(DeleteCells(span.column, start, span.end if span.HasField("end") else None))
            case "delete_family":
                found.append(DeleteFamily(message.delete_family))
            case "delete_row":
                found.append(DeleteRow())
            case other:
                raise InvalidRequest(f"a change of kind {other!r} is not known here")
    return found


def row_to_message(key: bytes, cells: Iterable[Cell]) -> wire.RowMessage:
    """A row that was read."""
    return wire.RowMessage(
        key=key, cells=[wire.CellMessage(column=cell[0], timestamp=cell[1], value=cell[2]) for cell in cells]
    )


def row_from_message(message: wire.RowMessage) -> FoundRow:
    """The reverse."""
    return message.key, tuple(Cell(cell.column, cell.timestamp, cell.value) for cell in message.cells)
