"""What names a file that a snapshot made: its source and the operation that took the snapshot (GFS 3.4).

A file that a client created is named by the number of that operation. A copy is a file of its own; in the names of
copies of copies both are found again.

>>> [root_of(copy_of(copy_of(7, 100), 200)), creator_of(copy_of(7, 100)), creator_of(7)]
[7, 100, 7]
"""

from dataclasses import dataclass

_OPERATIONS_BELOW = 1 << 16


def copy_of(file: int, operation: int) -> int:
    """The copy of a file (0: a directory) that a snapshot makes: the number that names it."""
    return file * _OPERATIONS_BELOW + operation if file else 0


def creator_of(file: int) -> int:
    """The operation that made a file: created it, or took the snapshot."""
    return file % _OPERATIONS_BELOW


def root_of(file: int) -> int:
    """The file that was created, of which this one is a copy of a copy."""
    while file >= _OPERATIONS_BELOW:
        file //= _OPERATIONS_BELOW
    return file


def named(file: int) -> str:
    """A file in words.

    >>> named(7), named(copy_of(copy_of(7, 100), 200))
    ('7', '7 as copied by 100 and 200')
    """
    copied: list[str] = []
    while file >= _OPERATIONS_BELOW:
        copied.append(str(creator_of(file)))
        file //= _OPERATIONS_BELOW
    return f"{file} as copied by {' and '.join(reversed(copied))}" if copied else str(file)


@dataclass(frozen=True, slots=True)
class Copy:
    """A file that a snapshot made: of which other one, and the moment whose content it holds."""

    file: int
    source: int
    moment: float
