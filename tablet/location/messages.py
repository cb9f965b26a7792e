"""Rows and mutations on the wire (`proto/tables.proto`), and back."""

from collections.abc import Iterable, Sequence

from runtime.errors import InvalidRequest
from runtime.wire import tables_pb2 as wire
from tablet.engine.model.checks import check_timestamp
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation, SetCell
from tablet.engine.model.rows import Cell

FoundRow = tuple[bytes, tuple[Cell, ...]]
ROW_ANSWER_LIMIT_BYTES = 256 * 1024 * 1024
"""The most of one row that is given in one answer: a row is in memory as a whole here and there, and in one message."""


def change_to_message(operation: Operation) -> wire.ChangeMessage:
    """One operation. Raises InvalidRequest for a value or a timestamp that no tablet takes."""
    match operation:
        case SetCell(column, value, timestamp):
            if timestamp is not None:
                check_timestamp(timestamp)
            return wire.ChangeMessage(set_cell=wire.SetCellMessage(column=column, value=value, timestamp=timestamp))
        case DeleteCells(column, start, end):
            for bound in (start, end):
                if bound is not None:
                    check_timestamp(bound)
            return wire.ChangeMessage(delete_cells=wire.DeleteCellsMessage(column=column, start=start, end=end))
        case DeleteFamily(family):
            return wire.ChangeMessage(delete_family=family)
        case DeleteRow():
            return wire.ChangeMessage(delete_row=True)
    raise InvalidRequest(f"{operation!r} is no operation; give SetCell(column, value), for example")


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
    """A row that was read. Raises InvalidRequest if it is too large for one answer."""
    found = tuple(cells)
    size = sum(len(cell[0]) + len(cell[2]) for cell in found)
    if size > ROW_ANSWER_LIMIT_BYTES:
        raise InvalidRequest(
            f"row {key[:80]!r} has {size:,} bytes, and at most {ROW_ANSWER_LIMIT_BYTES:,} are given in one answer; "
            f"ask for some of its columns, or for fewer versions"
        )
    return wire.RowMessage(
        key=key, cells=[wire.CellMessage(column=cell[0], timestamp=cell[1], value=cell[2]) for cell in found]
    )


def row_from_message(message: wire.RowMessage) -> FoundRow:
    """The reverse."""
    return message.key, tuple(Cell(cell.column, cell.timestamp, cell.value) for cell in message.cells)
