"""Steps: a tree of filters as one plain Python function (BT 3).

A *step* is a function (row key, cells, sunk) -> cells. The step of a chain calls the steps of its filters. The step of
a sink appends its cells to `sunk`; the caller of the whole tree adds these to the result.

Invariant: a step changes neither the cells that it is given nor their list.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

from runtime.errors import InvalidRequest
from tablet.engine.model.filter_tree import (
    ApplyLabel,
    BlockAll,
    CellsPerColumn,
    CellsPerRow,
    CellsPerRowOffset,
    Chain,
    Condition,
    FamilyRegex,
    Interleave,
    PassAll,
    QualifierRange,
    QualifierRegex,
    RowRegex,
    RowSample,
    Sink,
    StripValue,
    TimestampRange,
    ValueRange,
    ValueRegex,
    bounds_of,
)
from tablet.engine.model.filters import ReadFilter, RowFilter
from tablet.engine.model.fragments import Entry, family_of
from tablet.engine.model.labelled import Labelled

Cells = Sequence[Entry]
Step = Callable[[bytes, Cells, list[Entry]], Cells]
_KNOWN_COLUMNS = 4096


def step_of(tree: RowFilter, numbers: Iterator[int]) -> Step:
    """The function that a filter becomes. `numbers`: one for each row sample, so that they are independent."""
    match tree:
        case Chain(filters):
            return _chain([step_of(part, numbers) for part in filters if not isinstance(part, PassAll)])
        case Interleave(filters):
            return _interleave([step_of(part, numbers) for part in filters])
        case Condition(predicate, if_true, if_false):
            return _condition(*(step_of(part or BlockAll(), numbers) for part in (predicate, if_true, if_false)))
        case RowSample(share):
            return _sample(share, next(numbers))
        case ReadFilter():
            return _usual_conditions(tree)
        case FamilyRegex() | QualifierRegex() | ValueRegex() | RowRegex():
            return _by_expression(tree)
        case QualifierRange() | ValueRange() | TimestampRange():
            return _by_range(tree)
        case CellsPerRow() | CellsPerRowOffset() | CellsPerColumn():
            return _by_count(tree)
        case StripValue():
            return lambda row, cells, sunk: [_with_value(cell, b"") for cell in cells]
        case ApplyLabel(label):
            return lambda row, cells, sunk: [Labelled.of(cell, label) for cell in cells]
        case Sink():
            return _sink
        case BlockAll():
            return lambda row, cells, sunk: ()
        case PassAll():
            return lambda row, cells, sunk: cells
    raise InvalidRequest(f"{tree!r} is no filter that can be run; use those of `tablet.engine.model.filter_tree`")


def _by_expression(tree: FamilyRegex | QualifierRegex | ValueRegex | RowRegex) -> Step:
    matches, matches_name = tree.expression.matches, tree.expression.matches_name
    match tree:
        case FamilyRegex():
            return lambda row, cells, sunk: [cell for cell in cells if matches_name(family_of(cell[0]))]
        case QualifierRegex():
            return lambda row, cells, sunk: [cell for cell in cells if matches_name(cell[0].partition(b":")[2])]
        case ValueRegex():
            return lambda row, cells, sunk: [cell for cell in cells if matches(cell[3])]
    return lambda row, cells, sunk: cells if matches(row) else ()


def _by_range(tree: QualifierRange | ValueRange | TimestampRange) -> Step:
    if isinstance(tree, TimestampRange):
        return _by_time(tree.start, tree.end)
    if isinstance(tree, QualifierRange):
        first, after = tree.columns
        return lambda row, cells, sunk: [cell for cell in cells if first <= cell[0] < after]
    low, high = bounds_of(tree)
    if high is None:
        return lambda row, cells, sunk: [cell for cell in cells if low <= cell[3]]
    return lambda row, cells, sunk: [cell for cell in cells if low <= cell[3] < high]


def _by_time(start: int | None, end: int | None) -> Step:
    # Timestamps are held negative, so the bounds change places.
    most = 2**64 if start is None else -start
    least = -(2**64) if end is None else 1 - end
    return lambda row, cells, sunk: [cell for cell in cells if least <= cell[1] <= most]


def _by_count(tree: CellsPerRow | CellsPerRowOffset | CellsPerColumn) -> Step:
    count = tree.count
    match tree:
        case CellsPerRow():
            return lambda row, cells, sunk: cells[:count]
        case CellsPerRowOffset():
            return lambda row, cells, sunk: cells[count:]
    return lambda row, cells, sunk: _newest(cells, count)


def _newest(cells: Cells, count: int) -> Cells:
    """The first cells of each column, so many."""
    kept: list[Entry] = []
    before, taken = b"", 0
    for cell in cells:
        if cell[0] != before:
            before, taken = cell[0], 0
        if taken < count:
            taken += 1
            kept.append(cell)
    return kept


def _usual_conditions(wanted: ReadFilter) -> Step:
    """The step of a `ReadFilter`: what `visible_cells` does with one, less the garbage."""
    within = _by_time(wanted.start_timestamp, wanted.end_timestamp)
    count = wanted.versions
    allows: dict[bytes, bool] = {}

    def step(row: bytes, cells: Cells, sunk: list[Entry]) -> Cells:
        if len(allows) > _KNOWN_COLUMNS:
            allows.clear()
        kept: list[Entry] = []
        for cell in cells:
            column = cell[0]
            allowed = allows.get(column)
            if allowed is None:
                allowed = allows[column] = wanted.allows(column)
            if allowed:
                kept.append(cell)
        found = within(row, kept, sunk)
        return found if count is None else _newest(found, count)

    return step


def _chain(steps: Sequence[Step]) -> Step:
    if len(steps) == 1:
        return steps[0]

    def step(row: bytes, cells: Cells, sunk: list[Entry]) -> Cells:
        for one in steps:
            if not cells:
                return cells
            cells = one(row, cells, sunk)
        return cells

    return step


def _interleave(steps: Sequence[Step]) -> Step:
    def step(row: bytes, cells: Cells, sunk: list[Entry]) -> Cells:
        pooled: list[Entry] = []
        for one in steps:
            pooled += one(row, cells, sunk)
        pooled.sort(key=place_of)
        return pooled

    return step


def _condition(predicate: Step, if_true: Step, if_false: Step) -> Step:
    return lambda row, cells, sunk: (if_true if predicate(row, cells, sunk) else if_false)(row, cells, sunk)


def _sample(share: float, number: int) -> Step:
    salt = number.to_bytes(8, "little")
    limit = int(share * 2**64)

    def step(row: bytes, cells: Cells, sunk: list[Entry]) -> Cells:
        drawn = int.from_bytes(blake2b(row, digest_size=8, salt=salt).digest(), "little")
        return cells if drawn < limit else ()

    return step


def _sink(row: bytes, cells: Cells, sunk: list[Entry]) -> Cells:
    sunk += cells
    return ()


def _with_value(cell: Entry, value: bytes) -> Entry:
    changed = (cell[0], cell[1], cell[2], value)
    return Labelled.of(changed, cell.label) if isinstance(cell, Labelled) else changed


def place_of(entry: Entry) -> tuple[bytes, int]:
    """What entries are sorted by, where there may be copies."""
    return entry[:2]
