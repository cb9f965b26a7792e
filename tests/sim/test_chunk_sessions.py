"""A chunkserver's store on a disk that is left in the middle of things, again and again (GFS 4.5, 5.2).

A session opens the store, changes some chunks, and is killed or loses its power at some operation on its disk, the
opening's own among them. Afterwards all disks are in view, and this must hold:

    always             a chunk that was created is there, at the version that was answered or one that was asked for;
                       one whose removal was answered is not
    after a kill       what was acknowledged is there; of the one change under way, each block is old or new
    "fsync"            the same after a loss of power, except that a block under that change may be torn: then the
                       replica is unsure, and all bytes are intact that the change does not write
    "replicated"       after a loss of power every replica is unsure, and all bytes are intact that were made durable
                       (by a creation, a new version, a comparison, a copy or the background sync) and not written to
                       since

Then an unsure replica is admitted, as the master would do that has nothing to compare it with, and the story goes on.
"""

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import crc32c
import pytest

from chunkserver.storage.chunk_files import data_path
from chunkserver.storage.chunk_format import TABLE_OFFSET, Header, encode_entries, encode_slots, with_table
from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.headers import rewritten
from chunkserver.storage.opening import open_store
from chunkserver.storage.placing import incoming_path
from runtime.errors import Corrupted, Unavailable
from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, settings

SESSIONS, CHANGES = 10, 8
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Replica:
    """What a chunk may hold: what was acknowledged, what was durable before that, and what was written to since."""

    version: int
    content: bytes
    durable: bytes = b""
    written: tuple[Range, ...] = ()

    def with_write(self, offset: int, data: bytes) -> "Replica":
        before = self.content[:offset].ljust(offset, b"\0")
        content = before + data + self.content[offset + len(data) :]
        return replace(self.with_range((min(offset, len(self.content)), offset + len(data))), content=content)

    def with_range(self, span: Range) -> "Replica":
        return replace(self, written=(*self.written, span))

    def all_durable(self) -> "Replica":
        return replace(self, durable=self.content, written=())

    def explains_after_loss(self, held: bytes) -> bool:
        """Whether the durable bytes are there that were not written to since."""
        if len(held) < len(self.durable):
            return False
        differs = bytearray(left != right for left, right in zip(held, self.durable, strict=False))
        for begin, end in self.written:
            end = min(end, len(differs))
            differs[begin:end] = bytes(max(0, end - begin))
        return not any(differs)


