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
_STAGED = re.compile(r"manifest-\d{6,}\.\d+$")
_NUMBERED = re.compile(r"(\d{6,})\.(sst|log)$")
_NEIGHBOUR = re.compile(r"\.\./([A-Za-z0-9_-][A-Za-z0-9_.-]*)/([^/]+)$")
_SNAPSHOT = re.compile(r"snapshot-([A-Za-z0-9_.-]{1,64})$")
LOCK_NAME = "LOCK"
MARK_NAME = "durable"
"""How far the tablet's own log is durable (`log/log_mark.py`)."""


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
        if name in (LOCK_NAME, MARK_NAME):
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


def staged_name(number: int, token: int) -> str:
    """The temporary name of a manifest, one for each owner of the tablet, so that two never write to one file.

    >>> staged_name(7, 0), staged_name(7, 12)
    ('manifest-000007.new', 'manifest-000007.12.new')
    """
    return f"{manifest_name(number)}.{token}{TEMPORARY}" if token else manifest_name(number) + TEMPORARY


def table_name(number: int) -> str:
    """The file name of an SSTable."""
    return f"{number:06}.sst"


def log_name(number: int, copied_for: int = 0) -> str:
    """The file name of a commit log, or of the copy that the owner of the list `copied_for` has made of it.

    >>> log_name(5), log_name(5, 12)
    ('000005.log', '000005.12.log')
    """
    return f"{number:06}.{copied_for}.log" if copied_for else f"{number:06}.log"


def log_number_of(name: str) -> int | None:
    """The number of the commit log that a file of this name should be, or None for another name.

    >>> log_number_of("000005.log"), log_number_of("saved.log")
    (5, None)
    """
    return next(iter(sorted_out([name]).logs), None)


def is_neighbour(name: str) -> bool:
    """Whether a name is that of a file in the folder of another tablet.

    >>> is_neighbour("../users-2/000003.sst"), is_neighbour("000003.sst"), is_neighbour("../../000003.sst")
    (True, False, False)
    """
    return _NEIGHBOUR.match(name) is not None


def in_folder(folder: str, name: str) -> str:
    """The same file as seen from another tablet's folder, if this one is called `folder`.

    >>> in_folder("a", "000003.sst"), in_folder("a", "../b/000003.sst")
    ('../a/000003.sst', '../b/000003.sst')
    """
    return name if is_neighbour(name) else f"../{folder}/{name}"


def home_of(name: str, folder: str) -> tuple[str, str]:
    """The folder in which a file is, and its name there; `folder` is the one that refers to it.

    >>> home_of("../b/000003.sst", "a"), home_of("000003.sst", "a")
    (('b', '000003.sst'), ('a', '000003.sst'))
    """
    found = _NEIGHBOUR.match(name)
    return (found[1], found[2]) if found else (folder, name)


def snapshot_file_name(name: str) -> str:
    """The file name of a snapshot. Raises InvalidRequest for a name that no file should have."""
    if not isinstance(name, str):
        raise InvalidRequest(f"{name!r} cannot be a snapshot's name; give a text")
    if not _SNAPSHOT.match(f"snapshot-{name}") or name.endswith(TEMPORARY):
        raise InvalidRequest(f"{name[:80]!r} cannot be a snapshot's name; use up to 64 letters, digits, '_', '-', '.'")
    return f"snapshot-{name}"


def _ours(name: str) -> bool:
    return any(pattern.match(name) for pattern in (_MANIFEST, _STAGED, _NUMBERED, _SNAPSHOT))
