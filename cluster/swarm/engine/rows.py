"""A row as its callers may think of it: a pure model that the history of each row is held against.

A state is the set of the row's cells. An action says what a state becomes, or that an answer could not have been given
in it.
"""

from collections.abc import Mapping

from cluster.swarm.engine.history import RowState
from cluster.swarm.names import Action, Outcome

_IMPOSSIBLE = Outcome(None)


def put(cells: Mapping[str, int], deleted: str = "") -> Action:
    """Delete a column, then write cells."""

    def act(state: RowState) -> Outcome:
        rest = {(column, value) for column, value in state if column != deleted and column not in cells}
        return Outcome(frozenset(rest | set(cells.items())))

    return act


def delete(prefix: str) -> Action:
    """Delete the columns whose names begin so: one, those of a family, or all."""
    return lambda state: Outcome(frozenset(cell for cell in state if not cell[0].startswith(prefix)))


def increment(column: str, answered: int | None) -> Action:
    """Add one to a counter; what was answered, if anything was, must be the sum."""

    def act(state: RowState) -> Outcome:
        value = dict(state).get(column, 0) + 1
        return _IMPOSSIBLE if answered not in (None, value) else put({column: value})(state)

    return act


def append(column: str, number: int, answered: int | None) -> Action:
    """Append a number of six digits; what was answered, if anything was, must be the whole of it."""

    def act(state: RowState) -> Outcome:
        value = dict(state).get(column, 0) * 10**6 + number
        return _IMPOSSIBLE if answered not in (None, value) else put({column: value})(state)

    return act


def check(column: str, if_found: Mapping[str, int], otherwise: Mapping[str, int], answered: bool | None) -> Action:
    """Write some cells if there is one, others if there is none."""

    def act(state: RowState) -> Outcome:
        found = column in dict(state)
        return _IMPOSSIBLE if answered not in (None, found) else put(if_found if found else otherwise)(state)

    return act


def read(found: RowState) -> Action:
    """The whole row is this."""
    return lambda state: Outcome(state) if state == found else _IMPOSSIBLE


def get(column: str, value: int) -> Action:
    """The cell has this value; 0: there is none."""
    return lambda state: Outcome(state) if dict(state).get(column, 0) == value else _IMPOSSIBLE
