"""What a lying sync has not written, and how it gets lost.

The problem. A process that is killed loses nothing: the kernel has its writes. So a disk that lies about its syncs
would never be found out, short of pulling the plug. The idea: before the first write to a file whose syncs lie, its old
bytes are copied aside, since these are what the platter still holds. When the node is killed, the copies take the place
of the files, and its next life has another boot id, as after a loss of power. An honest sync of a file makes its new
bytes stable, and a stop in good order those of all files.

What we simplify. Names are stable at once. A file that was made while its syncs lied is left empty.
"""

import contextlib
import os
import shutil
from pathlib import Path
from urllib.parse import quote, unquote

from runtime.real.disk import translated

FOLDER = "unsynced"
LOSSES = "power_losses"


class UnsyncedFiles:
    """The copies of one node, in its folder beside its `data`."""

    def __init__(self, node_folder: Path) -> None:
        self._data = node_folder / "data"
        self._copies = node_folder / FOLDER
        self._losses = node_folder / LOSSES

    def keep(self, path: str) -> None:
        """A file is about to change, and its syncs lie: keep what is stable of it, unless that was done before."""
        copy = self._copy_of(path)
        if copy.exists():
            return
        with translated("keep the old bytes of", path):
            self._copies.mkdir(mode=0o700, exist_ok=True)
            begun = copy.with_name(copy.name + "~")
            if (self._data / path).is_file():
                shutil.copyfile(self._data / path, begun)
            else:
                begun.write_bytes(b"")
            begun.replace(copy)

    def synced(self, path: str) -> None:
        """The file's bytes are stable."""
        self._copy_of(path).unlink(missing_ok=True)

    def renamed(self, source: str, target: str) -> None:
        """The file has another name."""
        self.synced(target)
        with contextlib.suppress(FileNotFoundError):
            self._copy_of(source).replace(self._copy_of(target))

    def forget(self) -> None:
        """All bytes are stable."""
        shutil.rmtree(self._copies, ignore_errors=True)

    def lose(self) -> list[str]:
        """The power goes: what was not written is lost. Returns the paths of the files that lost something."""
        lost = []
        for copy in sorted(self._copies.glob("*")) if self._copies.is_dir() else []:
            file = self._data / unquote(copy.name)
            if not copy.name.endswith("~") and file.is_file() and not _same(copy, file):
                with translated("put back the old bytes of", str(file)):
                    shutil.copyfile(copy, file)
                lost.append(unquote(copy.name))
        self.forget()
        if lost:
            self._losses.write_text(str(self.losses() + 1), encoding="ascii")
        return lost

    def losses(self) -> int:
        """How often something was lost."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._losses.read_text(encoding="ascii"))
        return 0

    def _copy_of(self, path: str) -> Path:
        return self._copies / quote(path.strip("/"), safe="")


def _same(one: Path, other: Path) -> bool:
    return os.path.getsize(one) == os.path.getsize(other) and one.read_bytes() == other.read_bytes()
