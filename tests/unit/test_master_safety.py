"""The protocol as a whole, under random faults: no acknowledged write is lost, no chunk has two primaries.

A pretended writer keeps one file growing: a mutation is acknowledged only if the primary that it was told of still
holds its lease and every secondary of that lease has applied it. Meanwhile chunkservers are killed, paused and
restarted, answers are lost, and the master loses its memory. Afterwards everything heals, and every replica that the
master calls current must have all that was acknowledged.
"""

import asyncio
import random

import pytest

from runtime.errors import TabletopError, Unavailable
from tests.unit.master_fakes import FakeChunkserver, Scene


class Writer:
    def __init__(self, scene: Scene, path: str, chance: random.Random) -> None:
        self.scene, self.path, self.chance = scene, path, chance
        self.acknowledged = 0
        self.written = 0
        self.handle = 0
        self.suspect = ""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.01, 0.4))
            try:
                lease = await self.scene.lease(self.path, suspect=self.suspect, timeout=5)
                self.handle = lease.handle
                self.suspect = self.mutate(lease)
            except TabletopError:
                continue

    def mutate(self, lease) -> str:  # type: ignore[no-untyped-def]
        """Write once; returns who failed, if anybody did."""
        primary = self.scene.chunkservers[lease.primary.server]
        version, end, secondaries = primary.leases.get(lease.handle, (0, 0.0, ()))
        now = asyncio.get_running_loop().time()
        if not primary.can_be_reached or version != lease.version or end <= now:
            return primary.name
        self.written += 1
        grow(primary, lease.handle, self.written)
        for name in secondaries:
            secondary = self.scene.chunkservers[name]
            if not secondary.can_be_reached or secondary.chunks.get(lease.handle, (0, 0))[0] != lease.version:
                return name
            grow(secondary, lease.handle, self.written)
        self.acknowledged = self.written
        return ""


def grow(server: FakeChunkserver, handle: int, length: int) -> None:
    server.write(handle, length)
    if handle not in server.extend:
        server.extend.append(handle)


def primaries(scene: Scene, handle: int) -> list[str]:
    """Servers that believe in a lease, and hold a version at which somebody would follow them."""
    now = asyncio.get_running_loop().time()
    return [
        name
        for name, server in scene.chunkservers.items()
        if handle in server.leases
        and server.leases[handle][1] > now
        and server.version(handle) == server.leases[handle][0]
    ]


async def trouble(scene: Scene, chance: random.Random) -> None:
    """One fault, for a while."""
    server = scene.chunkservers[chance.choice(scene.names)]
    match chance.randrange(7):
        case 0 | 1:
            await server.kill()
            await asyncio.sleep(chance.uniform(0.1, 12))
            server.speak()
            await server.start()
        case 2 | 3:
            server.silence(beating=chance.random() < 0.4)
            await asyncio.sleep(chance.uniform(0.5, 12))
            server.speak()
        case 4:
            await scene.restart_master()
            await asyncio.sleep(chance.uniform(0.5, 8))
        case 5:
            server.after_mishaps.append(Unavailable("the answer was lost"))
        case 6:
            server.mishaps.append(Unavailable("no"))
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
            await trouble(scene, chance)
            for writer in writers:
                assert len(primaries(scene, writer.handle)) <= 1, f"chunk {writer.handle:#x} has two primaries"
            scene.server.core.check_invariants()
        for task in tasks:
            task.cancel()
        for server in scene.chunkservers.values():
            server.extend.clear()
        await asyncio.sleep(20)
        assert sum(writer.acknowledged for writer in writers) > 50, "the faults left no room for any work"
        for writer in writers:
            if writer.handle:
                await scene.until(lambda writer=writer: len(scene.replicas(writer.handle)) == 3, 120)  # type: ignore[misc]
                for name in scene.replicas(writer.handle):
                    version, length = scene.chunkservers[name].chunks[writer.handle]
                    assert length >= writer.acknowledged, f"{name} misses what was acknowledged (seed {seed})"
                    assert version == scene.server.core.state.chunks.version(writer.handle)

    scene = Scene(chunkservers=5, lease_seconds=5.0, lease_wait_seconds=4.0, call_seconds=0.5)
    scene.play(story)
