"""A real disk that fails, fills up, tires, or lies about its syncs, as imposed faults say.

Each operation is looked at before it is handed to the real disk, by the same rules as in the simulated world
(runtime/simulated/disk.py); the words of the errors are those of the operating system's.
"""

import asyncio
import errno
from collections.abc import Sequence

from runtime.errors import NoSpace, TabletopError
from runtime.faults.disk import (
    DiskSpeed,
    DroppedWrites,
    ErrorAtPlace,
    FaultOfPath,
    ImposedFaults,
    MisdirectedWrites,
    covering,
    words_of,
)
from runtime.faults.table import FaultTable
from runtime.real.disk import RealDisk, RealFile, error_of
from runtime.real.experiments.unsynced import UnsyncedFiles
from runtime.world import Buffer, DiskUsage, OpenMode

_SOUND = DiskSpeed()


class _Checks:
    """What the disk and its files ask before they do anything."""

    def __init__(self, table: FaultTable, disk: RealDisk, unsynced: UnsyncedFiles) -> None:
        self.table = table
        self.disk = disk
        self.unsynced = unsynced
        self._free_at = 0.0

    @property
    def faults(self) -> ImposedFaults:
        return self.table.disk()

    async def take_time(self, *, count: int = 0, is_sync: bool = False) -> None:
        """Have the disk take its time for an operation; it serves one after the other."""
        if not self.faults.slow:
            return
        speed = self.faults.speed(_SOUND)
        seconds = speed.seconds_per_operation + (speed.seconds_per_sync if is_sync else 0.0)
        seconds += count / speed.bytes_per_second if speed.bytes_per_second else 0.0
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + seconds
        await asyncio.sleep(self._free_at - now)

    def fail_if(self, faults: Sequence[FaultOfPath], path: str, verb: str) -> None:
        """Raise what is imposed on the whole of a path."""
        if any(fault.covers(path) and getattr(fault, "count", None) is None for fault in faults):
            raise self.error(verb, path, errno.EIO)

    def fail_at(self, faults: Sequence[ErrorAtPlace], path: str, offset: int, count: int, verb: str) -> None:
        """Raise what is imposed on a place in a file."""
        if any(fault.touches(path, offset, count) for fault in faults):
            raise self.error(verb, path, errno.EIO)

    async def require_space(self, path: str, growth: int) -> None:
        """Raise NoSpace if somebody else has taken the space."""
        if self.faults.full and growth > 0 and growth > (await self.usage()).free_bytes:
            raise self.error("write", path, errno.ENOSPC)

    async def usage(self) -> DiskUsage:
        """Space as the faults leave it."""
        found = await self.disk.usage()
        if any(fault.taken_bytes is None for fault in self.faults.full):
            return DiskUsage(found.total_bytes, 0)
        taken = sum(fault.taken_bytes or 0 for fault in self.faults.full)
        return DiskUsage(found.total_bytes, max(0, found.free_bytes - taken))

    def before_change(self, path: str) -> None:
        """A file's bytes are about to change."""
        if covering(self.faults.lying_syncs, path) is not None:
            self.unsynced.keep(path)

    def error(self, verb: str, path: str, number: int) -> TabletopError:
        """What the operating system would say."""
        return error_of(words_of(verb), f"{self.disk.root}/{path}", OSError(number, ""))


