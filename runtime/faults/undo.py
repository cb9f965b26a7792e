"""How faults are ended: each one that is imposed gives an `Undo`, which ends that one and no other.

The problem. Two faults overlap: a partition of an hour, and within it one of a minute between the same nodes. If a
fault were a switch, the end of the short one would end the long one too. The idea: whoever imposes a fault gets a
callable that takes back exactly this fault. Faults of the same kind at the same place are counted or added up. Calling
an `Undo` twice is harmless, and so is calling one after `heal` has ended all faults at once.

>>> numbers = Imposed[int]()
>>> first, second = numbers.add(1), numbers.add(2)
>>> first(), first(), numbers.values()
(None, None, [2])
"""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

Undo = Callable[[], None]


class Imposed(Generic[T]):
    """What is imposed at this moment, in order of imposition. `changed` is called after each change."""

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        self._changed = changed
        self._numbers = 0
        self._values: dict[int, T] = {}

    def add(self, value: T) -> Undo:
        """Impose one more; returns what takes it back."""
        self._numbers += 1
        number = self._numbers
        self._values[number] = value
        self._tell()

        def undo() -> None:
            if self._values.pop(number, None) is not None:
                self._tell()

        return undo

    def clear(self) -> None:
        """Take back all of them. What `add` returned does nothing from now on."""
        self._values.clear()
        self._tell()

    def values(self) -> list[T]:
        """A copy, so that a loop over it may end with the change of what it walks over."""
        return list(self._values.values())

    def __bool__(self) -> bool:
        return bool(self._values)

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()


def all_of(undos: list[Undo]) -> Undo:
    """One `Undo` for several."""

    def undo() -> None:
        for one in undos:
            one()

    return undo
