"""A partition and a slow clock leave a primary that does not know that it is none any more (GFS 3.1, 4.5).

The primary of a chunk is cut off from the master, and a client still reaches it. The master gives the server up, makes
another one the primary, and another client writes there. Are there two primaries now? For a while both believe it, all
the longer if the clock of the old one loses time, and that must not matter: the new primary's version is higher, and
the replicas refuse what the old one orders under its own. Leases are about order and speed; versions are about safety.

The judges of leases, contents and regions prove it: no version has two primaries, and each acknowledged write is there.
A clock that runs wrong is a fault of the simulated world.
"""

import asyncio
import contextlib

from cluster.faultplan import ClockDrift, Partition, TheMaster, ThePrimary
from cluster.scenarios import chance, check, eventually, recorded, scenario
from runtime.errors import TabletopError


@scenario(chunkservers=5, clients=2, lease_seconds=6.0)
async def a_partition_leaves_one_primary(cluster, seed):
    """The primary is cut off from the master while its clock loses time: only one of two primaries is obeyed."""
    dice, alice, bob = chance(seed), recorded(cluster), recorded(cluster)
    await alice.write_file("/a", 100_000)
    of_alice = await alice.open("/a", "r+b")
    await of_alice.pwrite(0, 1000)
    old = await primary(cluster)

    # Its clock loses up to a fifth, so that its lease seems to last longer to it than to the master.
    slow = dice.between(0.0, -0.2)
    await cluster.impose(ClockDrift(slow), ThePrimary("/a", 0))
    await cluster.impose(Partition(TheMaster()), ThePrimary("/a", 0), seconds=60)

    async def write_at(file, begin, each):
        """Write again and again for twenty seconds; returns the last bytes that were acknowledged."""
        last = b""
        for _ in range(10):
            with contextlib.suppress(TabletopError):  # In doubt, or refused: the judges know which.
                last = await file.pwrite(begin, each)
            await asyncio.sleep(2.0)
        return last

    # Alice knows the old primary and stays with it as long as it answers. Bob writes elsewhere, once there is a new
    # one.
    async def bob_writes():
        await asyncio.sleep(8.0)
        async with await bob.open("/a", "r+b") as file:
            return await write_at(file, 50_000, 1000)

    by_alice, by_bob = await asyncio.gather(write_at(of_alice, 0, 1000), bob_writes())
    new = await primary(cluster)
    check(new and new != old, f"the master has made another server the primary: it was {old}, and is {new}")
    await cluster.heal()

    async def whole():
        found = await bob.read_file("/a")
        return found[:1000] == by_alice and found[50_000:51_000] == by_bob

    await eventually(whole, "the last acknowledged writes of both are read back")
    await of_alice.close()


async def primary(cluster):
    """Who has the lease on the only chunk, as far as the master says."""
    [chunk] = (await cluster.status(chunks=True)).chunks
    return chunk.primary
