"""A chunkserver's store that syncs, on a disk that is left in the middle of things, again and again (GFS 5.2).

A session opens the store, changes some chunks, and is killed or loses its power at some operation on its disk, the
opening's own among them. Whatever was answered in any session is there, block by block; of the one change that was
under way, a block is old or new, or was torn and says so when it is read; that chunk is left alone from there on.
"""

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from chunkserver.chunk_store import ChunkStore
from chunkserver.opening import open_store
from runtime.errors import Corrupted
from runtime.simulated.disk_faults import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, settings

SESSIONS, CHANGES = 10, 6


@dataclass(frozen=True, slots=True)
class Replica:
    """What a chunk holds."""

    version: int
    data: bytes

    def written(self, offset: int, data: bytes) -> "Replica":
        """With `data` at `offset`."""
        before = self.data[:offset].ljust(offset, b"\0")
        return Replica(self.version, before + data + self.data[offset + len(data) :])

    def block(self, number: int) -> bytes:
        """The bytes of one block."""
        return self.data[number * BLOCK : (number + 1) * BLOCK]


class Server:
    """For each chunk what it may hold: what was answered last, and what changes since then would have made of it; None
    for no chunk. `present`: what it does hold, as far as it can be read."""

    def __init__(self, simulation: Simulation, seed: int) -> None:
        self.simulation = simulation
        self.chance = random.Random(seed)
        self.possible: dict[int, list[Replica | None]] = {}
        self.present: dict[int, Replica] = {}
        self.torn: set[int] = set()

    async def session(self, world: SimulatedWorld, changes: int) -> None:
        """One session, to its end unless it is ended."""
        store = await open_store(world, settings(durability="fsync"))
        store.check_invariants()
        self.present = {}
        for handle, possible in self.possible.items():
            await self.look(store, handle, [choice for choice in possible if choice is not None])
        for _ in range(changes):
            await self.change(store)

    async def look(self, store: ChunkStore, handle: int, choices: list[Replica]) -> None:
        """Compare a chunk, block by block, with what it may be."""
        state = store.state(handle)
        if state is None:
            assert None in self.possible[handle], f"chunk {handle} is gone"
            return
        assert (state.version, state.length) in [(choice.version, len(choice.data)) for choice in choices], handle
        parts: list[bytes] = []
        for number in range(-(-state.length // BLOCK)):
            offset, count = number * BLOCK, min(BLOCK, state.length - number * BLOCK)
            wanted = {choice.block(number)[:count] for choice in choices}
            try:
                await store.verify(handle, offset=offset, count=count)
            except Corrupted:
                assert len(wanted) > 1, f"block {number} of chunk {handle} is damaged"
                self.torn.add(handle)
                return
            async with store.reading(handle, least_version=0, offset=offset, count=count) as found:
                parts.append(await found.file.read_at(offset, count))
            assert parts[-1] in wanted, f"block {number} of chunk {handle}"
        self.present[handle] = Replica(state.version, b"".join(parts))

    async def change(self, store: ChunkStore) -> None:
        """One change, answered."""
        chance = self.chance
        if not self.present or chance.random() < 0.2:
            handle, after = len(self.possible) + 1, Replica(1, b"")
            self.possible[handle] = [None, after]
            await store.create(handle, version=1, capacity=CHUNK_BYTES)
        else:
            handle = chance.choice(list(self.present))
            before = self.present[handle]
            if chance.random() < 0.2:
                after = Replica(before.version + 1, before.data)
                self.possible[handle].append(after)
                await store.advance(handle, from_version=before.version, to_version=after.version)
            else:
                length = len(before.data)
                offset = min(chance.choice((length, chance.randrange(length + 9))), CHUNK_BYTES // 2)
                data = chance.randbytes(chance.randrange(1, 2 * BLOCK))
                after = before.written(offset, data)
                self.possible[handle].append(after)
                await store.write(handle, version=before.version, offset=offset, data=memoryview(data))
        self.possible[handle] = [after]
        self.present[handle] = after

    async def live(self) -> None:
        """All sessions; at their end the node is killed or loses its power."""
        for _ in range(SESSIONS):
            end = self.chance.choice((self.simulation.kill, self.simulation.kill, self.simulation.power_cut))
            world = self.simulation.world("desk")
            await ended(self.simulation, self.session(world, CHANGES), self.chance.randrange(1, 60), end)
        await self.session(self.simulation.world("desk"), 0)


@pytest.mark.parametrize("first_seed", [0, 100])
def test_whatever_ends_a_session_the_next_one_has_what_was_answered(first_seed: int):
    torn = 0
    for seed in range(first_seed, first_seed + 100):
        with Simulation(seed) as simulation:
            simulation.add_node("desk")
            server = Server(simulation, seed)
            try:
                simulation.run(server.live())
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
            torn += len(server.torn)
    assert torn, "no write was torn: the test has not tried hard enough"


async def ended(simulation: Simulation, work: Coroutine[Any, Any, Any], last: int, end: Callable[[str], None]) -> None:
    """Run `work` on the node until its operation number `last` from here, and end the node; then restart it."""
    world = simulation.world("desk")
    end_at = world.simulated_disk.operations + last

    def hook(operation: Operation) -> None:
        if operation.number == end_at:
            end("desk")

    forget = world.simulated_disk.on_operation(hook)
    task = world.spawn(work, "session")
    while world.life.alive and not task.done():
        await world.clock.sleep(0.01)
    forget()
    if task.done():
        task.result()
        end("desk")
    simulation.restart("desk")


async def opened(simulation: Simulation) -> ChunkStore:
    world = simulation.world("desk")
    return await simulation.on(world, open_store(world, settings(durability="fsync")))


def test_a_store_that_is_killed_and_then_loses_power_while_it_is_begun_can_still_be_begun():
    async def story(simulation: Simulation, killed_at: int, cut_at: int) -> None:
        simulation.add_node("desk")
        await ended(simulation, opened(simulation), killed_at, simulation.kill)
        await ended(simulation, opened(simulation), cut_at, simulation.power_cut)
        assert len(await opened(simulation)) == 0

    for killed_at in range(1, 14):
        for cut_at in range(1, 10):
            with Simulation(killed_at * 100 + cut_at) as simulation:
                simulation.run(story(simulation, killed_at, cut_at))
