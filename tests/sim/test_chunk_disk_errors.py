"""A chunkserver's store on a disk that fails now and then, and is left in the middle of things (GFS 5.2).

As in `test_chunk_sessions.py`, but some operations of each change fail. A change that failed was done, undone, or torn
so that the replica says that it is damaged. All that was acknowledged before is there; and what fails once does not
hinder what comes afterwards. A replica that is damaged, or unsure because of such a failure, is removed, as the master
would do that has better ones."""

import random
import re
from dataclasses import replace

import pytest

from chunkserver.storage.chunk_store import ChunkStore
from runtime.errors import Corrupted, DiskFailure
from runtime.faults.disk import Operation
from runtime.faults.undo import Undo
from runtime.simulated.world import SimulatedWorld, Simulation
from tests.sim.test_chunk_sessions import Server

SHARE = 0.03  # of the operations of a change that fail


class FailingServer(Server):
    """`hurt` are the chunks of whose files an operation failed since they were last looked at."""

    def __init__(self, simulation: Simulation, seed: int, durability: str) -> None:
        super().__init__(simulation, seed, durability)
        self.fate = random.Random(-seed)
        self.hurt: set[int] = set()
        self.errors = 0
        self.is_changing = False
        self.end_faults: Undo | None = None

    def fail(self, operation: Operation) -> DiskFailure | None:
        if not self.is_changing or self.fate.random() >= SHARE:
            return None
        self.errors += 1
        found = re.search("([0-9a-f]{16})", operation.path)
        self.hurt |= set(self.possible) if found is None else {int(found[1], 16)}  # A folder may be anybody's.
        return DiskFailure(f"cannot {operation.verb} {operation.path}: the test says so")

    async def session(self, world: SimulatedWorld, changes: int) -> None:
        self.is_changing = False
        if self.end_faults is not None:
            self.end_faults()
        self.end_faults = world.simulated_disk.on_operation(self.fail)
        await super().session(world, changes)

    async def look(self, world: SimulatedWorld, store: ChunkStore, handle: int) -> None:
        state = store.state(handle)
        if state is not None and handle in self.hurt and (state.is_unsure or state.is_damaged):
            await self.give_up(store, handle)
        else:
            await super().look(world, store, handle)
        self.hurt.discard(handle)

    async def change(self, world: SimulatedWorld, store: ChunkStore) -> None:
        self.is_changing = True
        try:
            await super().change(world, store)
        except (DiskFailure, Corrupted):
            self.is_changing = False
            for handle in [handle for handle, possible in self.possible.items() if possible != [None]]:
                await self.look_after_failure(world, store, handle)
        self.is_changing = False

    async def look_after_failure(self, world: SimulatedWorld, store: ChunkStore, handle: int) -> None:
        """Compare a replica with what it may be after a change that failed, and go on with what it is.

        What is half done is ended first, as a server does with its next heartbeat."""
        await store.finish(handle)
        assert handle not in store.unfinished()
        state = store.state(handle)
        if state is None:
            assert None in self.possible[handle], f"chunk {handle} is gone"
            return
        if state.is_damaged:
            assert handle in self.hurt
            await self.give_up(store, handle)
            return
        held = self.held(world, handle, state.length)
        choices = [one for one in self.possible[handle] if one is not None and one.version == state.version]
        explaining = [one for one in choices if self.explains(one, handle, held, has_lost_power=True)]
        assert explaining, f"chunk {handle} holds {len(held)} bytes at version {state.version} that nothing explains"
        if await self.is_readable(store, handle, held, may_be_torn=handle in self.open):
            self.possible[handle] = [replace(explaining[0], content=held)]
            self.open.pop(handle, None)
        else:
            await self.give_up(store, handle)

    async def give_up(self, store: ChunkStore, handle: int) -> None:
        self.possible[handle] = [*self.possible[handle], None]
        await store.remove(handle, version=10**6)
        self.possible[handle] = [None]
        self.open.pop(handle, None)


@pytest.mark.parametrize("durability", ["replicated", "fsync"])
def test_whatever_fails_nothing_that_was_acknowledged_is_lost_in_silence(durability: str):
    errors = 0
    for seed in range(150):
        with Simulation(seed) as simulation:
            simulation.add_node("desk")
            server = FailingServer(simulation, seed, durability)
            try:
                simulation.run(server.live())
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
            errors += server.errors
    assert errors > 300
