"""Of what each snapshot was taken, and when: for people who look for one (GFS 3.4 has no list of snapshots).

The problem. A snapshot is not a thing of its own but files and directories like any other. Who has lost something wants
to know all the same which snapshots of it there are. Neither names nor chunks tell: the source may be gone, and a chunk
that was written since is shared no more.

The idea. Beside the names is a small table: the path of each snapshot, of what it was taken (the path that the source
had then, whatever became of it since), when, and which ids the new files got. It moves with renames, into the trash and
back, and is forgotten with the entry itself. A copy of a directory in which a snapshot lies is one snapshot, not two.

>>> origins = Origins()
>>> origins.set("/save/monday", Origin("/data", taken_microseconds=5, first_file_id=9, files=2))
>>> origins.move("/save", "/kept")
>>> [(target, origin.source) for target, origin in origins.taken_of("/")]
[('/kept/monday', '/data')]
>>> origins.forget("/kept"); origins.items()
[]
"""

from dataclasses import dataclass

from master.namespace.paths import is_below, is_hidden


@dataclass(frozen=True, slots=True)
class Origin:
    """What one snapshot was taken of. `taken_microseconds`: since the epoch, by the master's clock; 0 if it was taken
    by a program that did not note it. Its files had the ids from `first_file_id` on."""

    source: str
    taken_microseconds: int
    first_file_id: int
    files: int


class Origins:
    """All of them, by the path that the snapshot has now."""

    def __init__(self) -> None:
        self._origins: dict[str, Origin] = {}

    def set(self, target: str, origin: Origin) -> None:
        """A snapshot stands there."""
        self._origins[target] = origin

    def items(self) -> list[tuple[str, Origin]]:
        """All, in the order of their paths."""
        return sorted(self._origins.items())

    def taken_of(self, path: str) -> list[tuple[str, Origin]]:
        """The snapshots of an entry at or below a path, those in the trash left out, in the order of their paths."""
        return [
            (target, origin)
            for target, origin in self.items()
            if not is_hidden(target) and (origin.source == path or is_below(origin.source, path))
        ]

    def move(self, source: str, target: str) -> None:
        """A tree has got another path."""
        for name in self._at_and_below(source):
            self._origins[target + name[len(source) :]] = self._origins.pop(name)

    def forget(self, path: str) -> None:
        """A tree is gone."""
        for name in self._at_and_below(path):
            del self._origins[name]

    def _at_and_below(self, path: str) -> list[str]:
        return [name for name in self._origins if name == path or is_below(name, path)]
