"""A disk in memory that forgets what was not synced, and can be broken on purpose.

The problem. Code that stores data is tested on disks that never fail and never lose power, so the order of its writes
and syncs is a matter of faith. The idea: a disk keeps two images of everything. The *cached* one is what programs
see: every write is in it at once. The *stable* one is what the platter has: bytes get there by `File.sync`, names by
`Disk.sync_directory`. A kill leaves the cached image. A power cut replaces it by the stable one, and for each
512-byte sector that was written and not synced, the tape decides: lost, kept or torn in the middle. Of the changes of
names that were not synced, the first so many survive. With a quiet tape all of it is lost.

Faults that can be set: bit rot in chosen bytes; read, write and sync errors for chosen paths or places in a file; no
space left; writes that leave a part behind when they fail; a slow disk; a disk that says it synced and did not.

Invariants: (1) what was written before a sync began survives a power cut after its end; (2) a rename is atomic: after
a power cut a name means the old file or the new one, never a mixture; (3) the methods raise what `runtime.real.disk`
raises.

What we simplify. A folder itself is stable at once; only the names in it wait for `sync_directory`. A sync makes one
file stable and nothing else.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from runtime.errors import (
    AlreadyExists,
    Conflict,
    DirectoryNotEmpty,
    DiskFailure,
    InvalidRequest,
    IsADirectory,
    NoSpace,
    NotADirectory,
    NotFound,
    TabletopError,
    shown,
)
from runtime.simulated.loop import LIFE, Life
from runtime.simulated.tape import Stream
from runtime.world import Buffer, DiskUsage, OpenMode

SECTOR_BYTES = 512
Names = list[str]  # Inside the class, `list` is the method.

DEFAULT_CAPACITY_BYTES = 1 << 40
SYNC_SECONDS = 0.0005  # a sync always takes time, so that a group commit has something to gain
LONGEST_NAME_BYTES = 255
LONGEST_PATH_BYTES = 4000
PAUSE_EVERY = 64  # Operations that take no time at all still let others run now and then.

_ERROR = "Input/output error; look at the system's log, the disk may be failing"


class Content:
    """What one file holds, whatever its names: the cached bytes, the stable ones, and which sectors differ."""

    def __init__(self) -> None:
        self.cached = bytearray()
        self.stable = bytearray()
        self.dirty: dict[int, int] = {}  # sectors written since the last sync, with the number of their last write
        self.linked = True  # whether a name leads here
        self._writes = 0

    def write(self, offset: int, data: Buffer) -> None:
        """Put bytes into the cached image."""
        if not len(data):
            return
        end = offset + len(data)
        if offset > len(self.cached):
            self._mark(len(self.cached), offset)
            self.cached.extend(bytes(offset - len(self.cached)))
        self.cached[offset:end] = data
        self._mark(offset, end)

    def truncate(self, size: int) -> None:
        """Cut or extend the cached image."""
        old = len(self.cached)
        if size < old:
            del self.cached[size:]
        else:
            self.cached.extend(bytes(size - old))
        self._mark(min(old, size), max(old, size))

    def begin_sync(self) -> dict[int, int]:
        """The sectors that a sync which begins now will make stable. What is written later needs another sync."""
        return dict(self.dirty)

    def end_sync(self, covered: dict[int, int]) -> None:
        """The sync is done: the covered sectors are on the platter."""
        for sector, write in covered.items():
            begin = sector * SECTOR_BYTES
            if len(self.stable) < begin:
                self.stable.extend(bytes(begin - len(self.stable)))
            self.stable[begin : begin + SECTOR_BYTES] = self.cached[begin : begin + SECTOR_BYTES]
            if self.dirty.get(sector) == write:
                del self.dirty[sector]
        if len(self.stable) > len(self.cached):
            del self.stable[len(self.cached) :]

    def sync(self) -> None:
        """Make the cached image the stable one."""
        self.end_sync(self.begin_sync())

    def lose_power(self, tape: Stream) -> None:
        """Keep what is stable; each unsynced sector is lost, kept or torn, and so is a change of length."""
        survived = bytearray(self.stable)
        for sector in self.dirty:
            begin = sector * SECTOR_BYTES
            piece = bytes(self.cached[begin : begin + SECTOR_BYTES])
            fate = tape.below(3)
            if fate == 0:
                continue
            kept = piece if fate == 1 else piece[: tape.below(len(piece) + 1)]
            if len(survived) < begin:
                survived.extend(bytes(begin - len(survived)))
            survived[begin : begin + len(kept)] = kept
        if len(self.cached) < len(survived) and tape.below(2) == 1:
            del survived[len(self.cached) :]
        self.cached = survived
        self.stable = bytearray(survived)
        self.dirty.clear()

    def _mark(self, begin: int, end: int) -> None:
        self._writes += 1
        for sector in range(begin // SECTOR_BYTES, -(-end // SECTOR_BYTES)):
            self.dirty[sector] = self._writes


Changes = list[dict[str, Content | None]]  # each: what some names mean from then on, all at once


@dataclass(slots=True)
class DiskFaults:
    """How fast a disk is now, and what is wrong with it.

    Paths of errors are prefixes: an operation on a path that begins with one of them fails. `bad_places` are
    (path, offset, count): a read or write that touches one of these bytes fails, the rest of the file is sound.
    The disk serves one operation that takes time after the other, as a platter does.
    """

    read_errors: list[str] = field(default_factory=list)
    write_errors: list[str] = field(default_factory=list)
    sync_errors: list[str] = field(default_factory=list)
    bad_places: list[tuple[str, int, int]] = field(default_factory=list)
    lying_syncs: list[str] = field(default_factory=list)  # path prefixes whose syncs succeed and do nothing
    short_writes: bool = False  # a write that fails leaves a part: what fits a full disk, or else the first half
    seconds_per_operation: float = 0.0
    bytes_per_second: float = 0.0  # 0: no limit
    seconds_per_sync: float = SYNC_SECONDS


class SimulatedDisk:
    """One node's disk. It outlives the node's lives. Folders are paths; "" is the root."""

    def __init__(self, name: str, tape: Stream, *, capacity_bytes: int = DEFAULT_CAPACITY_BYTES) -> None:
        self.name = name
        self.capacity_bytes = capacity_bytes
        self.faults = DiskFaults()
        self.operations = 0
        self.before_operation: Callable[[int, str, str], None] | None = None
        self._tape = tape
        self._folders: dict[str, None] = {"": None}
        self._files: dict[str, Content] = {}
        self._stable_files: dict[str, Content] = {}
        self._journal: Changes = []  # name changes that no sync_directory has covered yet
        self._locks: dict[str, Life | None] = {}
        self._used = 0
        self._free_at = 0.0  # virtual seconds

    # What programs do: see runtime.world.Disk.

    async def open(self, path: str, mode: OpenMode) -> "SimulatedFile":
        """Open a file."""
        path = await self._begin("open", path)
        if path in self._folders:
            if mode == "create":
                raise AlreadyExists(f"cannot create {self._shown(path)}: the name is taken by a folder")
            raise IsADirectory(f"cannot open {self._shown(path)}: it is a folder")
        self._require_folder(_parent(path), f"cannot open {self._shown(path)}")
        content = self._files.get(path)
        if mode in ("read", "update") and content is None:
            raise NotFound(f"cannot open {self._shown(path)}: no such file")
        if mode == "create" and content is not None:
            raise AlreadyExists(f"cannot create {self._shown(path)}: the name is taken")
        if content is None:
            self._fail_if(self.faults.write_errors, path, "create")
            content = Content()
            self._rename_all({path: content})
        elif mode == "replace":
            self._charge_space(path, content, -len(content.cached))
            content.truncate(0)
        return SimulatedFile(self, path, content, writable=mode != "read")

    async def make_directory(self, path: str) -> None:
        """Create a folder and its missing ancestors."""
        path = await self._begin("create the folder", path)
        parts = path.split("/") if path else []
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if folder in self._files:
                kind = AlreadyExists if folder == path else NotADirectory
                raise kind(f"cannot create the folder {self._shown(path)}: {folder} is a file")
            self._folders[folder] = None

    async def rename(self, source: str, target: str) -> None:
        """Rename in one step, replacing an existing file."""
        target = _clean(target)
        source = await self._begin("rename", source)
        self._fail_if(self.faults.write_errors, source, "rename")
        self._require_folder(_parent(target), f"cannot rename {self._shown(source)}")
        if source in self._folders:
            self._rename_folder(source, target)
            return
        if source not in self._files:
            raise self._missing(source, "rename")
        if target in self._folders:
            raise IsADirectory(f"cannot rename {self._shown(source)}: {target} is a folder")
        if target != source:
            self._rename_all({source: None, target: self._files[source]})

    async def remove(self, path: str) -> None:
        """Remove a file or an empty folder."""
        path = await self._begin("remove", path)
        self._fail_if(self.faults.write_errors, path, "remove")
        if path in self._folders and path:
            if self._names(path):
                raise DirectoryNotEmpty(f"cannot remove {self._shown(path)}: it is not empty")
            del self._folders[path]
            return
        if path not in self._files:
            raise self._missing(path, "remove")
        self._rename_all({path: None})

    async def list(self, path: str = "") -> Names:
        """Names, sorted."""
        path = await self._begin("list", path)
        self._require_folder(path, "cannot list")
        return self._names(path)

    async def exists(self, path: str) -> bool:
        """Whether the name is there."""
        path = await self._begin("look at", path)
        return path in self._files or path in self._folders

    async def size(self, path: str) -> int:
        """Length of a file."""
        path = await self._begin("look at", path)
        if path not in self._files:
            raise self._missing(path, "look at")
        return len(self._files[path].cached)

    async def sync_directory(self, path: str = "") -> None:
        """Make the names in a folder stable."""
        path = await self._begin("sync the folder", path)
        self._require_folder(path, "cannot sync the folder")
        self._fail_if(self.faults.sync_errors, path, "sync the folder")
        begun = list(self._journal)
        await self._take_time(self.faults.seconds_per_sync)
        self._settle_names(path, begun)

    async def usage(self) -> DiskUsage:
        """Total and free space."""
        return DiskUsage(self.capacity_bytes, self._free())

    async def lock(self, path: str) -> None:
        """Hold a folder until `unlock`, or the end of the life that asks."""
        path = await self._begin("lock", path)
        self._require_folder(path, "cannot lock")
        holder = self._locks.get(path)
        if path in self._locks and (holder is None or holder.alive):
            raise Conflict(f"{self._shown(path)} is in use by another process (or opened twice); close that one first")
        if f"{path}/LOCK".lstrip("/") not in self._files:
            self._rename_all({f"{path}/LOCK".lstrip("/"): Content()})
        self._locks[path] = LIFE.get()

    async def unlock(self, path: str) -> None:
        """Let go of a folder."""
        self._locks.pop(_clean(path), None)

    # What faults do.

    def lose_power(self) -> None:
        """The machine loses power: what was not synced is lost, kept or torn, as the tape decides."""
        for change in self._journal[: self._tape.below(len(self._journal) + 1)]:
            _apply(change, self._stable_files)
        self._journal.clear()
        survivors = self._stable_files
        settled: dict[int, None] = {}
        for content in survivors.values():
            if id(content) not in settled:
                settled[id(content)] = None
                content.lose_power(self._tape)
        self._files = dict(survivors)
        self._stable_files = dict(survivors)
        for path in survivors:
            for folder in _ancestors(path):
                self._folders[folder] = None
        self._used = sum(len(content.cached) for content in self._files.values())
        self._locks.clear()

    def rot(self, path: str, offset: int, mask: int = 0xFF) -> None:
        """Flip bits of one stored byte, in the cache and on the platter."""
        content = self.content(path)
        content.cached[offset] ^= mask
        if offset < len(content.stable):
            content.stable[offset] ^= mask

    def content(self, path: str) -> Content:
        """What a file holds, for faults and for judges. Raises NotFound."""
        if path not in self._files:
            raise NotFound(f"{self._shown(path)}: no such file")
        return self._files[path]

    def paths(self) -> Names:
        """All files, sorted."""
        return sorted(self._files)

    def erase(self) -> None:
        """An empty disk takes this one's place."""
        self._folders = {"": None}
        self._files.clear()
        self._stable_files.clear()
        self._journal.clear()
        self._locks.clear()
        self._used = 0

    # Inside.

    async def _begin(self, verb: str, path: str) -> str:
        path = _clean(path)
        self.operations += 1
        if self.before_operation is not None:
            self.before_operation(self.operations, verb, path)
            life = LIFE.get()
            if life is not None and not life.alive:
                # The hook has ended the life that is asking: the rest of its callback must not happen either.
                await asyncio.get_running_loop().create_future()
        await self._take_time(self.faults.seconds_per_operation)
        return path

    async def _take_time(self, seconds: float) -> None:
        if seconds > 0:
            now = asyncio.get_running_loop().time()
            self._free_at = max(now, self._free_at) + seconds
            await asyncio.sleep(self._free_at - now)
        elif self.operations % PAUSE_EVERY == 0:
            await asyncio.sleep(0)

    def _charge_space(self, path: str, content: Content, count: int) -> None:
        if not content.linked:
            return
        if count > 0 and self._used + count > self.capacity_bytes:
            raise NoSpace(
                f"cannot write {self._shown(path)}: {count} bytes more, {self._free()} are free; free some space"
            )
        self._used += count

    def _free(self) -> int:
        return max(0, self.capacity_bytes - self._used)

    def _fail_if(self, prefixes: Names, path: str, verb: str) -> None:
        if any(path.startswith(prefix) for prefix in prefixes):
            raise DiskFailure(f"cannot {verb} {self._shown(path)}: {_ERROR}")

    def _fail_at(self, path: str, offset: int, count: int, verb: str) -> None:
        for bad_path, begin, length in self.faults.bad_places:
            if path == bad_path and offset < begin + length and begin < offset + count:
                raise DiskFailure(f"cannot {verb} {self._shown(path)} at byte {begin}: {_ERROR}")

    def _settle_names(self, folder: str, begun: Changes) -> None:
        """Make those of the changes stable that touch the folder, with all earlier changes of the same names."""
        waiting = [change for change in begun if _among(change, self._journal)]
        covered: Changes = []
        names: dict[str, None] = {}
        for change in reversed(waiting):
            if any(_parent(name) == folder or name in names for name in change):
                covered.append(change)
                names.update(dict.fromkeys(change))
        for change in reversed(covered):
            _apply(change, self._stable_files)
        self._journal = [change for change in self._journal if not _among(change, covered)]

    def _rename_all(self, change: dict[str, Content | None]) -> None:
        """Change what names mean, all at once; stable only after a sync of their folder."""
        touched = [self._files[name] for name in change if name in self._files]
        _apply(change, self._files)
        arrived = [content for content in change.values() if content is not None]
        for content in touched:
            if not _among(content, arrived):
                content.linked = False
                self._used -= len(content.cached)
        self._journal.append(change)

    def _require_folder(self, path: str, what: str) -> None:
        if path not in self._folders:
            for folder in (path, *_ancestors(path)):
                if folder in self._files:
                    raise NotADirectory(f"{what}: {self._shown(folder)} is a file")
            raise NotFound(f"{what}: no folder {self._shown(path)}")

    def _missing(self, path: str, verb: str) -> TabletopError:
        for folder in _ancestors(path):
            if folder in self._files:
                return NotADirectory(f"cannot {verb} {self._shown(path)}: {folder} is a file")
        return NotFound(f"cannot {verb} {self._shown(path)}: no such file or folder")

    def _rename_folder(self, source: str, target: str) -> None:
        if target == source:
            return
        if target.startswith(f"{source}/"):
            raise DiskFailure(f"cannot rename {self._shown(source)}: {target} lies inside of it", definite=True)
        if target in self._files:
            raise NotADirectory(f"cannot rename {self._shown(source)}: {target} is a file")
        if self._names(target):
            raise DirectoryNotEmpty(f"cannot rename {self._shown(source)}: {target} is not empty")
        for table in (self._files, self._stable_files):
            for name in [name for name in table if name.startswith(source + "/")]:
                table[target + name[len(source) :]] = table.pop(name)
        for name in [name for name in self._folders if name == source or name.startswith(source + "/")]:
            del self._folders[name]
            self._folders[target + name[len(source) :]] = None
        for change in self._journal:
            for name in [name for name in change if name.startswith(source + "/")]:
                change[target + name[len(source) :]] = change.pop(name)

    def _names(self, folder: str) -> Names:
        here = [name for name in (*self._files, *self._folders) if name and _parent(name) == folder]
        return sorted(name.rpartition("/")[2] for name in here)

    def _shown(self, path: str) -> str:
        return f"{self.name}:/{path}"


