"""The names of a tablet's files, and the files of a folder by kind.

SSTables and logs share one series of numbers, manifests have their own. A file of any other name is not ours and is
left alone. `docs/formats/tablet-folder.md` is the page for people.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import InvalidRequest

TEMPORARY = ".new"
"""The suffix of a file that is not yet what its name says."""

_MANIFEST = re.compile(r"manifest-(\d{6,})$")
_NUMBERED = re.compile(r"(\d{6,})\.(sst|log)$")
_SNAPSHOT = re.compile(r"snapshot-([A-Za-z0-9_.-]{1,64})$")
LOCK_NAME = "LOCK"


@dataclass(frozen=True, slots=True)
class FolderListing:
    """The files of a tablet's folder by kind. `others` are not ours."""

    manifests: dict[int, str]
    logs: dict[int, str]
    tables: dict[int, str]
    snapshots: dict[str, str]
    temporary: tuple[str, ...]
    others: tuple[str, ...]


def sorted_out(names: Sequence[str]) -> FolderListing:
    """Recognise the files of a tablet by their names.

    >>> listing = sorted_out(["000004.sst", "000005.log", "000006.sst.new", "LOCK", "manifest-000002", "notes.txt"])
    >>> listing.tables, listing.logs, listing.temporary, listing.others
    ({4: '000004.sst'}, {5: '000005.log'}, ('000006.sst.new',), ('notes.txt',))
    """
    listing = FolderListing({}, {}, {}, {}, (), ())
    temporary, others = [], []
    for name in names:
        if name == LOCK_NAME:
            continue
        if name.endswith(TEMPORARY) and _ours(name.removesuffix(TEMPORARY)):
            temporary.append(name)
        elif match := _MANIFEST.match(name):
            listing.manifests[int(match[1])] = name
        elif match := _NUMBERED.match(name):
            (listing.tables if match[2] == "sst" else listing.logs)[int(match[1])] = name
        elif match := _SNAPSHOT.match(name):
            listing.snapshots[match[1]] = name
        else:
            others.append(name)
    return FolderListing(
        listing.manifests, listing.logs, listing.tables, listing.snapshots, tuple(temporary), tuple(others)
    )


def manifest_name(number: int) -> str:
    """The file name of a manifest."""
    return f"manifest-{number:06}"


def table_name(number: int) -> str:
    """The file name of an SSTable."""
    return f"{number:06}.sst"


def log_name(number: int) -> str:
    """The file name of a commit log."""
    return f"{number:06}.log"


def log_number_of(name: str) -> int | None:
    """The number of the commit log that a file of this name should be, or None for another name.

    >>> log_number_of("000005.log"), log_number_of("saved.log")
    (5, None)
    """
    return next(iter(sorted_out([name]).logs), None)


def snapshot_file_name(name: str) -> str:
    """The file name of a snapshot. Raises InvalidRequest for a name that no file should have."""
    if not isinstance(name, str):
        raise InvalidRequest(f"{name!r} cannot be a snapshot's name; give a text")
    if not _SNAPSHOT.match(f"snapshot-{name}") or name.endswith(TEMPORARY):
        raise InvalidRequest(f"{name[:80]!r} cannot be a snapshot's name; use up to 64 letters, digits, '_', '-', '.'")
    return f"snapshot-{name}"


def _ours(name: str) -> bool:
    return bool(_MANIFEST.match(name) or _NUMBERED.match(name) or _SNAPSHOT.match(name))
