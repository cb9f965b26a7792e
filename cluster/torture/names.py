"""Which file may be under which name.

A change of names whose answer never came has two possible outcomes, and may even happen later. From then on the names
that it touches are *in doubt*: their client leaves them alone, and in the end exactly one of the outcomes must be
found. Neither both files nor none, for example, after a rename.
"""

from dataclasses import dataclass

from cluster.torture.contents import Contents

Outcome = dict[str, Contents | None]  # By path; None: no file.


@dataclass(frozen=True, slots=True)
class Doubt:
    """A change that happened or did not. The outcomes name the same paths."""

    change: str
    outcomes: tuple[Outcome, ...]


class Names:
    """The files of one client."""

    def __init__(self) -> None:
        self.files: dict[str, Contents] = {}
        self.doubts: list[Doubt] = []
        self.gone_undefined: set[str] = set()  # Paths of deleted files of which some bytes were in doubt.

    def put(self, path: str, contents: Contents) -> None:
        """This file is under this name now, whatever was there."""
        self._let_go(path)
        self.files[path] = contents

    def remove(self, path: str) -> None:
        """There is no file of this name any more."""
        self._let_go(path)
        self.files.pop(path, None)

    def move(self, source: str, target: str) -> None:
        """The file has another name; the one that had that name is gone."""
        self._let_go(target)
        self.files[target] = self.files.pop(source)

    def doubt(self, change: str, *outcomes: Outcome) -> None:
        """Nobody knows which of these came out."""
        self.doubts.append(Doubt(change, outcomes))
        for path in outcomes[0]:
            self.remove(path)

    def _let_go(self, path: str) -> None:
        """The master keeps a deleted file for a while; its replicas may differ where bytes are in doubt."""
        if path in self.files and not self.files[path].defined:
            self.gone_undefined.add(path)

    def complaint_about_listing(self, directory: str, names: list[str]) -> str | None:
        """Why these cannot be all names of this client in the directory; None if they can."""
        found = {f"{directory}/{name}" for name in names}
        certain = {path for path in self.files if path.rpartition("/")[0] == directory}
        possible = certain | {path for doubt in self.doubts for path in doubt.outcomes[0]}
        if missing := sorted(certain - found):
            return f"the list of {directory} lacks {', '.join(missing)}"
        if surplus := sorted(found - possible):
            return f"the list of {directory} has {', '.join(surplus)}, expected no such file"
        return None
