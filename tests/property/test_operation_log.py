"""The master's operation log under random failures: writes, syncs, renames and removals that fail, switches and
checkpoints that do not come to their end, kills and losses of power (GFS 2.6.3).

Whatever happens, the next run starts, and has every record that was acknowledged, none that was refused."""

import random
from typing import Any

import pytest

from master.log.records import FileCreated
from runtime.errors import DiskFailure, NoSpace, NotFound, TabletopError
from tests.unit.master_fakes import MemoryDisk, MemoryFile
from tests.unit.test_master_operation_log import log_on, names_in, run

LIVES = 6


class FailingDisk(MemoryDisk):
    """A disk that fails with a probability."""

    def __init__(self, chance: random.Random, before: MemoryDisk | None = None) -> None:
        super().__init__()
        self.chance = chance
        self.failing = self.keeping = 0.0
        if before is not None:
            self.files, self.synced = before.files, before.synced

    def fails(self, probability: float) -> bool:
        return self.chance.random() < probability

    async def open(self, path: str, mode: str) -> Any:
        if mode != "read" and self.fails(self.failing):
            raise NoSpace("no space for a name")
        await super().open(path, mode)
        return FailingFile(self, path)

    async def rename(self, source: str, target: str) -> None:
        if self.fails(self.failing):
            raise DiskFailure("the disk refuses a rename")
        await super().rename(source, target)

    async def remove(self, path: str) -> None:
        if path not in self.files:
            raise NotFound(path)
        if self.fails(self.keeping):
            raise DiskFailure("the disk refuses a removal")
        await super().remove(path)

    async def sync_directory(self, path: str = "") -> None:
        if self.fails(self.failing):
            raise DiskFailure("the disk refuses to sync a folder")


class FailingFile(MemoryFile):
    disk: FailingDisk

    async def append(self, data: Any) -> int:
        if self.disk.fails(self.disk.failing):
            await super().append(bytes(data)[: self.disk.chance.randrange(len(data) + 1)])
            raise self.disk.chance.choice([NoSpace, DiskFailure])("the disk refuses a write")
        return await super().append(data)

    async def sync(self) -> None:
        if self.disk.fails(self.disk.failing / 3):
            raise DiskFailure("the disk refuses a sync")
        await super().sync()


async def one_life(disk: FailingDisk, may_be_there: set[str], acknowledged: set[str], number: int) -> int:
    """Start, look, work under failures until the end; returns the number of the last file."""
    chance = disk.chance
    disk.failing = disk.keeping = 0.0
    log = log_on(disk)
    await log.recover()
    found = set(names_in(log))
    assert acknowledged <= found <= acknowledged | may_be_there
    acknowledged |= found
    may_be_there.clear()
    disk.failing, disk.keeping = chance.choice([0, 0.05, 0.3]), chance.choice([0, 0.5, 1])
    for _ in range(chance.randrange(12)):
        number, name = number + 1, f"/{number + 1}"
        try:
            match chance.randrange(5):
                case 0:
                    await log.checkpoint()
                case 1:
                    await log._switch()  # A crash before the checkpoint has its name.
                case _:
                    await log.commit(FileCreated(name, 1, 1, 0))
                    acknowledged.add(name)
        except TabletopError as error:
            if not error.definite:
                may_be_there.add(name)
                break  # The master ends.
    return number


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_every_run_starts_and_has_what_was_acknowledged(first: int) -> None:
    async def story(seed: int) -> None:
        chance = random.Random(seed)
        disk, number = FailingDisk(chance), 0
        acknowledged: set[str] = set()
        may_be_there: set[str] = set()
        for _ in range(LIVES):
            number = await one_life(disk, may_be_there, acknowledged, number)
            if chance.random() < 0.6:
                disk = FailingDisk(chance, disk.after_power_cut())

    for seed in range(first, first + 100):
        run(story(seed))
