"""The operation log on a disk in memory: every crash point (the claims of the paper are in tests/paper)."""

import asyncio
import contextlib
import random
from typing import Any

import pytest

from master.log.log_files import log_path
from master.log.operation_log import OperationLog
from master.log.records import FORMAT, AdmissionConfirmed, EntryRemoved, EpochBegun, FileCreated, LogOpened, encode
from master.log.recovery import recover
from runtime.errors import Conflict, Corrupted, DiskFailure, NoSpace, TabletopError
from runtime.events import MemorySink
from runtime.record_log import HEADER as FRAME_HEADER
from runtime.record_log import encode_frame
from tests.unit.master_fakes import MemoryDisk, MemoryFile, MiniWorld, Switchboard, VirtualLoop


class PowerCut(BaseException):
    """The machine stops here."""


class CountedDisk(MemoryDisk):
    """A disk whose machine stops at the n-th change of anything."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise PowerCut

    async def open(self, path: str, mode: str) -> Any:
        if mode != "read":
            self.step()
        await super().open(path, mode)
        return CountedFile(self, path)

    async def rename(self, source: str, target: str) -> None:
        self.step()
        await super().rename(source, target)

    async def remove(self, path: str) -> None:
        self.step()
        await super().remove(path)


class CountedFile(MemoryFile):
    disk: CountedDisk

    async def append(self, data: Any) -> int:
        self.disk.step()
        return await super().append(data)

    async def sync(self) -> None:
        self.disk.step()
        await super().sync()


def run(work: Any) -> Any:
    loop = VirtualLoop()
    loop.set_exception_handler(lambda *_: None)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(work)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def log_on(disk: MemoryDisk, *, limit: int = 2**30) -> OperationLog:
    world: Any = MiniWorld("master", Switchboard(), disk, MemorySink())
    return OperationLog(world, cluster="t", checkpoint_log_bytes=limit)


def names_in(log: OperationLog) -> list[str]:
    return [path for path, _ in log.state.namespace.children("/", after="", limit=10_000)]


@pytest.mark.parametrize("steps", range(60))
def test_a_power_cut_at_any_step_keeps_what_was_acknowledged_and_starts_again(steps: int) -> None:
    disk = CountedDisk(steps)
    acknowledged: list[str] = []

    async def life() -> None:
        log = log_on(disk)
        await log.recover()
        for number in range(12):
            await log.commit(FileCreated(f"/{number:02d}", 1, 1, 0))
            acknowledged.append(f"/{number:02d}")
            if number in (3, 6, 9):
                await log.checkpoint()

    with contextlib.suppress(PowerCut, TabletopError):
        run(life())
    left = disk.after_power_cut()

    async def afterwards() -> None:
        log = log_on(left)
        await log.recover()
        found = names_in(log)
        assert found[: len(acknowledged)] == acknowledged
        assert len(found) <= len(acknowledged) + 1, "at most the record that was under way"
        await log.commit(FileCreated("/zz", 1, 1, 0))
        again = log_on(left.after_power_cut())
        await again.recover()
        assert names_in(again) == [*found, "/zz"]
        again.state.namespace.check_invariants()

    run(afterwards())


def test_sequences_go_on_across_files_and_restarts() -> None:
    async def story() -> None:
        disk = MemoryDisk()
        log = log_on(disk)
        await log.recover()
        for number in range(5):
            await log.commit(FileCreated(f"/{number}", 1, 1, 0))
        await log.checkpoint()
        assert log.next_sequence == 8, "two openings and five records"
        again = log_on(disk)
        await again.recover()
        assert again.next_sequence == 8 and again.log_bytes == log.log_bytes

    run(story())


def test_an_opening_that_was_torn_is_no_damage_however_long_the_clusters_name() -> None:
    async def story() -> None:
        disk = MemoryDisk()
        opening = bytearray(encode_frame(encode(LogOpened(FORMAT, "x" * 64)), 1, 0))
        opening[-1] ^= 1
        disk.files[log_path(1)], disk.synced[log_path(1)] = opening, b""
        log = log_on(disk)
        await log.recover()
        await log.commit(FileCreated("/a", 1, 1, 0))
        assert "begun but never used" in log.recovery_note

    run(story())


def test_recovering_twice_changes_nothing() -> None:
    async def story() -> None:
        disk = MemoryDisk()
        log = log_on(disk)
        await log.recover()
        for number in range(50):
            await log.commit(FileCreated(f"/{number}", 1, 1, 0))
        before = {name: bytes(data) for name, data in disk.files.items()}
        for _ in range(3):
            again = log_on(disk)
            await again.recover()
        assert {name: bytes(data) for name, data in disk.files.items()} == before

    run(story())


def test_a_switch_that_fails_leaves_the_old_file_in_use() -> None:
    async def story() -> None:
        disk = MemoryDisk()
        log = log_on(disk)
        await log.recover()
        await log.commit(FileCreated("/a", 1, 1, 0))
        disk.fail_writes = NoSpace("full")
        with pytest.raises(NoSpace):
            await log.checkpoint()
        disk.fail_writes = None
        await log.commit(FileCreated("/b", 1, 1, 0))
        again = log_on(disk.after_power_cut())
        await again.recover()
        assert names_in(again) == ["/a", "/b"]

    run(story())


def test_no_checkpoint_is_begun_behind_a_record_that_failed() -> None:
    async def story() -> None:
        disk = MemoryDisk()
        log = log_on(disk)
        await log.recover()
        await log.commit(FileCreated("/a", 1, 1, 0))
        disk.fail_writes = NoSpace("full")
        with pytest.raises(NoSpace):
            await log.commit(FileCreated("/b", 1, 1, 0))
        disk.fail_writes = None
        with pytest.raises(Conflict):
            await log.checkpoint()
        await log.commit(FileCreated("/c", 1, 1, 0))
        await log.checkpoint()
        again = log_on(disk.after_power_cut())
        await again.recover()
        assert names_in(again) == ["/a", "/c"]

    run(story())


def test_flipping_any_byte_of_a_log_never_passes_unnoticed() -> None:
    """Either the record and all behind it were never promised (the tail), or recovery refuses."""

    async def story() -> None:
        disk = MemoryDisk()
        log = log_on(disk)
        await log.recover()
        records = [FileCreated(f"/{number}", 1, 1, 0) for number in range(8)]
        for record in records:
            await log.commit(record)
        name = log_path(1)
        whole = bytes(disk.files[name])
        # Nothing behind the last frame says that it was durable.
        last = len(whole) - FRAME_HEADER.size - len(encode(records[-1]))
        refused = 0
        for place in random.Random(1).sample(range(last), 150):
            damaged = disk.after_power_cut()
            damaged.files[name] = bytearray(whole)
            damaged.files[name][place] ^= 0x40
            world: Any = MiniWorld("master", Switchboard(), damaged, MemorySink())
            try:
                found = await recover(world)
            except TabletopError as error:
                refused += 1
                assert name in error.message
            else:
                assert found.notes, f"byte {place}: nothing was noticed"
        assert refused == 150

    run(story())


class StuckDisk(MemoryDisk):
    """A disk on which one file can neither be written, from `room` bytes on, nor removed."""

    def __init__(self, stuck: str, room: int) -> None:
        super().__init__()
        self.stuck = stuck
        self.room = room

    async def open(self, path: str, mode: str) -> Any:
        file = await super().open(path, mode)
        return StuckFile(self, path) if path == self.stuck else file

    async def remove(self, path: str) -> None:
        if path == self.stuck:
            raise DiskFailure(f"cannot remove {path}")
        await super().remove(path)


class StuckFile(MemoryFile):
    disk: StuckDisk

    async def append(self, data: Any) -> int:
        await super().append(bytes(data)[: self.disk.room])
        await super().sync()
        raise DiskFailure(f"cannot write {self.path}")


@pytest.mark.parametrize("room", [0, 10, 1000])
@pytest.mark.parametrize("later_switch", [False, True])
def test_what_a_failed_switch_leaves_keeps_no_later_run_from_starting(room: int, later_switch: bool) -> None:
    """The old file goes on past the number of the file that could not be removed, and no checkpoint is behind it."""

    async def story() -> None:
        disk = StuckDisk(log_path(3), room)
        log = log_on(disk)
        await log.recover()
        await log.commit(FileCreated("/a", 1, 1, 0))
        with pytest.raises(DiskFailure):
            await log.checkpoint()
        await log.commit(FileCreated("/b", 1, 1, 0))
        assert {log_path(1), log_path(3)} <= set(disk.files)
        if later_switch:
            await log._switch()  # A crash before the checkpoint has its name.
            await log.commit(FileCreated("/c", 1, 1, 0))
        disk.stuck = ""
        again = log_on(disk.after_power_cut())
        await again.recover()
        assert names_in(again) == (["/a", "/b", "/c"] if later_switch else ["/a", "/b"])
        await again.commit(FileCreated("/d", 1, 1, 0))

    run(story())


@pytest.mark.parametrize("older", [2, 3])
def test_a_log_in_an_older_format_is_read_and_continued(older: int) -> None:
    async def story() -> None:
        disk = MemoryDisk()
        frames = [encode(LogOpened(older, "test")), encode(FileCreated("/a", 1, 1, 0)), encode(EpochBegun(4))]
        content = b"".join(encode_frame(payload, at, 0) for at, payload in enumerate(frames, start=1))
        disk.files[log_path(1)] = disk.synced[log_path(1)] = bytearray(content)
        log = log_on(disk)
        await log.recover()
        assert names_in(log) == ["/a"] and log.state.epoch == 4
        await log.commit(AdmissionConfirmed(9, 2, ("cs1",), client=7, number=1, oldest=1))
        again = log_on(disk)
        await again.recover()
        assert names_in(again) == ["/a"] and again.state.requests.answer(7, 1) == 2

    run(story())


@pytest.mark.parametrize("switches", [1, 3])
def test_a_file_that_was_only_begun_vouches_for_the_records_before_it(switches: int) -> None:
    """The master dies between the switch and the checkpoint, and then the newest records rot. Recovery refuses, however
    often it is tried: nothing is cut off, and the witness stays. Checkpoints may have failed before that."""

    async def story() -> None:
        disk = MemoryDisk()
        log = log_on(disk)
        await log.recover()
        for number in range(3):
            await log.commit(FileCreated(f"/{number}", 1, 1, 0))
        name = log_path(1)
        begin = len(disk.files[name]) - FRAME_HEADER.size - len(encode(FileCreated("/2", 1, 1, 0)))
        for _ in range(switches):
            await log._switch()
        whole = bytes(disk.files[name])
        for place in random.Random(1).sample(range(begin, len(whole)), 20):
            damaged = disk.after_power_cut()
            damaged.files[name] = bytearray(whole)
            damaged.files[name][place] ^= 0x40
            for _ in range(2):
                with pytest.raises(Corrupted):
                    await log_on(damaged).recover()
            damaged.files[name][place] ^= 0x40
            again = log_on(damaged)
            await again.recover()
            assert names_in(again) == ["/0", "/1", "/2"]

    run(story())


class NarrowDisk(MemoryDisk):
    """A disk that takes so many bytes in all."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity

    async def open(self, path: str, mode: str) -> Any:
        await super().open(path, mode)
        return NarrowFile(self, path)


