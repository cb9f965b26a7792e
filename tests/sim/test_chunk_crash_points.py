"""One story of a chunkserver's store, ended at every single operation on its disk (GFS 4.5, 5.2).

Everything that a store can do to a chunk happens once. The process is killed, or the machine loses power, before
operation number 1, 2, 3, ... until the story runs to its end; what `test_chunk_sessions.py` promises is compared with
all that the disk holds then, after one more loss of power, and after one more kill. A loss of power is tried with
several fates of the sectors and names that were not synced."""

import pytest

from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.opening import open_store
from runtime.simulated.world import SimulatedWorld, Simulation
from tests.sim.test_chunk_sessions import Replica, Server, ended
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES

FIRST, SECOND = 1, 2


class Story(Server):
    """The same changes each time."""

    has_ended = False

    async def session(self, world: SimulatedWorld, changes: int) -> None:
        """Look at everything; with `changes`, tell the story."""
        store = (await open_store(world, self.settings)).store
        for handle in list(self.possible):
            await self.look(world, store, handle)
        if changes:
            await self.tell(store)
            self.has_ended = True
        store.check_invariants()

    async def tell(self, store: ChunkStore) -> None:
        for handle in (FIRST, SECOND):
            self.possible[handle] = [None, Replica(1, b"")]
            await store.create(handle, version=1, capacity=CHUNK_BYTES)
            self.possible[handle] = [Replica(1, b"")]
        await self.write_at(store, FIRST, 0, b"a" * 700)
        await self.write_at(store, FIRST, 700, b"b" * 2 * BLOCK)
        await self.sync(store, FIRST)
        await self.write_at(store, FIRST, 300, b"c" * BLOCK)
        await self.write_at(store, FIRST, BLOCK + 5, b"d" * 2 * BLOCK)
        await self.write_at(store, FIRST, 4 * BLOCK, b"e" * 10)
        await self.raise_version(store, FIRST)
        await self.write_at(store, FIRST, 5, b"f" * 10)
        await self.sync(store, FIRST)
        await self.write_at(store, SECOND, 0, b"g" * 10)
        await self.copy_over(store, FIRST, self.now(FIRST), b"h" * (BLOCK + 9))
        await self.write_at(store, FIRST, BLOCK + 9, b"i" * 10)
        assert await store.check_metadata(FIRST)
        await self.remove(store, SECOND)

    def now(self, handle: int) -> Replica:
        (replica,) = self.possible[handle]
        assert replica is not None
        return replica

    async def write_at(self, store: ChunkStore, handle: int, offset: int, data: bytes) -> None:
        now = self.now(handle)
        after = now.with_write(offset, data)
        self.open[handle] = after.written[-1]
        self.possible[handle] = [now.with_range(after.written[-1]), after]
        await store.write(handle, version=now.version, offset=offset, data=memoryview(data))
        self.possible[handle] = [after]
        del self.open[handle]

    async def sync(self, store: ChunkStore, handle: int) -> None:
        await store.write_back(handle)
        self.possible[handle] = [self.now(handle).all_durable()]

    async def raise_version(self, store: ChunkStore, handle: int) -> None:
        await self.advance(store, handle, self.now(handle))

    async def remove(self, store: ChunkStore, handle: int) -> None:
        now = self.now(handle)
        self.possible[handle] = [now, None]
        await store.remove(handle, version=now.version)
        self.possible[handle] = [None]


async def live(story: Story, simulation: Simulation, end: str, at: int) -> None:
    """Tell the story until operation number `at`; then look, and look again after each kind of end."""
    for kind, changes, last in ((end, 1, at), ("power_cut", 0, 10**6), ("kill", 0, 10**6)):
        work = story.session(simulation.world("desk"), changes)
        await ended(simulation, work, last, getattr(simulation, kind))
        if kind == "power_cut":
            story.dark |= set(story.possible)
    await story.session(simulation.world("desk"), 0)


@pytest.mark.parametrize(("end", "seeds"), [("kill", 1), ("power_cut", 3)])
@pytest.mark.parametrize("durability", ["replicated", "fsync"])
def test_at_whatever_operation_the_story_ends_what_was_promised_is_there(durability: str, end: str, seeds: int):
    at, is_complete = 1, False
    while not is_complete:
        for seed in range(seeds):
            with Simulation(1000 * at + seed) as simulation:
                simulation.add_node("desk")
                story = Story(simulation, seed, durability)
                try:
                    simulation.run(live(story, simulation, end, at))
                except BaseException as error:
                    error.add_note(f"ended by {end} at operation {at}, seed {1000 * at + seed}")
                    raise
                is_complete = story.has_ended
        at += 1
    assert at > 100
