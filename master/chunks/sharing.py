"""Who shares a chunk: the files of each chunk that has more than one (GFS 3.4).

The problem. A snapshot of a hundred thousand files copies no chunk: from then on each chunk belongs to two files, and
it may be forgotten when both are gone. The paper counts references. A count alone does not say how many replicas the
chunk should have when one of its files is given fewer, nor whether all of its files have been deleted.

The idea. The files of a chunk are counted by *owner*: the replication goal of a file, and whether the file lies under a
hidden name. From that follows what a chunk needs to know: its references are the sum of the counts, its goal is the
largest one, and it is deleted if all of its owners are. Equal counts are one object, which a chunk names by a number of
four bytes; a segment of the chunk table in which nothing is shared has no such numbers at all.

>>> sharings = Sharings()
>>> sharings.set(7, with_owner(with_owner((), Owner(3)), Owner(2, is_hidden=True)))
>>> goal_of(sharings.owners(7)), is_deleted(sharings.owners(7)), references(sharings.owners(7))
(3, False, 2)
>>> sharings.set(7, without_owner(sharings.owners(7), Owner(3)))
>>> sharings.owners(7), len(sharings)
((), 0)

Invariants: (1) what is kept has two references or more; (2) equal owners have one number; (3) the count is right."""

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SEGMENT_CHUNKS = 1024


class Owner(NamedTuple):
    """What a chunk must know of a file that it belongs to."""

    goal: int
    is_hidden: bool = False


Owners = tuple[tuple[Owner, int], ...]
"""How many files of each kind, in the order of the owners."""
Row = tuple[int, int, int, int]
"""Of a checkpoint: handle, goal, whether the files are hidden (1) or not (0), how many they are."""


def with_owner(owners: Owners, owner: Owner) -> Owners:
    """One file more."""
    counts = dict(owners)
    counts[owner] = counts.get(owner, 0) + 1
    return tuple(sorted(counts.items()))


def without_owner(owners: Owners, owner: Owner) -> Owners:
    """One file less; it must be among them."""
    counts = dict(owners)
    assert counts.get(owner), f"{owner} is none of {owners}"
    counts[owner] -= 1
    return tuple(sorted((one, count) for one, count in counts.items() if count))


def references(owners: Owners) -> int:
    """How many files there are."""
    return sum(count for _, count in owners)


def goal_of(owners: Owners) -> int:
    """The largest replication goal of the files."""
    return max(owner.goal for owner, _ in owners)


def is_deleted(owners: Owners) -> bool:
    """Whether all files are under hidden names."""
    return all(owner.is_hidden for owner, _ in owners)


class Sharings:
    """The owners of shared chunks, by handle. Not aware of time, disk or network."""

    def __init__(self) -> None:
        self._segments: dict[int, array[int]] = {}
        self._owners: list[Owners] = [()]  # by number; 0: the chunk is not shared
        self._numbers: dict[Owners, int] = {(): 0}
        self._counts: dict[int, int] = {}  # shared chunks, by segment

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sharings) and sorted(self.rows()) == sorted(other.rows())

    __hash__ = None  # type: ignore[assignment]  # It changes.

    def __bool__(self) -> bool:
        """Whether any chunk is shared."""
        return bool(self._segments)

    def owners(self, handle: int) -> Owners:
        """The files of a shared chunk; empty for one that is not shared."""
        segment = self._segments.get(handle // SEGMENT_CHUNKS)
        return () if segment is None else self._owners[segment[handle % SEGMENT_CHUNKS]]

    def set(self, handle: int, owners: Owners) -> None:
        """Say which files a chunk has. Those of a single file are not kept."""
        number, place = divmod(handle, SEGMENT_CHUNKS)
        wanted = self.number(owners) if references(owners) > 1 else 0
        if wanted or number in self._segments:
            segment = self.opened(number)
            count = self._counts.get(number, 0) + (wanted > 0) - (segment[place] > 0)
            segment[place] = wanted
            self._note_count(number, count)

    def opened(self, number: int) -> "array[int]":
        """The numbers of the owners of one segment's chunks, to be changed; `count` is to be called after that."""
        segment = self._segments.get(number)
        if segment is None:
            segment = self._segments[number] = array("I", bytes(4 * SEGMENT_CHUNKS))
        return segment

    def number(self, owners: Owners) -> int:
        """The number by which chunks name these owners."""
        number = self._numbers.get(owners)
        if number is None:
            number = self._numbers[owners] = len(self._owners)
            self._owners.append(owners)
        return number

    def count(self, number: int) -> None:
        """Count the shared chunks of a segment that was changed; it is not kept if there are none."""
        self._note_count(number, SEGMENT_CHUNKS - self._segments[number].count(0))

    def _note_count(self, number: int, count: int) -> None:
        self._counts[number] = count
        if not count:
            del self._segments[number], self._counts[number]

    def copy(self) -> "Sharings":
        """The same, as of now: a few bytes a chunk are copied."""
        other = Sharings()
        other._segments = {number: segment[:] for number, segment in self._segments.items()}
        other._owners, other._numbers = list(self._owners), dict(self._numbers)
        other._counts = dict(self._counts)
        return other

    def rows(self) -> Iterator[Row]:
        """All that is kept, by handle."""
        for number in sorted(self._segments):
            for place, wanted in enumerate(self._segments[number]):
                for owner, count in self._owners[wanted]:
                    yield number * SEGMENT_CHUNKS + place, owner.goal, int(owner.is_hidden), count

    @classmethod
    def from_rows(cls, rows: Iterable[Row]) -> "Sharings":
        """The table that gave these rows."""
        table = cls()
        found: dict[int, dict[Owner, int]] = {}
        for handle, goal, hidden, count in rows:
            found.setdefault(handle, {})[Owner(goal, bool(hidden))] = count
        for handle, counts in found.items():
            table.set(handle, tuple(sorted(counts.items())))
        return table

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold."""
        for number, segment in self._segments.items():
            shared = [self._owners[wanted] for wanted in segment if wanted]
            assert shared and len(shared) == self._counts[number], f"segment {number} counts {self._counts[number]}"
            assert all(references(owners) > 1 for owners in shared), f"segment {number} keeps single files"
        assert all(self._owners[number] == owners for owners, number in self._numbers.items())