class FaultyFile:
    """An open file. `inner` is the real one."""

    def __init__(self, inner: RealFile, name: str, checks: _Checks) -> None:
        self.path = inner.path
        self.inner = inner
        self._name = name
        self._checks = checks

    def has_faults(self) -> bool:
        """Whether reading it may be another thing than reading the real file."""
        faults = self._checks.faults
        return bool(faults.slow) or covering(faults.read_errors, self._name) is not None

    async def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end."""
        await self._checks.take_time(count=count)
        self._checks.fail_at(self._checks.faults.read_errors, self._name, offset, count, "read")
        return await self.inner.read_at(offset, count)

    async def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target`; returns the bytes read."""
        await self._checks.take_time(count=len(target))
        self._checks.fail_at(self._checks.faults.read_errors, self._name, offset, len(target), "read")
        return await self.inner.read_into(offset, target)

    async def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of `data`."""
        await self._checks.take_time(count=len(data))
        await self._write(offset, data)

    async def append(self, data: Buffer) -> int:
        """Write at the end; returns the offset."""
        await self._checks.take_time(count=len(data))
        offset = await self.inner.size()
        await self._write(offset, data)
        return offset

    async def truncate(self, size: int) -> None:
        """Cut or extend with zeros."""
        await self._checks.take_time()
        self._checks.fail_if(self._checks.faults.write_errors, self._name, "truncate")
        await self._checks.require_space(self._name, size - await self.inner.size())
        self._checks.before_change(self._name)
        await self.inner.truncate(size)

    async def size(self) -> int:
        """Length in bytes."""
        return await self.inner.size()

    async def sync(self) -> None:
        """Wait until the bytes are on stable storage, or say that they are."""
        await self._checks.take_time(is_sync=True)
        faults = self._checks.faults
        self._checks.fail_if(faults.sync_errors, self._name, "sync")
        if covering(faults.lying_syncs, self._name) is None:
            await self.inner.sync()
            self._checks.unsynced.synced(self._name)

    async def close(self) -> None:
        """Let go of the descriptor."""
        await self.inner.close()

    async def _write(self, offset: int, data: Buffer) -> None:
        faults = self._checks.faults
        growth = max(0, offset + len(data) - await self.inner.size()) if faults.full and len(data) else 0
        self._checks.before_change(self._name)
        try:
            self._checks.fail_at(faults.write_errors, self._name, offset, len(data), "write")
            await self._checks.require_space(self._name, growth)
        except TabletopError as error:
            if covering(faults.short_writes, self._name) is not None:
                kept = len(data) - growth if isinstance(error, NoSpace) else len(data) // 2
                await self.inner.write_at(offset, memoryview(data)[:kept])
            raise
        stray = faults.stray(self._name)
        if stray is not None and len(data):
            await self._stray(stray, offset, data)
        else:
            await self.inner.write_at(offset, data)

    async def _stray(self, stray: DroppedWrites | MisdirectedWrites, offset: int, data: Buffer) -> None:
        end, size = offset + len(data), await self.inner.size()
        if end > size:
            await self.inner.truncate(end)
        if isinstance(stray, MisdirectedWrites):
            shifted = offset + (stray.shift if end + stray.shift <= max(end, size) else -min(stray.shift, offset))
            await self.inner.write_at(shifted, data)


class FaultyDisk:
    """One node's folder, on a disk that may fail."""

    def __init__(self, disk: RealDisk, table: FaultTable, unsynced: UnsyncedFiles) -> None:
        self._disk = disk
        self._checks = _Checks(table, disk, unsynced)

    async def open(self, path: str, mode: OpenMode) -> FaultyFile:
        """Open a file."""
        await self._checks.take_time()
        faults, name = self._checks.faults, path.strip("/")
        self._checks.fail_if(faults.open_errors, name, "open")
        if mode in ("create", "replace"):
            self._checks.fail_if(faults.write_errors, name, "create")
            self._checks.before_change(name)
        return FaultyFile(await self._disk.open(path, mode), name, self._checks)

    async def make_directory(self, path: str, *, spread: bool = False) -> None:
        """Create a folder and its missing ancestors."""
        await self._checks.take_time()
        await self._disk.make_directory(path, spread=spread)

    async def rename(self, source: str, target: str) -> None:
        """Rename in one step, replacing an existing file."""
        await self._changes(self._checks.faults.write_errors, source, "rename")
        await self._disk.rename(source, target)
        self._checks.unsynced.renamed(source, target)

    async def remove(self, path: str) -> None:
        """Remove a file or an empty folder."""
        await self._changes(self._checks.faults.write_errors, path, "remove")
        await self._disk.remove(path)
        self._checks.unsynced.synced(path)

    async def list(self, path: str = "") -> list[str]:
        """Names, sorted."""
        await self._changes(self._checks.faults.list_errors, path, "list")
        return await self._disk.list(path)

    async def exists(self, path: str) -> bool:
        """Whether the name is there."""
        await self._changes(self._checks.faults.list_errors, path, "exists")
        return await self._disk.exists(path)

    async def size(self, path: str) -> int:
        """Length of a file, in bytes."""
        await self._changes(self._checks.faults.list_errors, path, "size")
        return await self._disk.size(path)

    async def sync_directory(self, path: str = "") -> None:
        """Wait until the folder's names are on stable storage."""
        await self._checks.take_time(is_sync=True)
        self._checks.fail_if(self._checks.faults.sync_errors, path.strip("/"), "sync_directory")
        await self._disk.sync_directory(path)

    async def usage(self) -> DiskUsage:
        """Space as the faults leave it."""
        return await self._checks.usage()

    async def lock(self, path: str) -> None:
        """Hold the folder."""
        await self._disk.lock(path)

    async def unlock(self, path: str) -> None:
        """Let go of the folder."""
        await self._disk.unlock(path)

    async def _changes(self, faults: Sequence[FaultOfPath], path: str, verb: str) -> None:
        await self._checks.take_time()
        self._checks.fail_if(faults, path.strip("/"), verb)
