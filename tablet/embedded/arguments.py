"""What a program hands to an embedded tablet, checked before anything is done with it.

People write texts for bytes, lists for tuples, and the wrong thing now and then. Each function takes what was given and
returns what the engine wants, or raises InvalidRequest, which says what was found and what to write. `cells.py`,
`filters.py` and `schema.py` do the same for what is made of their classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runtime.errors import InvalidRequest
from tablet.engine.model.checks import as_bytes
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation, SetCell
from tablet.engine.world.options import Options

_OPERATIONS = (SetCell, DeleteCells, DeleteFamily, DeleteRow)
_SHOWN = 80


def checked_options(options: Options | None) -> Options:
    """The options, or the usual ones."""
    if options is None:
        return Options()
    if not isinstance(options, Options):
        raise InvalidRequest(f'the options are {options!r}; write Options(...), for example Options(sync="fsync")')
    try:
        options.check()
    except (TypeError, AttributeError) as error:
        raise InvalidRequest(f"one of {options} has a wrong type: {error}") from error
    return options


def mutations_of(given: Any) -> Iterator[tuple[bytes, tuple[Operation, ...]]]:
    """The mutations of a mapping of rows to operations, or of a collection of such pairs, one after the other."""
    pairs = given.items() if isinstance(given, Mapping) else given
    try:
        waiting = iter(pairs)
    except TypeError as error:
        raise InvalidRequest(
            f"write_many takes a mapping of rows to lists of operations, or pairs of both; not {_shown(pairs)}"
        ) from error
    for pair in waiting:
        try:
            row, operations = pair
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"{_shown(pair)} is no pair of a row and a list of operations") from error
        is_tuple = type(operations) is tuple and type(pair) is tuple
        if is_tuple and len(operations) == 1 and type(operations[0]) is SetCell and type(row) is bytes:
            yield pair  # The most common one is right as it is.
        else:
            yield as_bytes("a row", row), operations_of(operations)


def operations_of(given: Any) -> tuple[Operation, ...]:
    """The operations of a list."""
    try:
        operations = tuple(given)
    except TypeError as error:
        raise InvalidRequest(f"{_shown(given)} is no list of operations; write [SetCell(column, value)]") from error
    size_of(operations)
    return operations


def size_of(operations: Sequence[Operation]) -> int:
    """About how many bytes operations write, once each was found to be one."""
    size = 0
    for operation in operations:
        if not isinstance(operation, _OPERATIONS):
            raise InvalidRequest(
                f"{_shown(operation)} is no operation; give SetCell(column, value), DeleteCells(column), "
                f"DeleteFamily(family) or DeleteRow(): one by one to write, in lists to the others"
            )
        size += 64 + len(operation.value) if isinstance(operation, SetCell) else 64
    return size


def _shown(given: object) -> str:
    shown = repr(given)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
