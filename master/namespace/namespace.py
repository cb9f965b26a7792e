"""The namespace: every file and directory by its full path (GFS 2.6.1, 4.1).

The problem. The master answers for millions of names from memory, several clients at once, and none may see half a
change. The idea, as in the paper: one sorted table from full path to facts, prefix-compressed, with no per-directory
list of entries. A directory's contents are a range of the table. So creating two files in one directory touches
two different entries and needs no lock on the directory's contents; see `namespace_locks.py`.

    /                  directory
    /home              directory, 1 entry
    /home/ann          file, goal 3, chunks 0x2a 0x2b
    /.deleted/0001…/home/bob   what was deleted and may still be read, or brought back by renaming it (GFS 4.4)

A file's facts are 18 bytes and 8 for each chunk handle; with its share of the prefix-compressed name, a file with one
chunk costs about 40 bytes (bench/master_scale.py measures it). A file's id names it whatever becomes of its path: who
opened a file means that one, also after another has taken its name.

Checks and changes are apart. `check_…` raises what is wrong with a request and changes nothing; the service calls it
under the locks, then logs the change, then `create`, `move` and their kin apply it, and cannot fail.

>>> names = Namespace()
>>> names.make_directory("/home", created_microseconds=0)
>>> names.create("/home/ann", goal=3, created_microseconds=0, file_id=1)
>>> names.append_chunk("/home/ann", 0x2a)
>>> names.file("/home/ann").handles
(42,)
>>> [path for path, _ in names.children("/home", after="", limit=10)]
['/home/ann']

Invariants: (1) every entry's parent is a directory in the table; (2) a directory's entry count is the number of its
direct children, `/.deleted` not counted in the root's; (3) the counts of files, directories and hidden files are right;
(4) a file's facts are 18 + 8n bytes; (5) a directory that only leads to something deleted has one entry.

What we simplify. Deleting a whole tree walks it once without a pause, to count its files and to mark their chunks; a
snapshot of one copies it without a pause (docs/snapshots.md says how long that takes).
"""

import dataclasses
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from master.namespace import paths
from master.namespace.prefix_table import PrefixTable
from runtime.errors import (
    AlreadyExists,
    Conflict,
    DirectoryNotEmpty,
    InvalidRequest,
    IsADirectory,
    NotADirectory,
    NotFound,
    shown,
)

_FILE = struct.Struct("<BBQQ")  # kind, goal, created, file id; then 8 bytes a chunk handle
_DIRECTORY = struct.Struct("<BQQ")  # kind, created, entries
_KIND_FILE, _KIND_DIRECTORY = 1, 2
_BATCH = 1024
_FILE_ID_AT = 10  # in a file's facts
_HIDDEN_KEY = paths.key_of(paths.HIDDEN_ROOT)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file's facts: its replication goal, when it was created (microseconds since the epoch), its chunks in order,
    and the number that names it for ever."""

    goal: int
    created_microseconds: int
    handles: tuple[int, ...]
    file_id: int


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A directory's facts: when it was created (microseconds since the epoch), and how many direct children it has."""

    created_microseconds: int
    entries: int

    @property
    def only_leads(self) -> bool:
        """Whether nobody made it: below `/.deleted`, a directory that leads to what was deleted (`hidden_names.py`)."""
        return self.created_microseconds == 0


Entry = FileEntry | DirectoryEntry


@dataclass(frozen=True, slots=True)
class Batch:
    """A part of a walk through a tree: how many files there are in it, their chunks, the longest key."""

    files: int
    handles: tuple[int, ...]
    longest: bytes


