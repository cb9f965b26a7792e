"""A disk in memory that forgets what was not synced, and can be broken on purpose.

The problem. Code that stores data is tested on disks that never fail and never lose power, so the order of its writes
and syncs is a matter of faith. The idea: a disk keeps two images of everything. The *cached* one is what programs
see: every write is in it at once. The *stable* one is what the platter has: bytes get there by `File.sync`, names by
`Disk.sync_directory`. A kill leaves the cached image. A power cut replaces it by the stable one, and for each
512-byte sector that was written and not synced, the tape decides: lost, kept or torn in the middle. Of the changes of
names that were not synced, the first so many survive. With a quiet tape all of it is lost.

What a program never syncs does not stay in memory for ever either: the kernel writes back what has been waiting for
`writeback_seconds` to twice as long, names as well as bytes.

Faults (see runtime/faults/disk.py): bit rot and torn bytes in chosen places; errors of reading, writing, syncing,
opening and listing for chosen paths or places in a file; no space left; writes that leave a part behind when they fail,
that land nowhere, or elsewhere; a slow disk; a disk that says it synced and did not, or that forgets what it failed to
sync.

Invariants: (1) what was written before a sync began survives a power cut after its end; (2) a rename is atomic: after
a power cut a name means the old file or the new one, never a mixture; (3) the methods raise what `runtime.real.disk`
raises.

What we simplify. A folder itself is stable at once; only the names in it wait for `sync_directory`. A sync makes one
file stable and nothing else.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

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
from runtime.faults.disk import (
    DiskFault,
    DiskSpeed,
    ErrorAtPlace,
    FaultOfPath,
    ImposedFaults,
    Operation,
    OperationHook,
    words_of,
)
from runtime.faults.undo import Imposed, Undo
from runtime.simulated.disk_file import SimulatedFile
from runtime.simulated.disk_image import Content, ImageMaker
from runtime.simulated.loop import LIFE, Life
from runtime.simulated.page_cache import PageCache
from runtime.simulated.tape import Stream
from runtime.world import DiskUsage, OpenMode

Names = list[str]  # Inside the class, `list` is the method.

DEFAULT_CAPACITY_BYTES = 1 << 40
SYNC_SECONDS = 0.0005  # a sync always takes time, so that a group commit has something to gain
WRITEBACK_SECONDS = 30.0  # Linux's dirty_expire_centisecs
LONGEST_NAME_BYTES = 255
LONGEST_PATH_BYTES = 4000
PAUSE_EVERY = 64  # Operations that take no time at all still let others run now and then.

_ERROR = "Input/output error; look at the system's log, the disk may be failing"


@dataclass(slots=True, eq=False)
class _Change:
    """What some names mean from that time on, all at once."""

    names: dict[str, Content | None]
    time: float


Changes = list[_Change]


class SimulatedDisk:
    """One node's disk. It outlives the node's lives. Folders are paths; "" is the root.

    `now` is the true time, in seconds. With `writeback_seconds` of infinity, only a sync makes anything stable.
    """

    def __init__(
        self, name: str, tape: Stream, now: Callable[[], float], *, capacity_bytes: int = DEFAULT_CAPACITY_BYTES
    ) -> None:
        self.name = name
        self.capacity_bytes = capacity_bytes
        self.speed = DiskSpeed(seconds_per_sync=SYNC_SECONDS)
        self.page_cache: PageCache | None = None  # without one, every read and every write waits for the platter
        self.image: ImageMaker = bytearray  # what files that are made from now on keep their bytes in
        self.writeback_seconds = WRITEBACK_SECONDS
        self.operations = 0
        self._faults = ImposedFaults()
        self._hooks = Imposed[OperationHook]()
        self._now = now
        self._tape = tape
        self._folders: dict[str, None] = {"": None}
        self._files: dict[str, Content] = {}
        self._stable_files: dict[str, Content] = {}
        self._journal: Changes = []  # name changes that no sync_directory has covered yet
        self._locks: dict[str, Life | None] = {}
        self._used = 0
        self._free_at = 0.0  # virtual seconds

    # What programs do: see runtime.world.Disk.

    async def open(self, path: str, mode: OpenMode) -> SimulatedFile:
        """Open a file."""
        path = _clean(path)
        path = await self._begin("open" if path in self._files or mode in ("read", "update") else "create", path)
        self._fail_if(self._faults.open_errors, path, "open")
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
            self._fail_if(self._faults.write_errors, path, "create")
            content = Content(self.image)
            self._rename_all({path: content})
        elif mode == "replace":
            self._fail_if(self._faults.write_errors, path, "truncate")
            self._charge_space(path, content, -len(content.cached))
            self._write_back(content)
            content.truncate(0, self._now())
        return SimulatedFile(self, path, content, writable=mode != "read")

    async def make_directory(self, path: str, *, spread: bool = False) -> None:
        """Create a folder and its missing ancestors. All folders lie as well here."""
        path = await self._begin("make_directory", path)
        parts = path.split("/") if path else []
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if folder in self._files:
                kind = AlreadyExists if folder == path else NotADirectory
                raise kind(f"cannot create the folder {self._shown(path)}: {folder} is a file")
            self._folders[folder] = None

    async def rename(self, source: str, target: str, *, replace: bool = True) -> None:
        """Rename in one step, replacing an existing file; or, as a file system does that several servers share, without
        `replace`: AlreadyExists, for whoever comes second."""
        target = _clean(target)
        source = await self._begin("rename", source, target=target)
        self._fail_if(self._faults.write_errors, source, "rename")
        self._require_folder(_parent(target), f"cannot rename {self._shown(source)}")
        if source in self._folders:
            self._rename_folder(source, target)
            return
        if source not in self._files:
            raise self._missing(source, "rename")
        if target in self._folders:
            raise IsADirectory(f"cannot rename {self._shown(source)}: {target} is a folder")
        if not replace and target in self._files:
            raise AlreadyExists(f"cannot rename {self._shown(source)}: {self._shown(target)} is there")
        if target != source:
            self._rename_all({source: None, target: self._files[source]})

    async def remove(self, path: str) -> None:
        """Remove a file or an empty folder."""
        path = await self._begin("remove", path)
        self._fail_if(self._faults.write_errors, path, "remove")
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
        self._fail_if(self._faults.list_errors, path, "list")
        self._require_folder(path, "cannot list")
        return self._names(path)

    async def exists(self, path: str) -> bool:
        """Whether the name is there."""
        path = await self._begin("exists", path)
        self._fail_if(self._faults.list_errors, path, "exists")
        return path in self._files or path in self._folders

    async def size(self, path: str) -> int:
        """Length of a file."""
        path = await self._begin("size", path)
        self._fail_if(self._faults.list_errors, path, "size")
        if path not in self._files:
            raise self._missing(path, "look at")
        return len(self._files[path].cached)

    async def sync_directory(self, path: str = "") -> None:
        """Make the names in a folder stable."""
        path = await self._begin("sync_directory", path)
        self._require_folder(path, "cannot sync the folder")
        self._fail_if(self._faults.sync_errors, path, "sync_directory")
        begun = list(self._journal)
        await self._take_time(self._faults.speed(self.speed).seconds_per_sync)
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

    def lose_power(self, *, loses_all: bool = False) -> None:
        """The machine loses power: what was not synced is lost, kept or torn, as the tape decides, or all of it is lost
        but for what was written back."""
        before = self._now() - self._lag()
        written = sum(change.time <= before for change in self._journal)  # They are in order of time.
        survivors_count = written + (0 if loses_all else self._tape.below(len(self._journal) - written + 1))
        for change in self._journal[:survivors_count]:
            _apply(change.names, self._stable_files)
        self._journal.clear()
        survivors = self._stable_files
        settled: dict[int, None] = {}
        for content in survivors.values():
            if id(content) not in settled:
                settled[id(content)] = None
                self._write_back(content)
                content.lose_power(None if loses_all else self._tape)
        if self.page_cache is not None:
            self.page_cache.clear()
        self._files = dict(survivors)
        self._stable_files = dict(survivors)
        for path in survivors:
            for folder in _ancestors(path):
                self._folders[folder] = None
        self._used = sum(len(content.cached) for content in self._files.values())
        self._locks.clear()

    def impose(self, fault: DiskFault) -> Undo:
        """Let something be wrong from now on."""
        return self._faults.add(fault)

    def heal(self) -> None:
        """End all that was imposed. What was damaged stays damaged."""
        self._faults.clear()

    def on_operation(self, hook: OperationHook) -> Undo:
        """Ask `hook` before each operation. The first error that one of several returns is raised."""
        return self._hooks.add(hook)

    def rot(self, path: str, offset: int, *, count: int = 1, mask: int = 0xFF) -> None:
        """Flip bits of `count` stored bytes, in the cache and on the platter. Raises NotFound, and InvalidRequest for
        bytes beyond the end."""
        content = self._stored(path, offset, count)
        for image in (content.cached, content.stable):
            for place in range(offset, min(offset + count, len(image))):
                image[place] ^= mask

    def tear(self, path: str, offset: int, count: int) -> int:
        """Damage `count` bytes as a write that was cut off does: the tape chooses how many of them stay as they are,
        at least one and not all, and the rest becomes zeros. Returns how many stay."""
        content = self._stored(path, offset, count)
        kept = min(count - 1, 1 + self._tape.below(max(1, count - 1)))
        for image in (content.cached, content.stable):
            end = min(offset + count, len(image))
            image[offset + kept : end] = bytes(max(0, end - offset - kept))
        return kept

    def _stored(self, path: str, offset: int, count: int) -> Content:
        content = self.content(path)
        if not 0 <= offset < offset + count <= len(content.cached):
            raise InvalidRequest(
                f"{self._shown(path)} has {len(content.cached)} bytes; there are no {count} at offset {offset}"
            )
        return content

    def content(self, path: str) -> Content:
        """What a file holds, for faults and for judges. Raises NotFound."""
        if path not in self._files:
            raise NotFound(f"{self._shown(path)}: no such file")
        return self._files[path]

    def stored(self, path: str) -> bytes:
        """A copy of what a file holds. Raises NotFound."""
        return bytes(self.content(path).cached)

    def paths(self) -> Names:
        """All files, sorted."""
        return sorted(self._files)

    def files(self) -> dict[str, bytes]:
        """What all files hold, by their paths, for faults and for judges."""
        return {path: bytes(self._files[path].cached) for path in self.paths()}

    def load(self, files: Mapping[str, bytes]) -> None:
        """A disk with these files takes this one's place; all of them are on its platter."""
        self.erase()
        for path, data in files.items():
            content = Content()
            content.write(0, data)
            content.sync()
            self._files[path] = self._stable_files[path] = content
            self._folders |= dict.fromkeys(_ancestors(path))
            self._used += len(data)

    def damage(self, path: str, offset: int, data: bytes) -> None:
        """Put other bytes at a place of a file, in the cache and on the platter; its length stays. Raises as `rot`."""
        content = self._stored(path, offset, len(data))
        for image in (content.cached, content.stable):
            end = min(offset + len(data), len(image))
            image[offset:end] = data[: max(0, end - offset)]

    def exchange(self) -> Undo:
        """An empty folder takes this one's place, until the end of that is asked for; what was written to it is gone
        then."""
        kept = self._folders, self._files, self._stable_files, self._journal, self._used
        self._folders, self._files, self._stable_files, self._journal, self._used = {"": None}, {}, {}, [], 0
        self._locks.clear()

        def give_back() -> None:
            self._folders, self._files, self._stable_files, self._journal, self._used = kept
            self._locks.clear()

        return give_back

    def erase(self) -> None:
        """An empty disk takes this one's place."""
        self._folders = {"": None}
        self._files.clear()
        self._stable_files.clear()
        self._journal.clear()
        self._locks.clear()
        self._used = 0

    # Inside.

    async def _begin(self, verb: str, path: str, offset: int = 0, count: int = 0, target: str = "") -> str:
        path = _clean(path)
        self.operations += 1
        error: TabletopError | None = None
        if self._hooks:
            operation = Operation(self.operations, verb, path, offset, count, target)
            for hook in self._hooks.values():
                error = hook(operation) or error
        life = LIFE.get()
        if life is not None and not life.alive:
            # A hook has ended the life that is asking: the rest of its callback must not happen either.
            await asyncio.get_running_loop().create_future()
        await self._take_time(self._faults.speed(self.speed).seconds_per_operation)
        if error is not None:
            raise error
        return path

    async def _take_time(self, seconds: float) -> None:
        if seconds > 0:
            now = self._now()
            self._free_at = max(now, self._free_at) + seconds
            await asyncio.sleep(self._free_at - now)
        elif self.operations % PAUSE_EVERY == 0:
            await asyncio.sleep(0)

    async def _transfer(self, verb: str, content: Content, offset: int, count: int) -> None:
        """Take the time that the bytes of a read or a write take."""
        speed = self._faults.speed(self.speed).bytes_per_second
        if not speed or not count:
            return
        if self.page_cache is None:
            await self._take_time(count / speed)
        elif verb == "read":
            available = max(0, min(count, len(content.cached) - offset))
            await self._take_time(self.page_cache.read(content, offset, available) / speed)
        else:
            self.page_cache.wrote(content, offset, count)
            self._free_at = max(self._now(), self._free_at) + count / speed

    def _charge_space(self, path: str, content: Content, count: int) -> None:
        if not content.linked:
            return
        if count > 0 and count > self._free():
            raise NoSpace(
                f"cannot write {self._shown(path)}: {count} bytes more, {self._free()} are free; free some space"
            )
        self._used += count

    def _free(self) -> int:
        if any(fault.taken_bytes is None for fault in self._faults.full):
            return 0
        return max(0, self.capacity_bytes - self._used - sum(fault.taken_bytes or 0 for fault in self._faults.full))

    def _fail_if(self, faults: Sequence[FaultOfPath], path: str, verb: str) -> None:
        """Raise what is imposed on the whole of a path."""
        if faults and any(fault.covers(path) and getattr(fault, "count", None) is None for fault in faults):
            raise DiskFailure(f"cannot {words_of(verb)} {self._shown(path)}: {_ERROR}")

    def _fail_at(self, faults: Sequence[ErrorAtPlace], path: str, offset: int, count: int, verb: str) -> None:
        for fault in faults:
            if fault.touches(path, offset, count):
                place = "" if fault.count is None else f" at byte {fault.offset}"
                raise DiskFailure(f"cannot {verb} {self._shown(path)}{place}: {_ERROR}")

    def _lag(self) -> float:
        return self._tape.between(self.writeback_seconds, 2 * self.writeback_seconds)

    def _write_back(self, content: Content) -> None:
        """Reckon what the kernel has written of a file by itself, before it changes again."""
        if content.dirty and self._now() - content.oldest >= self.writeback_seconds:
            content.write_back(self._now() - self._lag())

    def _settle_names(self, folder: str, begun: Changes) -> None:
        """Make those of the changes stable that touch the folder, with all earlier changes of the same names."""
        journal = _identities(self._journal)
        waiting = [change for change in begun if id(change) in journal]
        covered: Changes = []
        names: dict[str, None] = {}
        for change in reversed(waiting):
            if any(_parent(name) == folder or name in names for name in change.names):
                covered.append(change)
                names.update(dict.fromkeys(change.names))
        for change in reversed(covered):
            _apply(change.names, self._stable_files)
        done = _identities(covered)
        self._journal = [change for change in self._journal if id(change) not in done]

    def _rename_all(self, change: dict[str, Content | None]) -> None:
        """Change what names mean, all at once; stable only after a sync of their folder."""
        touched = [self._files[name] for name in change if name in self._files]
        _apply(change, self._files)
        arrived = _identities(change.values())
        for content in touched:
            if id(content) not in arrived:
                content.linked = False
                self._used -= len(content.cached)
        self._journal.append(_Change(change, self._now()))

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
            for name in [name for name in change.names if name.startswith(source + "/")]:
                change.names[target + name[len(source) :]] = change.names.pop(name)

    def _names(self, folder: str) -> Names:
        here = [name for name in (*self._files, *self._folders) if name and _parent(name) == folder]
        return sorted(name.rpartition("/")[2] for name in here)

    def _shown(self, path: str) -> str:
        return f"{self.name}:/{path}"


def _identities(items: Iterable[object]) -> set[int]:
    """To be asked whether an object is the very same as one of `items`, which must be kept meanwhile."""
    return {id(item) for item in items}


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
