"""A tablet that is opened often and written a little each time, and whose sessions end as they may (BT 5.3).

A session opens the tablet, looks, perhaps writes and flushes, and is closed, killed or loses its power at some
operation on its disk, the opening's own among them. What an opening finds is what the first so many writes made: all
that were answered, unless the power went and nobody had promised otherwise; and what one opening has found, no later
one is without. A session that only looks, after another that did, leaves every file as it was.
"""

import random
from dataclasses import replace

import pytest

from runtime.faults.disk import Operation as DiskOperation
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.model.operations import DeleteRow, Operation, SetCell
from tablet.engine.world.options import Options, PolicySettings, SyncMode
from tablet.engine.world.storage import DiskStorage
from tests.sim.tablet_files import check_swept

OPTIONS = Options(memtable_bytes=1500, policy_settings=PolicySettings(fan_in=2))
SESSIONS, ROWS = 14, 5
HUGE = 2**30

Rows = dict[bytes, bytes]


class Tablet:
    """What was written, session after session. `states[n]` is what the first n writes since the last opening make."""

    def __init__(self, simulation: Simulation, seed: int, sync: SyncMode) -> None:
        self.simulation = simulation
        self.chance = random.Random(seed)
        self.options = replace(OPTIONS, sync=sync)
        self.states: list[Rows] = [{}]
        self.answered = 0
        self.written = 0
        self.lost = 0

    async def session(self, world: SimulatedWorld, *, writes: int) -> bool:
        """One session, to its end unless it is ended; whether it has only looked."""
        await world.disk.make_directory("t")
        options = replace(self.options, flush_on_close_bytes=self.chance.choice((0, HUGE)) if writes else HUGE)
        engine = await Engine.open(DiskStorage(world.disk, "t"), world, options)
        engine.check_invariants()
        await check_swept(engine)
        is_new = not engine.schema.families
        if is_new:
            await engine.create_family("f")
        await self.look(engine)
        for _ in range(writes):
            await self.write(engine)
        await engine.close()
        return not writes and not is_new

    async def look(self, engine: Engine) -> None:
        """Compare, and begin again with what is there: the opening has made it durable."""
        found = {row.key: row.value("f:a") or b"" async for row in engine.scan()}
        assert found in self.states[self.answered :], f"{len(self.states)} states, {self.answered} answered"
        self.lost += found != self.states[-1]
        self.states, self.answered = [found], 0

    async def write(self, engine: Engine) -> None:
        self.written += 1
        row, value = b"row%d" % self.chance.randrange(ROWS), b"%d" % self.written + b"x" * 150
        operation: Operation = DeleteRow() if self.chance.random() < 0.2 else SetCell(b"f:a", value, self.written)
        after = {**self.states[-1], row: value}
        if isinstance(operation, DeleteRow):
            del after[row]
        self.states.append(after)
        await engine.write(row, [operation])
        self.answered = len(self.states) - 1
        if self.chance.random() < 0.2:
            await engine.flush()
        while self.chance.random() < 0.5 and await engine.do_some_housework():
            pass

    async def live(self) -> None:
        """All sessions; some in which nothing is written, and some that are ended."""
        world, before = self.simulation.world("desk"), None
        for _ in range(SESSIONS):
            disk, chance = world.simulated_disk, self.chance
            end = chance.choice((None, self.simulation.kill, self.simulation.power_cut))
            last = disk.operations + chance.randrange(2, 60)

            def hook(operation: DiskOperation, end=end, last=last) -> None:
                if operation.number == last and end is not None:
                    end("desk")

            forget = disk.on_operation(hook)
            writes = chance.choice((0, 0, 1, 2, 12))
            task = world.spawn(self.session(world, writes=writes), "session")
            while world.life.alive and not task.done():
                await world.clock.sleep(0.01)
            forget()
            if task.done():
                has_looked = task.result()
                assert before is None or not has_looked or contents(disk) == before
                before = contents(disk) if has_looked else None
            elif end == self.simulation.power_cut and self.options.sync == "os":
                self.answered = 0
            if not world.life.alive:
                before = None
                world = self.simulation.restart("desk")
        await self.session(world, writes=0)


def contents(disk: SimulatedDisk) -> Rows:
    return {path.encode(): bytes(disk.content(path).cached) for path in disk.paths()}


@pytest.mark.parametrize("sync", ["fsync", "os"])
def test_whatever_ends_a_session_the_next_one_continues_with_what_it_had(sync: SyncMode):
    lost = 0
    for seed in range(150):
        with Simulation(seed) as simulation:
            simulation.add_node("desk")
            tablet = Tablet(simulation, seed, sync)
            try:
                simulation.run(tablet.live())
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
            lost += tablet.lost
    assert lost, "no power cut took anything that had not been promised: the test has not tried hard enough"