class NarrowFile(MemoryFile):
    disk: NarrowDisk

    async def append(self, data: Any) -> int:
        room = max(0, self.disk.capacity - sum(map(len, self.disk.files.values())))
        offset = await super().append(bytes(data)[:room])
        if room < len(data):
            raise NoSpace(f"{self.path}: the disk is full")
        return offset


def test_a_checkpoint_for_which_there_is_no_room_takes_none_from_the_log() -> None:
    async def story() -> None:
        disk = NarrowDisk(100_000)
        log = log_on(disk)
        await log.recover()
        for number in range(50):
            await log.commit(FileCreated(f"/{number}", 1, 1, 0))
        disk.capacity = sum(map(len, disk.files.values())) + 500
        with pytest.raises(NoSpace):
            await log.checkpoint()
        await log.commit(EntryRemoved("/0"))

    run(story())


def test_hidden_files_of_the_system_stop_neither_a_start_nor_the_removal_of_old_logs() -> None:
    async def story() -> None:
        disk = MemoryDisk()
        log = log_on(disk)
        await log.recover()
        disk.files["log/.DS_Store"], disk.synced["log/.DS_Store"] = bytearray(b"junk"), b"junk"
        for number in range(4):
            await log.commit(FileCreated(f"/{number}", 1, 1, 0))
            await log.checkpoint()
        assert log_path(1) not in disk.files
        again = log_on(disk.after_power_cut())
        await again.recover()
        assert names_in(again) == ["/0", "/1", "/2", "/3"]

    run(story())


def test_a_checkpoint_that_could_not_be_read_again_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf of the namespace with the chunks of many very large files: the log must stay."""
    monkeypatch.setattr("master.log.checkpoint.PAYLOAD_LIMIT_BYTES", 1000)

    async def story() -> None:
        disk = MemoryDisk()
        log = log_on(disk)
        await log.recover()
        for number in range(50):
            await log.commit(FileCreated(f"/{number}", 1, 1, 0))
        for _ in range(3):
            with pytest.raises(Conflict):
                await log.checkpoint()
        again = log_on(disk.after_power_cut())
        await again.recover()
        assert len(names_in(again)) == 50

    run(story())