class SimulatedFile:
    """An open file: see runtime.world.File. It goes on to mean its content after a rename or removal."""

    def __init__(self, disk: SimulatedDisk, path: str, content: Content, *, writable: bool) -> None:
        self.path = path
        self._disk = disk
        self._content = content
        self._writable = writable
        self._closed = False

    async def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes."""
        await self._begin("read", count)
        self._disk._fail_if(self._disk.faults.read_errors, self.path, "read")
        self._disk._fail_at(self.path, offset, count, "read")
        return bytes(self._content.cached[offset : offset + count])

    async def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target`."""
        data = await self.read_at(offset, len(target))
        target[: len(data)] = data
        return len(data)

    async def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of `data`, or nothing (a part, if the disk is set to `short_writes`)."""
        await self._begin("write", len(data))
        self._write(offset, data)

    async def append(self, data: Buffer) -> int:
        """Write at the end."""
        await self._begin("write", len(data))
        offset = len(self._content.cached)
        self._write(offset, data)
        return offset

    async def truncate(self, size: int) -> None:
        """Cut or extend with zeros."""
        await self._begin("truncate", 0)
        self._require_writable()
        self._disk._charge_space(self.path, self._content, size - len(self._content.cached))
        self._content.truncate(size)

    async def size(self) -> int:
        """Length in bytes."""
        await self._begin("look at", 0)
        return len(self._content.cached)

    async def sync(self) -> None:
        """Make the content stable."""
        await self._begin("sync", 0)
        self._disk._fail_if(self._disk.faults.sync_errors, self.path, "sync")
        covered = self._content.begin_sync()
        await self._disk._take_time(self._disk.faults.seconds_per_sync)
        if not any(self.path.startswith(prefix) for prefix in self._disk.faults.lying_syncs):
            self._content.end_sync(covered)

    async def close(self) -> None:
        """Let go."""
        self._closed = True

    def _write(self, offset: int, data: Buffer) -> None:
        self._require_writable()
        growth = max(0, offset + len(data) - len(self._content.cached)) if len(data) else 0
        try:
            self._disk._fail_if(self._disk.faults.write_errors, self.path, "write")
            self._disk._fail_at(self.path, offset, len(data), "write")
            self._disk._charge_space(self.path, self._content, growth)
        except TabletopError as error:
            if self._disk.faults.short_writes:
                full = isinstance(error, NoSpace)
                self._write_part(offset, data, self._disk._free() + len(data) - growth if full else len(data) // 2)
            raise
        self._content.write(offset, data)

    def _write_part(self, offset: int, data: Buffer, count: int) -> None:
        end = offset + count
        self._disk._charge_space(self.path, self._content, max(0, end - len(self._content.cached)))
        self._content.write(offset, memoryview(data)[:count])

    async def _begin(self, verb: str, count: int) -> None:
        if self._closed:
            raise DiskFailure(f"cannot {verb} {self._disk._shown(self.path)}: the file is closed", definite=True)
        await self._disk._begin(verb, self.path)
        speed = self._disk.faults.bytes_per_second
        if speed and count:
            await self._disk._take_time(count / speed)

    def _require_writable(self) -> None:
        if not self._writable:
            raise DiskFailure(f"cannot write {self._disk._shown(self.path)}: it is open for reading", definite=True)


def _among(item: object, items: Iterable[object]) -> bool:
    return any(item is other for other in items)


def _apply(change: dict[str, Content | None], files: dict[str, Content]) -> None:
    for name, content in change.items():
        if content is None:
            files.pop(name, None)
        else:
            files[name] = content


def _clean(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise InvalidRequest(f"{shown(path)} does not lie within the disk's folder")
    if len(path) > LONGEST_NAME_BYTES and (
        len(path.encode()) > LONGEST_PATH_BYTES or any(len(part.encode()) > LONGEST_NAME_BYTES for part in parts)
    ):
        raise InvalidRequest(f"{shown(path)} is too long; a name has at most {LONGEST_NAME_BYTES} bytes")
    return "/".join(parts)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _ancestors(path: str) -> Names:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
