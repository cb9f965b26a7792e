"""The faults that last on a cluster of processes, in a file of its folder.

The commands that impose and heal faults are short-lived processes, so that what they know of one another lies in
`imposed.json`. It is changed under a lock of its own, which is held for moments only: a command that starts nodes holds
the folder's lock for seconds, and a fault strikes all the same. A cluster that was never broken has no such file.
"""

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster import faultplan
from cluster.folder import read_json, write_json
from cluster.interface import Imposed
from cluster.written import Codec, types_in
from runtime.errors import IncompatibleFormat
from runtime.faults import disk, links

FILE_NAME = "imposed.json"
LOCK_NAME = "imposed.lock"


@dataclass(frozen=True, slots=True)
class LastingFault:
    """A fault that lasts, with all that is needed to carry it out: the nodes at the other end of its links, what is
    wrong with the disks of its nodes, and the details of its sentence."""

    imposed: Imposed
    others: tuple[str, ...] = ()
    troubles: tuple[disk.DiskFault, ...] = ()
    details: str = ""


@dataclass(frozen=True, slots=True)
class ImposedList:
    """What imposed.json says: how many faults there ever were, and those that last, oldest first."""

    count: int = 0
    faults: tuple[LastingFault, ...] = ()


_OWN_TYPES = {"message": links.Kind, "Imposed": Imposed, "Lasting": LastingFault, "List": ImposedList}
_CODEC = Codec(types_in((disk, links, faultplan)) | _OWN_TYPES)


class ImposedFile:
    """The file in one cluster's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = folder / LOCK_NAME

    def read(self) -> ImposedList:
        """What it says. Raises IncompatibleFormat for what is none of ours."""
        values = read_json(self.path)
        if values is None:
            return ImposedList()
        try:
            found = _CODEC.from_json(json.dumps(values))
        except (KeyError, TypeError, ValueError) as error:
            raise IncompatibleFormat(f"{self.path} is no list of faults: {error!r}; remove it") from error
        if not isinstance(found, ImposedList):
            raise IncompatibleFormat(f"{self.path} is no list of faults; remove it")
        return found

    def change(self, change: Callable[[ImposedList], ImposedList]) -> ImposedList:
        """Replace what it says by what `change` makes of it, in one step; returns what it said before.

        Raises IncompatibleFormat, NoSpace, DiskFailure."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = self.read()
            after = change(before)
            if after != before:
                write_json(self.path, json.loads(_CODEC.to_json(after)))
            return before
        finally:
            os.close(descriptor)
