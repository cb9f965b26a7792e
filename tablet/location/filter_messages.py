"""Filters on the wire (`proto/tables.proto`), and back.

The usual conditions of a read are one message; a filter that is put together from parts is a tree of them.
"""

from collections.abc import Callable
from typing import Any

from runtime.errors import InvalidRequest
from runtime.wire import tables_pb2 as wire
from tablet.engine.model import filter_tree as tree
from tablet.engine.model.filters import EVERYTHING, ReadFilter, RowFilter

_PATTERNS: dict[str, Callable[[bytes], RowFilter]] = {
    "row_pattern": tree.RowRegex,
    "family_pattern": tree.FamilyRegex,
    "qualifier_pattern": tree.QualifierRegex,
    "value_pattern": tree.ValueRegex,
}
_COUNTS: dict[str, Callable[[int], RowFilter]] = {
    "cells_per_row": tree.CellsPerRow,
    "cells_per_row_offset": tree.CellsPerRowOffset,
    "cells_per_column": tree.CellsPerColumn,
}
_FLAGS: dict[str, Callable[[], RowFilter]] = {
    "pass_all": tree.PassAll,
    "block_all": tree.BlockAll,
    "strip_value": tree.StripValue,
    "sink": tree.Sink,
}
_FIELDS = {kind: field for kinds in (_PATTERNS, _COUNTS, _FLAGS) for field, kind in kinds.items()}


def filter_to_message(wanted: RowFilter) -> wire.CellFilter:
    """Raises InvalidRequest for what is no filter, and for labels, which a row on the wire has no place for."""
    if wanted is EVERYTHING:
        return wire.CellFilter()
    if isinstance(wanted, ReadFilter) and not _wants_nothing(wanted):
        return _cells_to_message(wanted)
    return wire.CellFilter(tree=_tree_to_message(wanted))


def filter_from_message(message: wire.CellFilter) -> RowFilter:
    """Raises InvalidRequest for conditions that nothing could meet, and for a filter that this version does not
    know."""
    if message.HasField("tree"):
        return _tree_from_message(message.tree)
    return _cells_from_message(message) if message.ByteSize() else EVERYTHING


def _wants_nothing(wanted: ReadFilter) -> bool:
    """Whether no name is one of those that are wanted. On the wire, no names stand for any."""
    return wanted.families == frozenset() or wanted.columns == frozenset()


def _cells_to_message(wanted: ReadFilter) -> wire.CellFilter:
    return wire.CellFilter(
        families=sorted(wanted.families or ()),
        columns=sorted(wanted.columns or ()),
        column_pattern=wanted.column_pattern,
        versions=wanted.versions,
        start_timestamp=wanted.start_timestamp,
        end_timestamp=wanted.end_timestamp,
    )


def _cells_from_message(message: wire.CellFilter) -> ReadFilter:
    return ReadFilter(
        families=list(message.families) or None,
        columns=list(message.columns) or None,
        column_pattern=_given(message, "column_pattern"),
        versions=_given(message, "versions"),
        start_timestamp=_given(message, "start_timestamp"),
        end_timestamp=_given(message, "end_timestamp"),
    )


def _tree_to_message(wanted: RowFilter) -> wire.FilterTree:
    match wanted:
        case ReadFilter() if _wants_nothing(wanted):
            return wire.FilterTree(block_all=True)
        case ReadFilter():
            return wire.FilterTree(cells=_cells_to_message(wanted))
        case tree.Chain(filters):
            return wire.FilterTree(chain=wire.FilterTrees(parts=map(_tree_to_message, filters)))
        case tree.Interleave(filters):
            return wire.FilterTree(interleave=wire.FilterTrees(parts=map(_tree_to_message, filters)))
        case tree.Condition(predicate, if_true, if_false):
            condition = wire.FilterCondition(
                predicate=_tree_to_message(predicate),
                if_true=None if if_true is None else _tree_to_message(if_true),
                if_false=None if if_false is None else _tree_to_message(if_false),
            )
            return wire.FilterTree(condition=condition)
        case tree.QualifierRange() | tree.ValueRange():
            span = wire.FilterRange(
                family=wanted.family if isinstance(wanted, tree.QualifierRange) else b"",
                start=wanted.start,
                end=wanted.end,
                start_open=wanted.start_open,
                end_closed=wanted.end_closed,
            )
            if isinstance(wanted, tree.QualifierRange):
                return wire.FilterTree(qualifier_range=span)
            return wire.FilterTree(value_range=span)
        case tree.TimestampRange(start, end):
            return wire.FilterTree(timestamp_range=wire.TimestampSpan(start=start, end=end))
        case tree.RowSample(share):
            return wire.FilterTree(row_sample=share)
        case tree.ApplyLabel():
            raise InvalidRequest(
                f"{wanted!r} cannot be sent to a tablet server: rows come without labels; leave it out"
            )
        case _:
            return _simple_to_message(wanted)


def _simple_to_message(wanted: RowFilter) -> wire.FilterTree:
    field = _FIELDS.get(type(wanted))
    if field is None:
        raise InvalidRequest(f"{wanted!r} is no filter; give a ReadFilter, for example")
    values = vars(wanted)
    found: Any = values.get("pattern", values.get("count", True))
    return wire.FilterTree(**{field: found})


def _tree_from_message(message: wire.FilterTree) -> RowFilter:
    field = message.WhichOneof("filter")
    value: Any = getattr(message, field) if field else None
    match field:
        case "cells":
            return _cells_from_message(value)
        case "chain":
            return tree.Chain(*map(_tree_from_message, value.parts))
        case "interleave":
            return tree.Interleave(*map(_tree_from_message, value.parts))
        case "condition":
            return tree.Condition(
                _tree_from_message(value.predicate),
                _tree_from_message(value.if_true) if value.HasField("if_true") else None,
                _tree_from_message(value.if_false) if value.HasField("if_false") else None,
            )
        case "qualifier_range" | "value_range":
            bounds = _given(value, "start"), _given(value, "end")
            open_or_closed = {"start_open": value.start_open, "end_closed": value.end_closed}
            if field == "value_range":
                return tree.ValueRange(*bounds, **open_or_closed)
            return tree.QualifierRange(value.family, *bounds, **open_or_closed)
        case "timestamp_range":
            return tree.TimestampRange(_given(value, "start"), _given(value, "end"))
        case "row_sample":
            return tree.RowSample(value)
    if field in _PATTERNS:
        return _PATTERNS[field](value)
    if field in _COUNTS:
        return _COUNTS[field](value)
    if field in _FLAGS:
        return _FLAGS[field]()
    raise InvalidRequest(f"a filter of kind {field!r} is not known here")


def _given(message: Any, field: str) -> Any:
    """An optional field, or None."""
    return getattr(message, field) if message.HasField(field) else None
