"""A master's operation log on a disk that is left in the middle of things, again and again (GFS 2.6.3).

A session recovers the state, commits some records, perhaps writes a checkpoint, and is killed or loses its power at
some operation on its disk, the recovery's own among them. A killed process leaves what it did; the power cut that
follows later may still undo it. Each recovery must find every record that was acknowledged, in whichever session.
"""

import random

import pytest

from master.log.operation_log import OperationLog
from master.log.records import FileCreated, HandlesReserved
from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation

SESSIONS = 12
NUMBERS = 10_000  # of files in one life, at most


class Master:
    """What was acknowledged; of the others, the last one of a session may be there or not."""

    def __init__(self, simulation: Simulation, seed: int) -> None:
        self.simulation = simulation
        self.chance = random.Random(seed)
        self.acknowledged: list[str] = []
        self.perhaps: set[str] = set()
        self.number = 0

    async def session(self, world: SimulatedWorld, records: int) -> None:
        """One session, to its end unless it is ended."""
        log = OperationLog(world, cluster="t", checkpoint_log_bytes=2**30)
        await log.recover()
        log.state.check_invariants()
        found = [path for path, _ in log.state.namespace.children("/", after="", limit=10_000)]
        assert [path for path in found if path not in self.perhaps] == self.acknowledged
        self.acknowledged, self.perhaps = found, set()
        if records and log.state.handle_limit < NUMBERS:
            await log.commit(HandlesReserved(NUMBERS))
        for _ in range(records):
            self.number += 1
            path = f"/{self.number:05}"
            self.perhaps.add(path)
            await log.commit(FileCreated(path, 1, 1, self.number))
            self.perhaps.remove(path)
            self.acknowledged.append(path)
            if self.chance.random() < 0.2:
                await log.checkpoint()

    async def live(self) -> None:
        """All sessions; at their end the node is killed or loses its power."""
        chance = self.chance
        world = self.simulation.world("desk")
        for _ in range(SESSIONS):
            disk = world.simulated_disk
            end = chance.choice((self.simulation.kill, self.simulation.kill, self.simulation.power_cut))
            last = disk.operations + chance.randrange(1, 40)

            def hook(operation: Operation, end=end, last=last) -> None:
                if operation.number == last:
                    end("desk")

            forget = disk.on_operation(hook)
            task = world.spawn(self.session(world, chance.choice((0, 1, 3, 10))), "session")
            while world.life.alive and not task.done():
                await world.clock.sleep(0.01)
            forget()
            if task.done():
                task.result()
            if world.life.alive:
                end("desk")
            world = self.simulation.restart("desk")
        await self.session(world, 0)


@pytest.mark.parametrize("first_seed", [0, 100])
def test_whatever_ends_a_session_the_next_one_knows_what_was_acknowledged(first_seed: int):
    for seed in range(first_seed, first_seed + 100):
        with Simulation(seed) as simulation:
            simulation.add_node("desk")
            try:
                simulation.run(Master(simulation, seed).live())
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