class Namespace:
    """The table of names. Not aware of time, disk or network."""

    def __init__(self, table: PrefixTable | None = None) -> None:
        self.files = 0  # not hidden
        self.directories = 0  # not hidden, the root counted
        self.hidden_files = 0
        if table is not None:
            self.table = table
            return
        self.table = PrefixTable()
        self._put("/", DirectoryEntry(0, 0))
        self._put(paths.HIDDEN_ROOT, DirectoryEntry(0, 0))
        self.directories = 1

    # Looking

    def find(self, path: str) -> Entry | None:
        """The entry at a path, or None."""
        packed = self.table.get(paths.key_of(path))
        return None if packed is None else _unpacked(packed)

    def get(self, path: str) -> Entry:
        """The entry at a path. Raises NotFound, or NotADirectory if a file stands in the way."""
        found = self.find(path)
        if found is None:
            self.check_parent(path)
            raise NotFound(f"there is no {shown(path)}; list {shown(paths.parent_of(path))} to see what is there")
        return found

    def file(self, path: str) -> FileEntry:
        """The file at a path. Raises NotFound, NotADirectory, IsADirectory."""
        found = self.get(path)
        if isinstance(found, DirectoryEntry):
            raise IsADirectory(f"{shown(path)} is a directory; name a file in it")
        return found

    def check_parent(self, path: str) -> None:
        """Raise NotFound or NotADirectory unless the path's parent is a directory."""
        if path == "/" or isinstance(self.find(paths.parent_of(path)), DirectoryEntry):
            return
        for ancestor in paths.ancestors(path):
            found = self.find(ancestor)
            if found is None:
                raise NotFound(f"there is no directory {shown(ancestor)} to hold {shown(path)}; make it first")
            if isinstance(found, FileEntry):
                raise NotADirectory(f"{shown(ancestor)} is a file, so there is nothing below it")

    def children(self, path: str, *, after: str, limit: int) -> list[tuple[str, Entry]]:
        """Up to `limit` direct children, in order, whose paths come after the path `after` ("": from the first)."""
        low, high = _range_below(path)
        at = _behind_subtree(paths.key_of(after)) if after else low
        found: list[tuple[str, Entry]] = []
        while len(found) < limit:
            batch = self.table.items(at, high, limit=limit - len(found))
            if not batch:
                break
            for key, packed in batch:
                if key < at:
                    continue
                entry = _unpacked(packed)
                # A directory's own contents follow it in the table: step over them.
                at = _behind_subtree(key) if isinstance(entry, DirectoryEntry) and entry.entries else key + b"\0"
                if key != _HIDDEN_KEY:
                    found.append((paths.path_of(key), entry))
        return found

    def descendants(self, path: str, *, after: str, limit: int) -> list[tuple[str, Entry]]:
        """Up to `limit` entries below a directory at any depth, in path order, behind the path `after` ("": all).
        Hidden names show only below `/.deleted` itself."""
        low, high = _range_below(path)
        if after:
            low = paths.key_of(after) + b"\0"
        found: list[tuple[str, Entry]] = []
        while len(found) < limit:
            batch = self.table.items(low, high, limit=limit)
            if not batch:
                break
            visible = [(paths.path_of(key), _unpacked(packed)) for key, packed in batch]
            if not paths.is_hidden(path):
                visible = [(name, entry) for name, entry in visible if not paths.is_hidden(name)]
            found.extend(visible)
            low = batch[-1][0] + b"\0"
            if path == "/" and low.startswith(_HIDDEN_KEY + b"\0"):
                low = _behind_subtree(_HIDDEN_KEY)
        return found[:limit]

    def files_in(self, path: str, *, after: str = "") -> Iterator[tuple[str, FileEntry]]:
        """The file at a path, or all files below the directory there, hidden ones included if it is the root; only
        those behind the path `after`, if one is given.

        The table must not change while this runs.
        """
        entry = self.find(path)
        if isinstance(entry, FileEntry):
            if not after:
                yield path, entry
            return
        low, high = _range_below(path)
        if after:
            low = max(low, paths.key_of(after) + b"\0")
        while batch := self.table.items(low, high, limit=_BATCH):
            for key, packed in batch:
                if packed[0] == _KIND_FILE:
                    yield paths.path_of(key), _unpacked_file(packed)
            low = batch[-1][0] + b"\0"

    def deleted_entry(self, root: str) -> tuple[str, Entry]:
        """What a deletion has put below its directory (`hidden_names.root_of`), and what it is. Any other path leads to
        itself."""
        path, entry = root, self.get(root)
        while isinstance(entry, DirectoryEntry) and entry.only_leads and paths.is_hidden(path):
            [(path, entry)] = self.children(path, after="", limit=1)
        return path, entry

    def batches_in(self, path: str) -> Iterator[Batch]:
        """The entry at a path and all below it, some at a time: nothing in it may change while this runs."""
        low = paths.key_of(path)
        high = _behind_subtree(low)
        while found := self.table.items(low, high, limit=_BATCH):
            files = [packed for _, packed in found if packed[0] == _KIND_FILE]
            handles = b"".join([packed[_FILE.size :] for packed in files])
            longest = max((key for key, _ in found), key=len)
            yield Batch(len(files), struct.unpack(f"<{len(handles) // 8}Q", handles), longest)
            low = found[-1][0] + b"\0"

    def temporary(self) -> list[str]:
        """The outermost entries that have a temporary name, hidden ones left out, in order."""
        found: list[str] = []
        low = b""
        while batch := self.table.items(low, None, limit=_BATCH):
            low = batch[-1][0] + b"\0"
            for key, _ in batch:
                if key == _HIDDEN_KEY:
                    low = _behind_subtree(_HIDDEN_KEY)
                    break
                if (temporary := paths.temporary_part(key)) is not None:
                    found.append(paths.path_of(temporary))
                    low = _behind_subtree(temporary)
                    break
        return found

    # Checking requests

    def check_create(self, path: str) -> None:
        """Raise AlreadyExists, NotFound (the parent), NotADirectory, InvalidRequest."""
        paths.check_may_be_made(path)
        found = self.find(path)
        if found is not None:
            what = "directory" if isinstance(found, DirectoryEntry) else "file"
            raise AlreadyExists(f"there is already a {what} {shown(path)}; delete it first, or choose another name")
        self.check_parent(path)

    def plan_directories(self, path: str, *, parents: bool) -> list[str]:
        """Which directories to make, outermost first; empty if `parents` and it exists already.

        Raises AlreadyExists, NotFound (the parent), NotADirectory, InvalidRequest.
        """
        if not parents:
            self.check_create(path)
            return [path]
        paths.check_path(path)
        missing = []
        for name in [*paths.ancestors(path), path]:
            found = self.find(name)
            if isinstance(found, FileEntry):
                error = AlreadyExists if name == path else NotADirectory
                raise error(f"{shown(name)} is a file, so {shown(path)} cannot be a directory; choose another name")
            if found is None:
                missing.append(name)
        if missing:
            paths.check_may_be_made(path)
        return missing

    def check_delete(self, path: str, *, recursive: bool) -> None:
        """Raise NotFound, NotADirectory, DirectoryNotEmpty, InvalidRequest."""
        paths.check_path(path)
        if path in ("/", paths.HIDDEN_ROOT):
            raise InvalidRequest(f"{path!r} cannot be deleted; delete what is in it")
        found = self.get(path)
        if isinstance(found, DirectoryEntry) and found.entries and not recursive:
            raise DirectoryNotEmpty(
                f"{shown(path)} has {found.entries} entries; delete them first, or ask for a recursive deletion"
            )

    def check_rename(self, source: str, target: str, *, replace: bool) -> None:
        """Raise NotFound, NotADirectory, AlreadyExists, IsADirectory, Conflict, InvalidRequest."""
        paths.check_path(source)
        paths.check_may_be_made(target)
        found = self.find(source)
        leads = isinstance(found, DirectoryEntry) and found.only_leads and paths.is_hidden(source)
        if source in ("/", paths.HIDDEN_ROOT) or leads:
            raise InvalidRequest(f"{shown(source)} cannot be renamed; rename what is in it")
        if source == target:
            raise InvalidRequest(f"source and target are both {shown(source)}; choose another target")
        if paths.is_below(target, source):
            raise InvalidRequest(f"{shown(target)} lies below {shown(source)}: a directory cannot move into itself")
        entry, there = self.get(source), self.find(target)
        if there is None:
            self.check_parent(target)
        elif isinstance(there, DirectoryEntry):
            raise AlreadyExists(f"there is already a directory {shown(target)}; name a path in it, or delete it first")
        elif not replace:
            raise AlreadyExists(f"there is already a file {shown(target)}; delete it first, or ask to replace it")
        elif isinstance(entry, DirectoryEntry):
            raise Conflict(f"the directory {shown(source)} cannot replace the file {shown(target)}; delete that first")
        self._check_lengths(source, target)

    def check_snapshot(self, source: str, target: str) -> None:
        """Raise NotFound, NotADirectory, AlreadyExists, InvalidRequest. The lengths of paths are not looked at."""
        paths.check_path(source)
        paths.check_may_be_made(target)
        if paths.is_hidden(source):
            raise InvalidRequest(f"{shown(source)} was deleted; rename it back first, or take a snapshot of that")
        if source == target or paths.is_below(target, source):
            raise InvalidRequest(
                f"{shown(target)} is not outside of {shown(source)}: a snapshot cannot be a part of what it is taken of"
            )
        self.get(source)
        self.check_create(target)

    def check_grown(self, source: str, target: str, longest: bytes) -> None:
        """Raise InvalidRequest if the entry below `source` with this key would have too long a path below `target`."""
        grown = len(longest) + len(paths.key_of(target)) - len(paths.key_of(source))
        if grown > paths.PATH_LIMIT_BYTES:
            raise InvalidRequest(
                f"below {shown(target)} the path of {shown(paths.path_of(longest))} would have {grown} bytes, a path "
                f"may have {paths.PATH_LIMIT_BYTES}; choose a shorter target"
            )

    # Changing: only after the change was logged, and it cannot fail

    def create(
        self, path: str, *, goal: int, created_microseconds: int, file_id: int, handles: tuple[int, ...] = ()
    ) -> None:
        """Add a file, with the chunks that it has from the beginning."""
        self._put(path, FileEntry(goal, created_microseconds, handles, file_id))
        self._count_child(path, +1)
        self.files += 1

    def make_directory(self, path: str, *, created_microseconds: int) -> None:
        """Add an empty directory."""
        self._put(path, DirectoryEntry(created_microseconds, 0))
        self._count_child(path, +1)
        self.directories += 1

    def append_chunk(self, path: str, handle: int) -> None:
        """Add a chunk to the end of a file."""
        key = paths.key_of(path)
        packed = self.table.get(key)
        assert packed is not None and packed[0] == _KIND_FILE, f"no file {path}"
        self.table.set(key, packed + handle.to_bytes(8, "little"))

    def replace_chunk(self, path: str, index: int, handle: int) -> int:
        """Put another chunk in the place of a file's `index`-th; returns the one that was there."""
        entry = self.file(path)
        handles = list(entry.handles)
        before, handles[index] = handles[index], handle
        self._put(path, dataclasses.replace(entry, handles=tuple(handles)))
        return before

    def set_goal(self, path: str, goal: int) -> None:
        """Give a file another replication goal."""
        self._put(path, dataclasses.replace(self.file(path), goal=goal))

    def move(self, source: str, target: str) -> None:
        """Give an entry, and all below it, another path. Also hides and brings back, for hidden names are paths."""
        before, after = paths.is_hidden(source), paths.is_hidden(target)
        if before != after:
            files, directories = self._counts(source)
            sign = 1 if after else -1
            self.files -= sign * files
            self.hidden_files += sign * files
            self.directories -= sign * directories
        if after:
            self._lead_to(target)
        old, new = paths.key_of(source), paths.key_of(target)
        self._count_child(source, -1)
        moved = self.table.move(old, _behind_subtree(old), old, new)
        assert moved, f"no {source}"
        self._count_child(target, +1)
        self._forget_way_to(source)

    def copy(self, source: str, target: str, *, first_file_id: int) -> dict[int, tuple[int, ...]]:
        """Put a second entry like the one at `source`, and all below it, at `target`. In the order of their paths the
        files get ids from the first one on. Returns the chunks of the files, by the files' replication goals."""
        next_id, files, directories = first_file_id, 0, 0
        chunks: dict[int, list[bytes]] = {}

        def change(values: Sequence[bytes]) -> list[bytes]:
            nonlocal next_id, files, directories
            changed: list[bytes] = []
            for packed in values:
                if packed[0] != _KIND_FILE:
                    directories += 1
                    changed.append(packed)
                    continue
                name = next_id.to_bytes(8, "little")
                changed.append(packed[:_FILE_ID_AT] + name + packed[_FILE.size :])
                chunks.setdefault(packed[1], []).append(packed[_FILE.size :])
                next_id += 1
                files += 1
            return changed

        old, new = paths.key_of(source), paths.key_of(target)
        copied = self.table.copy(old, _behind_subtree(old), old, new, change)
        assert copied, f"no {source}"
        self._count_child(target, +1)
        self.files += files
        self.directories += directories
        joined = {goal: b"".join(handles) for goal, handles in chunks.items()}
        return {goal: struct.unpack(f"<{len(handles) // 8}Q", handles) for goal, handles in joined.items()}

    def remove(self, path: str) -> list[FileEntry]:
        """Forget an entry and all below it; returns all files, in order."""
        low = paths.key_of(path)
        high = _behind_subtree(low)
        removed: list[FileEntry] = []
        files, directories = self._counts(path)
        self._count_child(path, -1)
        while batch := self.table.items(low, high, limit=_BATCH):
            for key, packed in batch:
                if packed[0] == _KIND_FILE:
                    removed.append(_unpacked_file(packed))
                self.table.remove(key)
        if paths.is_hidden(path):
            self.hidden_files -= files
        else:
            self.files -= files
            self.directories -= directories
        self._forget_way_to(path)
        return removed

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold. Reads everything."""
        self.table.check_invariants()
        children: dict[str, int] = {}
        files = hidden = directories = 0
        entries = [(paths.path_of(key), packed) for key, packed in self.table.items(b"", None, limit=len(self.table))]
        for path, packed in entries:
            entry = _unpacked(packed)
            assert path == "/" or isinstance(self.find(paths.parent_of(path)), DirectoryEntry), f"{path}: no parent"
            if path not in ("/", paths.HIDDEN_ROOT):
                children[paths.parent_of(path)] = children.get(paths.parent_of(path), 0) + 1
            is_hidden = paths.is_hidden(path)
            files += isinstance(entry, FileEntry) and not is_hidden
            hidden += isinstance(entry, FileEntry) and is_hidden
            directories += isinstance(entry, DirectoryEntry) and not is_hidden
        for path, packed in entries:
            entry = _unpacked(packed)
            if isinstance(entry, DirectoryEntry):
                assert entry.entries == children.get(path, 0), f"{path} counts {entry.entries} children"
                leads = entry.only_leads and paths.is_hidden(path) and path != paths.HIDDEN_ROOT
                assert not leads or entry.entries == 1, f"{path} leads to {entry.entries} entries"
        assert (files, directories, hidden) == (self.files, self.directories, self.hidden_files), "wrong counts"

    def _put(self, path: str, entry: Entry) -> None:
        self.table.set(paths.key_of(path), _packed(entry))

    def _count_child(self, path: str, change: int) -> None:
        key = paths.key_of(paths.parent_of(path))
        packed = self.table.get(key)
        assert packed is not None and packed[0] == _KIND_DIRECTORY, f"{path} has no parent"
        kind, created, entries = _DIRECTORY.unpack(packed)
        self.table.set(key, _DIRECTORY.pack(kind, created, entries + change))

    def _lead_to(self, hidden: str) -> None:
        """Add the directories that a hidden name still needs above it."""
        for path in paths.ancestors(hidden)[2:]:
            if self.find(path) is None:
                self._put(path, DirectoryEntry(0, 0))
                self._count_child(path, +1)

    def _forget_way_to(self, hidden: str) -> None:
        """After an entry has gone: remove the directories that led to it and to nothing else."""
        for path in reversed(paths.ancestors(hidden)[2:] if paths.is_hidden(hidden) else []):
            entry = self.find(path)
            if not isinstance(entry, DirectoryEntry) or not entry.only_leads or entry.entries:
                return
            self.table.remove(paths.key_of(path))
            self._count_child(path, -1)

    def _counts(self, path: str) -> tuple[int, int]:
        """How many files and directories there are at and below a path."""
        low = paths.key_of(path)
        high = _behind_subtree(low)
        files = directories = 0
        while batch := self.table.items(low, high, limit=_BATCH):
            here = sum(packed[0] == _KIND_FILE for _, packed in batch)
            files += here
            directories += len(batch) - here
            low = batch[-1][0] + b"\0"
        return files, directories

    def _check_lengths(self, source: str, target: str) -> None:
        grown = len(paths.key_of(target)) - len(paths.key_of(source))
        if grown <= 0:
            return
        low, high = _range_below(source)
        while batch := self.table.items(low, high, limit=_BATCH):
            self.check_grown(source, target, max((key for key, _ in batch), key=len))
            low = batch[-1][0] + b"\0"


def _range_below(path: str) -> tuple[bytes, bytes | None]:
    """The keys of all proper descendants of a path: from the first bound up to below the second."""
    key = paths.key_of(path)
    return key + b"\0", key + b"\1"


def _behind_subtree(key: bytes) -> bytes:
    return key + b"\1"


def _packed(entry: Entry) -> bytes:
    if isinstance(entry, DirectoryEntry):
        return _DIRECTORY.pack(_KIND_DIRECTORY, entry.created_microseconds, entry.entries)
    handles = struct.pack(f"<{len(entry.handles)}Q", *entry.handles)
    return _FILE.pack(_KIND_FILE, entry.goal, entry.created_microseconds, entry.file_id) + handles


def _unpacked(packed: bytes) -> Entry:
    if packed[0] == _KIND_FILE:
        return _unpacked_file(packed)
    _, created, entries = _DIRECTORY.unpack(packed)
    return DirectoryEntry(created, entries)


def _unpacked_file(packed: bytes) -> FileEntry:
    _, goal, created, file_id = _FILE.unpack_from(packed)
    handles = struct.unpack_from(f"<{(len(packed) - _FILE.size) // 8}Q", packed, _FILE.size)
    return FileEntry(goal, created, handles, file_id)
