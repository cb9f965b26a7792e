"""What clients have tried to write under one lease: each try is carried out once, or never (GFS leaves it open).

The problem. A message may arrive twice, and late. The second copy of a write that was answered must not be applied
again, over what others have written meanwhile; that of a write which was refused must not be applied at all, for its
client was told that it never will be; and a client that has given a try up may have written again to the same place.
The idea: a client numbers its tries to write to a chunk, and each try says which is the oldest that the client still
waits for. The primary remembers what became of each number from that one on. A number that it knows gets the same
answer again, a lower one is refused.

All of this belongs to a lease: when the chunk's version rises, messages for the old one are refused anyway.

>>> tries = Tries()
>>> tries.note(5, "the answer")
>>> tries.find(5, oldest=5), tries.find(6, oldest=6)
('the answer', None)
>>> tries.find(5, oldest=5)
Traceback (most recent call last):
...
runtime.errors.Conflict: try 5 to write was under way for too long: its client waits for none before 6 any more
"""

from typing import Generic, TypeVar

from runtime.errors import Conflict

T = TypeVar("T")


class Tries(Generic[T]):
    """One client's tries to write to one chunk under one lease, and what became of them."""

    def __init__(self) -> None:
        self._oldest = 0
        self._outcomes: dict[int, T] = {}

    def find(self, number: int, *, oldest: int) -> T | None:
        """What became of this try, if it came before. Raises Conflict if its client has given it up."""
        if oldest > self._oldest:
            self._oldest = oldest
            self._outcomes = {known: outcome for known, outcome in self._outcomes.items() if known >= oldest}
        if number < self._oldest:
            raise Conflict(
                f"try {number} to write was under way for too long: its client waits for none before {self._oldest} "
                "any more"
            )
        return self._outcomes.get(number)

    def note(self, number: int, outcome: T) -> None:
        """Remember what becomes of a try."""
        self._outcomes[number] = outcome

    def check_invariants(self) -> None:
        """Raise AssertionError if an outcome is kept that nobody can ask for."""
        assert all(number >= self._oldest for number in self._outcomes)
