"""A log whose end is damaged is told from one whose last write was torn, by a mark outside of the log."""

from collections.abc import Awaitable, Callable

import pytest

from lockservice.server.lock_log import LockLog
from lockservice.settings import LockServiceSettings
from lockservice.state.records import EpochBegun
from master.failover.following import FollowedLog
from master.log.log_files import log_path
from master.log.operation_log import OperationLog
from master.log.records import FileCreated, encode
from runtime.durable_mark import DELAY_SECONDS, PATH, DurableMark, decode_mark, encode_mark
from runtime.errors import Corrupted, DiskFailure, NoSpace, TabletopError
from runtime.faults.disk import Operation, ReadError, WriteError
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.world import SimulatedWorld, Simulation

RECORDS = 5


class Desk:
    """One node with an operation log, whose lives end by a kill."""

    def __init__(self, simulation: Simulation, kind: type[OperationLog] = OperationLog) -> None:
        self.simulation = simulation
        self.kind = kind
        simulation.add_node("master")
        self.log = self._new()

    @property
    def world(self) -> SimulatedWorld:
        return self.simulation.world("master")

    @property
    def disk(self) -> SimulatedDisk:
        return self.world.simulated_disk

    def _new(self) -> OperationLog:
        return self.kind(self.world, cluster="desk", checkpoint_log_bytes=1 << 20)

    async def begin(self) -> None:
        await self.on(self.log.recover())
        for number in range(RECORDS):
            await self.on(self.log.commit(FileCreated(f"/{number}", 1, number + 1, 0)))

    async def on(self, work: Awaitable[object]) -> None:
        await self.simulation.on(self.world, work)  # type: ignore[arg-type]

    async def again(self, *, power_cut: bool = False) -> None:
        """Another life on this disk."""
        (self.simulation.power_cut if power_cut else self.simulation.kill)("master")
        self.simulation.restart("master")
        self.log = self._new()
        await self.on(self.log.recover())

    def names(self) -> int:
        return self.log.state.namespace.files

    async def wait(self) -> None:
        await self.world.clock.sleep(2 * DELAY_SECONDS)


def play(story: Callable[[Desk], Awaitable[None]], seed: int = 0, kind: type[OperationLog] = OperationLog) -> None:
    with Simulation(seed) as simulation:
        desk = Desk(simulation, kind)

        async def whole() -> None:
            await desk.begin()
            await story(desk)

        simulation.run(whole())


def rot_end(disk: SimulatedDisk, path: str, count: int = 40) -> None:
    size = len(disk.stored(path))
    disk.damage(path, size - count, bytes(count))


def test_the_damaged_end_of_a_log_is_refused_and_not_cut_off():
    async def story(desk: Desk) -> None:
        await desk.wait()
        rot_end(desk.disk, log_path(1))
        before = desk.disk.files()
        for _ in range(2):
            with pytest.raises(Corrupted, match="had been durable"):
                await desk.again()
        assert desk.disk.stored(log_path(1)) == before[log_path(1)]

    play(story)


@pytest.mark.parametrize("content", [b"", b"rot" * 6, bytes(16), encode_mark(2)])
def test_without_a_mark_the_frames_alone_decide(content: bytes):
    async def story(desk: Desk) -> None:
        await desk.wait()
        rot_end(desk.disk, log_path(1))
        desk.simulation.kill("master")
        desk.disk.load({**desk.disk.files(), PATH: content})
        await desk.again()
        assert desk.names() == RECORDS - 1

    play(story)


@pytest.mark.parametrize("fault", [ReadError(PATH), WriteError(PATH)])
def test_a_mark_that_cannot_be_read_or_written_hinders_nobody(fault: ReadError | WriteError):
    async def story(desk: Desk) -> None:
        desk.disk.impose(fault)
        await desk.again()
        await desk.on(desk.log.commit(FileCreated("/more", 1, 100, 0)))
        await desk.wait()
        await desk.again()
        assert desk.names() == RECORDS + 1

    play(story)


