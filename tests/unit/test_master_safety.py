"""The protocol as a whole, under random faults: no acknowledged write is lost, and no two primaries can acknowledge.

A pretended writer keeps one file growing, one unit after the other: a unit is acknowledged only if the primary that the
writer was told of still holds its lease, and every secondary of that lease has applied it, perhaps much later.
Meanwhile chunkservers are killed, paused and restarted, lose their power and with it their last bytes, answers are
lost, reports are late, and the master loses its memory. Afterwards everything heals, and every replica that the master
calls current must have all that was acknowledged.
"""

import asyncio
import random

import pytest

from runtime.errors import TabletopError, Unavailable
from tests.unit.fake_chunkserver import FakeChunkserver
from tests.unit.master_fakes import Scene

LOST_WITH_POWER = 3  # units at most: what was written before is synced in the background


class Writer:
    def __init__(self, scene: Scene, path: str, chance: random.Random) -> None:
        self.scene, self.path, self.chance = scene, path, chance
        self.acknowledged: list[int] = []
        self.unit = 0
        self.handle = 0
        self.suspect = ""
        self.refused = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.01, 0.4))
            try:
                lease = await self.scene.lease(self.path, suspect=self.suspect, refused=self.refused, timeout=8)
            except TabletopError:
                continue
            self.handle = lease.handle
            self.suspect, self.refused = await self.mutate(lease)

    async def mutate(self, lease) -> tuple[str, int]:  # type: ignore[no-untyped-def]
        """Write one unit; returns who failed, if anybody did, or the lease that its primary disowned."""
        primary = self.scene.chunkservers[lease.primary.server]
        if not primary.can_be_reached:
            return primary.name, 0
        held = primary.leases.get(lease.handle)
        if held is None or held.version != lease.version or held.until <= asyncio.get_running_loop().time():
            return "", lease.version
        self.unit += 1
        offset, unit, secondaries = len(self.acknowledged), self.unit, held.secondaries
        if not apply(primary, lease.handle, lease.version, offset, unit):
            return primary.name, 0
        if lease.handle not in primary.extend:
            primary.extend.append(lease.handle)
        for name in secondaries:
            if self.chance.random() < 0.1:
                await asyncio.sleep(self.chance.uniform(0.0, 6.0))  # A message that is under way for long.
            secondary = self.scene.chunkservers[name]
            if not secondary.can_be_reached or not apply(secondary, lease.handle, lease.version, offset, unit):
                return name, 0
        self.acknowledged.append(unit)
        return "", 0


def apply(server: FakeChunkserver, handle: int, version: int, offset: int, unit: int) -> bool:
    """Apply one unit, unless the replica is of another version, unsure, or has missed something."""
    held = server.chunks.get(handle)
    if held is None or held.version != version or held.unsure or held.length < offset:
        return False
    units = held.content or ()
    server.write(handle, max(held.length, offset + 1), content=(*units[:offset], unit, *units[offset + 1 :]))
    return True


def able_to_acknowledge(scene: Scene, handle: int) -> list[str]:
    """Servers that believe in a lease, and whose secondaries would all follow them."""
    now = asyncio.get_running_loop().time()

    def is_at(name: str, version: int) -> bool:
        held = scene.chunkservers[name].chunks.get(handle)
        return held is not None and held.version == version and not held.unsure

    return [
        name
        for name, server in scene.chunkservers.items()
        if (lease := server.leases.get(handle)) is not None
        and lease.until > now
        and all(is_at(other, lease.version) for other in (name, *lease.secondaries))
    ]


def may_lose_power(scene: Scene, server: FakeChunkserver, writers: list[Writer]) -> bool:
    """Whether another replica that has not lost power has everything, so that nothing is given up."""
    return all(
        any(
            (held := other.chunks.get(writer.handle)) is not None
            and not held.unsure
            and list((held.content or ())[: len(writer.acknowledged)]) == writer.acknowledged
            and held.version >= scene.version(writer.handle)
            for other in scene.chunkservers.values()
            if other is not server
        )
        for writer in writers
        if writer.handle in server.chunks and writer.acknowledged
    )


async def cut_power(server: FakeChunkserver, chance: random.Random) -> None:
    await server.cut_power()
    for held in server.chunks.values():
        kept = max(0, held.length - chance.randrange(LOST_WITH_POWER + 1))
        held.length, held.content = kept, (held.content or ())[:kept]


async def trouble(scene: Scene, writers: list[Writer], chance: random.Random) -> None:
    """One fault, for a while."""
    server = scene.chunkservers[chance.choice(scene.names)]
    match chance.randrange(10):
        case 0:
            await server.kill()
            await asyncio.sleep(chance.uniform(0.1, 12))
            server.speak()
            await server.start()
        case 1 | 2 if may_lose_power(scene, server, writers):
            await cut_power(server, chance)
            await asyncio.sleep(chance.uniform(0.1, 12))
            server.speak()
            await server.start()
        case 3 | 4:
            server.silence(beating=chance.random() < 0.4)
            await asyncio.sleep(chance.uniform(0.5, 12))
            server.speak()
        case 5:
            await scene.restart_master()
            await asyncio.sleep(chance.uniform(0.5, 8))
        case 6:
            server.after_mishaps.append(Unavailable("the answer was lost"))
        case 7:
            server.mishaps.append(Unavailable("no"))
        case 8:
            server.report_delays += [chance.uniform(0.0, 4.0) for _ in range(5)]
        case 9:
            server.reply_losses += 1
    await asyncio.sleep(chance.uniform(0.1, 4))


@pytest.mark.parametrize("seed", range(30))
def test_under_random_faults_no_acknowledged_write_is_lost(seed: int) -> None:
    chance = random.Random(seed)

    async def story(scene: Scene) -> None:
        writers = [Writer(scene, f"/{number}", chance) for number in range(3)]
        for writer in writers:
            await scene.create(writer.path)
        tasks = [asyncio.create_task(writer.run()) for writer in writers]
        for server in scene.chunkservers.values():
            server.clone_seconds = chance.uniform(0.05, 2.0)
        for _ in range(25):
            await trouble(scene, writers, chance)
            for writer in writers:
                able = able_to_acknowledge(scene, writer.handle)
                assert len(able) <= 1, f"chunk {writer.handle:#x} has two primaries: {able}"
            scene.server.core.check_invariants()
        for task in tasks:
            task.cancel()
        for server in scene.chunkservers.values():
            server.extend.clear()
            server.speak()
        await asyncio.sleep(20)
        assert sum(len(writer.acknowledged) for writer in writers) > 50, "the faults left no room for any work"
        for writer in filter(lambda writer: writer.handle, writers):
            await scene.until(lambda writer=writer: len(scene.replicas(writer.handle)) == 3, 120)  # type: ignore[misc]
            for name in scene.replicas(writer.handle):
                held = scene.chunkservers[name].chunks[writer.handle]
                found = list((held.content or ())[: len(writer.acknowledged)])
                assert found == writer.acknowledged, f"{name} misses what was acknowledged (seed {seed})"
                chunk = scene.server.core.state.chunks.chunk(writer.handle)
                assert chunk.version <= held.version <= chunk.attempted, "a raise that failed may have reached it"
            await scene.until(lambda writer=writer: len(scene.holders(writer.handle)) == 3, 60)  # type: ignore[misc]
            await scene.until(lambda writer=writer: not scene.other_states(writer.handle), 60)  # type: ignore[misc]

    scene = Scene(chunkservers=5, lease_seconds=5.0, lease_wait_seconds=4.0, call_seconds=0.5)
    scene.play(story)
