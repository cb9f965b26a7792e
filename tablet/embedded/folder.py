"""The folder of an embedded tablet: its path, and its disk. What is refused is refused before anything is created."""

import os
from os import PathLike

from runtime.errors import InvalidRequest, NotFound
from runtime.real.disk import RealDisk, names_in
from tablet.embedded.inline import run_inline
from tablet.engine.tree.manifest import load_current
from tablet.engine.world.names import sorted_out
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

Folder = str | PathLike[str]


def disk_at(folder: str, options: Options) -> RealDisk:
    """The folder's disk. What is refused is refused before anything is created in it.

    Raises NotFound, NotADirectory, IncompatibleFormat for the folder of something else, DiskFailure.
    """
    names = names_in(folder) or []
    fresh = not sorted_out(names).manifests
    if fresh and not options.create and not sorted_out(names).others:
        raise NotFound(f"{folder} holds no tablet, and Options.create is off")
    disk = RealDisk(folder, inline=True)
    if fresh and sorted_out(names).others:
        run_inline(load_current(DiskStorage(disk), names))
    return disk


def path_of(folder: Folder) -> str:
    """A folder's path as a text."""
    found = os.fspath(folder) if isinstance(folder, str | PathLike) else folder
    if not isinstance(found, str) or "\0" in found:
        raise InvalidRequest(f"{folder!r} is no folder; give its path, as a text or a pathlib.Path")
    return found