@pytest.mark.parametrize("seed", range(12))
def test_a_loss_of_power_never_makes_a_sound_log_look_damaged(seed: int):
    async def story(desk: Desk) -> None:
        for life in range(4):
            await desk.wait()
            writing = desk.world.spawn(desk.log.commit(FileCreated(f"/torn{life}", 1, 100 + life, 0)), "write")
            if seed % 2:
                await desk.world.clock.sleep(0.0002 * (seed // 2))
            await desk.again(power_cut=True)
            writing.cancel()
            assert desk.names() >= RECORDS
            await desk.on(desk.log.commit(FileCreated(f"/{life}-again", 1, 200 + life, 0)))

    play(story, seed)


def test_a_log_that_vanished_is_not_begun_anew():
    async def story(desk: Desk) -> None:
        await desk.wait()
        desk.simulation.kill("master")
        files = desk.disk.files()
        del files[log_path(1)]
        desk.disk.load(files)
        with pytest.raises(Corrupted, match="no log file is left"):
            await desk.again()

    play(story)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_log_that_is_cut_down_to_the_opening_of_its_newest_file_can_be_read_again(is_killed: bool):
    """A file with nothing but its opening counts for nothing when a log is read; the mark must not miss it then."""

    async def story(desk: Desk) -> None:
        await desk.wait()
        log, first = desk.log, desk.log.next_sequence
        assert isinstance(log, FollowedLog)
        opening, record = log._opening, encode(FileCreated("/more", 1, 100, 0))
        await desk.on(log.receive(first, [opening, record]))
        await desk.wait()
        await desk.on(log.cut(first))
        await desk.wait()
        if is_killed:
            await desk.again()
            log = desk.log
            assert isinstance(log, FollowedLog)
        assert log.last_sequence == first - 1, "the acting master sends the opening again"
        await desk.on(log.receive(first, [opening, record]))
        log.apply_through(first + 1)
        await desk.wait()
        await desk.again()
        assert desk.names() == RECORDS + 1

    play(story, kind=FollowedLog)


def test_what_is_cut_off_for_good_is_not_missed():
    async def story(desk: Desk) -> None:
        await desk.wait()
        last = desk.log.next_sequence - 1
        log = desk.log
        assert isinstance(log, FollowedLog)
        await desk.on(log.cut(last - 2))
        await desk.wait()
        await desk.again()
        assert desk.names() == RECORDS - 2
        log = desk.log
        assert isinstance(log, FollowedLog)
        await desk.on(log.begin_install())
        await desk.again()
        assert desk.names() == 0

    play(story, kind=FollowedLog)


def refuse_the_end(disk: SimulatedDisk, error: TabletopError) -> None:
    """The disk takes nothing any more at the present end of the first log, and all behind."""
    path = log_path(1)
    end = len(disk.stored(path))

    def hook(operation: Operation) -> TabletopError | None:
        is_there = operation.verb == "write" and operation.path == path and operation.offset + operation.count >= end
        return error if is_there else None

    disk.on_operation(hook)


@pytest.mark.parametrize("error", [DiskFailure("Input/output error"), NoSpace("No space left on device")])
def test_the_only_master_goes_on_in_another_log_if_the_end_of_this_one_cannot_be_written(error: TabletopError):
    async def story(desk: Desk) -> None:
        refuse_the_end(desk.disk, error)
        for life in range(2):
            await desk.again()
            await desk.on(desk.log.commit(FileCreated(f"/more{life}", 1, 100 + life, 0)))
        await desk.again(power_cut=True)
        assert desk.names() == RECORDS + 2

    play(story)


def test_one_of_several_masters_ends_instead_for_it_gives_no_numbers():
    async def story(desk: Desk) -> None:
        refuse_the_end(desk.disk, DiskFailure("Input/output error"))
        with pytest.raises(DiskFailure):
            await desk.again()

    play(story, kind=FollowedLog)


def test_a_checkpoint_that_the_disk_does_not_give_is_passed_over():
    async def story(desk: Desk) -> None:
        for number in range(2):
            await desk.on(desk.log.commit(FileCreated(f"/c{number}", 1, 100 + number, 0)))
            await desk.on(desk.log.checkpoint())
        newest = max(path for path in desk.disk.paths() if path.endswith(".checkpoint"))
        desk.disk.impose(ReadError(newest))
        await desk.again()
        assert desk.names() == RECORDS + 2 and "passed over" in desk.log.recovery_note

    play(story)


def test_the_lock_service_refuses_a_log_whose_end_is_damaged():
    with Simulation(0) as simulation:
        simulation.add_node("lock")

        async def again() -> LockLog:
            log = LockLog(simulation.world("lock"), LockServiceSettings(cluster="desk"))
            await simulation.on(simulation.world("lock"), log.recover())
            return log

        async def story() -> None:
            log = await again()
            await simulation.on(simulation.world("lock"), log.commit(EpochBegun(9)))
            await simulation.world("lock").clock.sleep(2 * DELAY_SECONDS)
            simulation.kill("lock")
            world = simulation.restart("lock")
            rot_end(world.simulated_disk, log_path(1), 20)
            with pytest.raises(Corrupted, match="had been durable"):
                await again()

        simulation.run(story())


def test_the_mark_rises_only_and_is_lowered_on_stable_storage():
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")

        async def story() -> None:
            mark = DurableMark(world)
            assert await mark.open() == 0
            for sequence in (3, 7, 5):
                mark.note(sequence)
            await mark.close()
            assert decode_mark(world.simulated_disk.stored(PATH)) == 7
            assert await mark.open() == 7
            await mark.lower(4)
            await mark.close()
            simulation.power_cut("desk")
            assert decode_mark(world.simulated_disk.stored(PATH)) in (0, 4)  # The name of a new file may be lost.

        simulation.run(simulation.on(world, story()))
