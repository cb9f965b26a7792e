"""A tablet dies at every step that touches its files, once before the step and once after half of it, and is opened
again: what was acknowledged is there, nothing is there in part, nothing half-done stays behind.

Here the operating system survives; the simulated disk's tests take the power away.
"""

import shutil
from pathlib import Path

import pytest

from runtime.real.disk import RealDisk
from tablet.embedded.inline import InlineWorld, RecentEvents, run_inline
from tablet.engine.engine import Engine
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import Options, PolicySettings
from tablet.engine.world.storage import DiskStorage, StoredFile

OPTIONS = Options(memtable_bytes=3000, policy_settings=PolicySettings(fan_in=2), flush_on_close_bytes=0)


class Died(BaseException):
    """The process is no more."""


class MortalFile:
    """A file that passes on what it is told until the process dies."""

    def __init__(self, file: StoredFile, storage: "MortalStorage") -> None:
        self.path = file.path
        self._file = file
        self._storage = storage

    async def append(self, data) -> int:
        if self._storage.dies_now():
            await self._file.append(bytes(data)[: len(data) // 2])
            raise Died
        return await self._file.append(data)

    async def sync(self) -> None:
        self._storage.step()
        await self._file.sync()

    async def truncate(self, size: int) -> None:
        self._storage.step()
        await self._file.truncate(size)

    async def read_at(self, offset: int, count: int) -> bytes:
        return await self._file.read_at(offset, count)

    async def size(self) -> int:
        return await self._file.size()

    async def close(self) -> None:
        await self._file.close()


class MortalStorage:
    """Storage that dies at the step number `last`."""

    def __init__(self, folder: Path, last: int | None) -> None:
        self.steps = 0
        self._last = last
        self._inner = DiskStorage(RealDisk(folder, inline=True))

    def dies_now(self) -> bool:
        self.steps += 1
        return self._last is not None and self.steps >= self._last

    def step(self) -> None:
        if self.dies_now():
            raise Died

    async def create(self, name: str) -> MortalFile:
        self.step()
        return MortalFile(await self._inner.create(name), self)

    async def open(self, name: str) -> MortalFile:
        return MortalFile(await self._inner.open(name), self)

    async def rename(self, source: str, target: str) -> None:
        self.step()
        await self._inner.rename(source, target)

    async def exists(self, name: str) -> bool:
        return await self._inner.exists(name)

    async def write_again(self, name: str, offset: int, count: int) -> None:
        self.step()
        await self._inner.write_again(name, offset, count)

    async def note(self, name: str, content: bytes) -> None:
        await self._inner.note(name, content)  # No step of its own: nothing that counts lies before or after it.

    async def remove(self, name: str) -> None:
        self.step()
        await self._inner.remove(name)

    async def list(self) -> list[str]:
        return await self._inner.list()

    async def lock(self) -> None:
        await self._inner.lock()

    async def unlock(self) -> None:
        await self._inner.unlock()


async def life(storage: MortalStorage, answered: dict[bytes, bytes], tried: dict[bytes, bytes]) -> None:
    """A short life with everything in it."""
    engine = await Engine.open(storage, InlineWorld(RecentEvents([])), OPTIONS, inline=True)  # type: ignore[arg-type]
    await engine.create_family("f")

    async def put(number: int) -> None:
        row, value = b"row%02d" % (number % 17), b"%d" % number + b"x" * 150
        tried[row] = value
        await engine.write(row, [SetCell(b"f:a", value, number), SetCell(b"f:b", value, number)])
        answered[row] = value

    for number in range(1, 30):
        await put(number)
        while await engine.do_some_housework():
            pass
    await engine.save_snapshot("s")
    await put(30)
    await engine.compact()
    tried[b"row13"] = b"13" + b"x" * 150
    await engine.restore_snapshot("s")
    answered[b"row13"] = tried[b"row13"]
    await put(31)
    await engine.delete_snapshot("s")
    await engine.prepare_move()
    await engine.close()


def count_steps(folder: Path) -> int:
    storage = MortalStorage(folder, None)
    run_inline(life(storage, {}, {}))
    return storage.steps


async def look(engine: Engine) -> dict[bytes, bytes]:
    """Newest values; both columns of a row must agree, for a row is written atomically."""
    found: dict[bytes, bytes] = {}
    async for row in engine.scan():
        a, b = row.value("f:a"), row.value("f:b")
        assert a is not None
        assert a == b
        found[row.key] = a
    return found


async def revived(folder: Path) -> dict[bytes, bytes]:
    storage = DiskStorage(RealDisk(folder, inline=True))
    engine = await Engine.open(storage, InlineWorld(RecentEvents([])), OPTIONS, inline=True)  # type: ignore[arg-type]
    engine.check_invariants()
    found = await look(engine)
    if b"f" in engine.schema.families:
        await engine.put(b"row99", b"f:a", b"still alive")
        await engine.put(b"row99", b"f:b", b"still alive")
        await engine.compact()
        assert await look(engine) == {**found, b"row99": b"still alive"}
    names = await storage.list()
    assert not [name for name in names if name.endswith(".new")]
    await engine.close()
    return found


def test_no_step_at_which_a_tablet_dies_loses_an_answered_write(tmp_path):
    steps = count_steps(tmp_path / "whole")
    assert steps > 100
    for last in range(1, steps + 1):
        folder = tmp_path / str(last)
        answered: dict[bytes, bytes] = {}
        tried: dict[bytes, bytes] = {}
        with pytest.raises(Died):
            run_inline(life(MortalStorage(folder, last), answered, tried))
        # The dead process still holds its lock in this one: look at a copy.
        copy = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=False)
        found = run_inline(revived(copy))
        for row in answered.keys() | found.keys():
            allowed = {answered.get(row), tried.get(row)}
            assert found.get(row) in allowed, f"died at step {last}, row {row!r}"
        shutil.rmtree(copy)
        shutil.rmtree(folder)
