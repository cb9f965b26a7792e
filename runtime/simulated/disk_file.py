"""An open file of a simulated disk: where the faults of reading, writing and syncing strike."""

from typing import TYPE_CHECKING

from runtime.errors import DiskFailure, NoSpace, TabletopError
from runtime.faults.disk import DroppedWrites, MisdirectedWrites, covering, words_of
from runtime.simulated.disk_image import Content
from runtime.world import Buffer

if TYPE_CHECKING:
    from runtime.simulated.disk import SimulatedDisk


class SimulatedFile:
    """An open file: see runtime.world.File. It goes on to mean its content after a rename or removal."""

    def __init__(self, disk: "SimulatedDisk", path: str, content: Content, *, writable: bool) -> None:
        self.path = path
        self._disk = disk
        self._content = content
        self._writable = writable
        self._closed = False

    async def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes."""
        await self._begin("read", offset, count)
        self._disk._fail_at(self._disk._faults.read_errors, self.path, offset, count, "read")
        return bytes(self._content.cached[offset : offset + count])

    async def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target`."""
        data = await self.read_at(offset, len(target))
        target[: len(data)] = data
        return len(data)

    async def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of `data`, or nothing (a part, under `ShortWrites`)."""
        await self._begin("write", offset, len(data))
        self._write(offset, data)

    async def append(self, data: Buffer) -> int:
        """Write at the end."""
        await self._begin("write", len(self._content.cached), len(data))
        offset = len(self._content.cached)
        self._write(offset, data)
        return offset

    async def truncate(self, size: int) -> None:
        """Cut or extend with zeros."""
        await self._begin("truncate", size)
        self._require_writable()
        self._disk._fail_if(self._disk._faults.write_errors, self.path, "truncate")
        self._disk._charge_space(self.path, self._content, size - len(self._content.cached))
        self._disk._write_back(self._content)
        self._content.truncate(size, self._disk._now())

    async def size(self) -> int:
        """Length in bytes."""
        await self._begin("size")
        return len(self._content.cached)

    async def sync(self) -> None:
        """Make the content stable."""
        await self._begin("sync")
        faults, content = self._disk._faults, self._content
        self._disk._write_back(content)
        covered = content.begin_sync()
        if faults.sync_errors:
            failing = [fault for fault in faults.sync_errors if fault.covers(self.path)]
            if any(fault.loses_pages for fault in failing):
                content.fail_sync(covered)
            self._disk._fail_if(failing, self.path, "sync")
        await self._disk._take_time(faults.speed(self._disk.speed).seconds_per_sync)
        if covering(faults.lying_syncs, self.path) is None:
            content.end_sync(covered)

    async def close(self) -> None:
        """Let go."""
        self._closed = True

    def _write(self, offset: int, data: Buffer) -> None:
        self._require_writable()
        growth = max(0, offset + len(data) - len(self._content.cached)) if len(data) else 0
        try:
            self._disk._fail_at(self._disk._faults.write_errors, self.path, offset, len(data), "write")
            self._disk._charge_space(self.path, self._content, growth)
        except TabletopError as error:
            if covering(self._disk._faults.short_writes, self.path) is not None:
                full = isinstance(error, NoSpace)
                self._write_part(offset, data, self._disk._free() + len(data) - growth if full else len(data) // 2)
            raise
        self._land(offset, data)

    def _write_part(self, offset: int, data: Buffer, count: int) -> None:
        end = offset + count
        self._disk._charge_space(self.path, self._content, max(0, end - len(self._content.cached)))
        self._land(offset, memoryview(data)[:count])

    def _land(self, offset: int, data: Buffer) -> None:
        """Put the bytes where they belong, or where the disk puts them instead."""
        content, now = self._content, self._disk._now()
        self._disk._write_back(content)
        stray = self._disk._faults.stray(self.path)
        end = offset + len(data)
        if stray is not None and len(data) and end > len(content.cached):
            content.truncate(end, now)
        if isinstance(stray, MisdirectedWrites):
            offset += stray.shift if end + stray.shift <= len(content.cached) else -min(stray.shift, offset)
        if not isinstance(stray, DroppedWrites):
            content.write(offset, data, now)

    async def _begin(self, verb: str, offset: int = 0, count: int = 0) -> None:
        if self._closed:
            shown = self._disk._shown(self.path)
            raise DiskFailure(f"cannot {words_of(verb)} {shown}: the file is closed", definite=True)
        await self._disk._begin(verb, self.path, offset, count)
        await self._disk._transfer(verb, self._content, offset, count)

    def _require_writable(self) -> None:
        if not self._writable:
            raise DiskFailure(f"cannot write {self._disk._shown(self.path)}: it is open for reading", definite=True)