class Server:
    """For each chunk what it may hold; None for no chunk. `open` is the range of the write under way; `dark` are the
    chunks that were not looked at since a loss of power, `unsettled` those whose admission was not answered."""

    def __init__(self, simulation: Simulation, seed: int, durability: str) -> None:
        self.simulation = simulation
        self.chance = random.Random(seed)
        self.is_replicated = durability == "replicated"
        self.settings = settings(durability=durability)
        self.possible: dict[int, list[Replica | None]] = {}
        self.open: dict[int, Range] = {}
        self.dark: set[int] = set()
        self.unsettled: set[int] = set()
        self.seen = {"torn": 0, "lost bytes": 0, "unsure though synced": 0, "admitted": 0}

    async def session(self, world: SimulatedWorld, changes: int) -> None:
        """One session, to its end unless it is ended."""
        store = (await open_store(world, self.settings)).store
        store.check_invariants()
        for handle in list(self.possible):
            await self.look(world, store, handle)
        for _ in range(changes):
            await self.change(world, store)
            store.check_invariants()

    # Looking

    async def look(self, world: SimulatedWorld, store: ChunkStore, handle: int) -> None:
        """Compare a replica with what it may be, and go on with what it is."""
        state = store.state(handle)
        if state is None:
            assert None in self.possible[handle], f"chunk {handle} is gone"
            self.possible[handle] = [None]
            return
        choices = [one for one in self.possible[handle] if one is not None and one.version == state.version]
        assert choices, f"chunk {handle} is at version {state.version}, expected one of {self.possible[handle]}"
        held = self.held(world, handle, state.length)
        has_lost_power = handle in self.dark
        if has_lost_power and self.is_replicated:
            assert state.is_unsure, f"chunk {handle} has lost power and does not know it"
            explaining = [one for one in choices if one.explains_after_loss(held)]
            self.seen["lost bytes"] += all(one.content != held for one in choices)
        else:
            assert not state.is_unsure or has_lost_power or handle in self.unsettled, f"chunk {handle} is unsure"
            explaining = [one for one in choices if self.explains(one, handle, held, has_lost_power=has_lost_power)]
            if state.is_unsure and has_lost_power:
                await self.judge_torn(store, handle, held)
        assert explaining, f"chunk {handle} holds {len(held)} bytes that nothing explains"
        here = replace(explaining[-1], content=held)
        if state.is_unsure:
            self.dark.discard(handle)
            self.open.pop(handle, None)
            await self.admit(store, handle, here)
            return
        self.possible[handle] = [here]
        self.unsettled.discard(handle)
        assert await self.is_readable(store, handle, held, may_be_torn=False)
        self.dark.discard(handle)
        self.open.pop(handle, None)

    async def judge_torn(self, store: ChunkStore, handle: int, held: bytes) -> None:
        """Doubtful blocks of a replica that is unsure although everything is synced: the open write has torn them."""
        doubtful = (await store.compare(handle)).doubtful_blocks
        self.seen["unsure though synced"] += 1
        self.seen["torn"] += doubtful
        if doubtful:
            begin, end = self.open[handle]
            assert doubtful <= -(-min(end, len(held)) // BLOCK) - begin // BLOCK

    def explains(self, one: Replica, handle: int, held: bytes, *, has_lost_power: bool) -> bool:
        """Whether everything is there that was acknowledged; a write under way was done, undone, or torn by a loss of
        power."""
        if not has_lost_power or handle not in self.open:
            return held == one.content
        begin, end = self.open[handle]
        return len(held) == len(one.content) and held[:begin] + held[end:] == one.content[:begin] + one.content[end:]

    def held(self, world: SimulatedWorld, handle: int, length: int) -> bytes:
        """What the disk holds."""
        path, disk = data_path(handle), world.simulated_disk
        content = bytes(disk.content(path).cached) if path in disk.paths() else b""
        return content[:length].ljust(length, b"\0")

    async def is_readable(self, store: ChunkStore, handle: int, held: bytes, *, may_be_torn: bool) -> bool:
        """Read every block; False if the write under way has torn one."""
        is_whole = True
        for block in range(-(-len(held) // BLOCK)):
            try:
                await store.verify(handle, offset=block * BLOCK, count=BLOCK)
            except Corrupted:
                begin, end = self.open.get(handle, (0, 0))
                assert may_be_torn and begin < (block + 1) * BLOCK and block * BLOCK < end, f"block {block} of {handle}"
                is_whole = False
        return is_whole

    async def admit(self, store: ChunkStore, handle: int, here: Replica) -> None:
        """What the master does with an unsure replica that it has nothing to compare with."""
        here = here.all_durable()
        self.unsettled.add(handle)
        self.possible[handle] = [here]
        with pytest.raises(Unavailable):
            await store.verify(handle, offset=0, count=BLOCK)
        before = await store.compare(handle)
        if self.chance.random() < 0.5:
            here = await self.advance(store, handle, here)
            assert store.state(handle).is_unsure
        await store.admit(handle, version=here.version)
        assert (await store.compare(handle)).digest == before.digest
        assert await self.is_readable(store, handle, here.content, may_be_torn=False)
        self.unsettled.discard(handle)
        self.seen["admitted"] += 1

    # Changing

    async def change(self, world: SimulatedWorld, store: ChunkStore) -> None:
        """One change, answered."""
        chance = self.chance
        here = [handle for handle in self.possible if store.state(handle) is not None]
        if not here or chance.random() < 0.2:
            handle = len(self.possible) + 1
            self.possible[handle] = [None, Replica(1, b"")]
            await store.create(handle, version=1, capacity=CHUNK_BYTES)
            self.possible[handle] = [Replica(1, b"")]
            return
        handle = chance.choice(here)
        (now,) = self.possible[handle]
        assert now is not None
        kind = chance.choice(["write"] * 6 + ["advance", "sync", "sync", "remove", "copy", "check"])
        if kind == "write":
            await self.write(store, handle, now)
        elif kind == "advance":
            await self.advance(store, handle, now)
        elif kind == "sync":
            await store.write_back(handle)
            self.possible[handle] = [now.all_durable()]
        elif kind == "check":
            assert await store.check_metadata(handle), "nothing is wrong with it"
        elif kind == "remove":
            self.possible[handle] = [now, None]
            await store.remove(handle, version=now.version)
            self.possible[handle] = [None]
        else:
            await self.copy_over(store, handle, now, chance.randbytes(chance.randrange(2 * BLOCK)))

    async def write(self, store: ChunkStore, handle: int, now: Replica) -> None:
        length = len(now.content)
        offset = min(self.chance.choice((length, self.chance.randrange(length + 9))), CHUNK_BYTES // 2)
        data = self.chance.randbytes(self.chance.choice((9, 700, self.chance.randrange(1, 2 * BLOCK))))
        after = now.with_write(offset, data)
        self.open[handle] = after.written[-1]
        self.possible[handle] = [now.with_range(after.written[-1]), after]
        await store.write(handle, version=now.version, offset=offset, data=memoryview(data), reach=length)
        self.possible[handle] = [after]
        del self.open[handle]

    async def advance(self, store: ChunkStore, handle: int, now: Replica) -> Replica:
        after = replace(now.all_durable(), version=now.version + self.chance.randrange(1, 3))
        self.possible[handle] = [now, after]
        await store.advance(handle, from_version=now.version, to_version=after.version)
        self.possible[handle] = [after]
        return after

    async def copy_over(self, store: ChunkStore, handle: int, now: Replica, content: bytes) -> None:
        """Replace the replica by a copy with a newer version, as a clone does; its bytes come from elsewhere."""
        disk, version = self.simulation.world("desk").disk, now.version + 1
        checksums = [crc32c.crc32c(content[at : at + BLOCK]) for at in range(0, len(content), BLOCK)]
        writer = store.writer
        empty = Header(1, handle, writer.boot, version, 0, CHUNK_BYTES, is_synced=writer.syncs)
        header = with_table(rewritten(empty, len(content), 0, checksums), checksums)
        metadata = encode_slots(header) + encode_entries(checksums[: header.entries_count])
        assert len(encode_slots(header)) == TABLE_OFFSET
        after = Replica(version, content).all_durable()
        self.possible[handle] = [now, after]
        await store.placing.begin_copy()
        for kind, part in (("data", content), ("draft", metadata)):
            file = await disk.open(incoming_path(handle, kind), "replace")
            await file.write_at(0, part)
            await file.sync()
            await file.close()
        await store.install(header)
        self.possible[handle] = [after]

    async def live(self) -> None:
        """All sessions; at their end the node is killed or loses its power."""
        for _ in range(SESSIONS):
            end = self.chance.choice((self.simulation.kill, self.simulation.kill, self.simulation.power_cut))
            world = self.simulation.world("desk")
            await ended(self.simulation, self.session(world, CHANGES), self.chance.randrange(1, 100), end)
            if end == self.simulation.power_cut:
                self.dark |= set(self.possible)
        await self.session(self.simulation.world("desk"), 0)


@pytest.mark.parametrize("durability", ["replicated", "fsync"])
@pytest.mark.parametrize("first_seed", [100, 200])
def test_whatever_ends_a_session_the_next_one_has_what_was_promised(durability: str, first_seed: int):
    seen: dict[str, int] = {}
    for seed in range(first_seed, first_seed + 100):
        with Simulation(seed) as simulation:
            simulation.add_node("desk")
            server = Server(simulation, seed, durability)
            try:
                simulation.run(server.live())
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
            seen = {name: seen.get(name, 0) + count for name, count in server.seen.items()}
    expected = ["admitted", "lost bytes"] if durability == "replicated" else ["torn"]
    assert all(seen[name] for name in expected), f"the test has not tried hard enough: {seen}"


async def ended(simulation: Simulation, work: Coroutine[Any, Any, Any], last: int, end: Callable[[str], None]) -> None:
    """Run `work` on the node until its operation number `last` from here, and end the node; then restart it."""
    world = simulation.world("desk")
    end_at = world.simulated_disk.operations + last

    def hook(operation: Operation) -> None:
        if operation.number == end_at:
            end("desk")

    undo = world.simulated_disk.on_operation(hook)
    task = world.spawn(work, "session")
    while world.life.alive and not task.done():
        await world.clock.sleep(0.01)
    undo()
    if task.done():
        task.result()
        end("desk")
    simulation.restart("desk")


async def opened(simulation: Simulation) -> ChunkStore:
    world = simulation.world("desk")
    return (await simulation.on(world, open_store(world, settings(durability="fsync")))).store


def test_a_store_that_is_killed_and_then_loses_power_while_it_is_begun_can_still_be_begun():
    async def story(simulation: Simulation, killed_at: int, cut_at: int) -> None:
        simulation.add_node("desk")
        await ended(simulation, opened(simulation), killed_at, simulation.kill)
        await ended(simulation, opened(simulation), cut_at, simulation.power_cut)
        assert len(await opened(simulation)) == 0

    for killed_at in range(1, 30):
        for cut_at in range(1, 24):
            with Simulation(killed_at * 100 + cut_at) as simulation:
                simulation.run(story(simulation, killed_at, cut_at))
