"""The primary dies in the middle of a write (GFS 3.1).

A write is applied by the primary first, and then by the others in the order that it chose. If it dies in between, some
replicas have the write and some do not. The client tries again: when the dead server's lease is over, the master grants
another one, under a higher version, and the write is there once, whole, on all replicas that count.

Predict before you run: how long does the write take? Then look: `tabletop scenario run loses_a_primary.py --story`.
"""

import asyncio

from cluster.faultplan import Kill, ThePrimary
from cluster.scenarios import chance, check, recorded, scenario
from runtime.errors import TabletopError


@scenario(chunkservers=4)
async def loses_a_primary_in_mid_write(cluster, seed):
    """A write goes on while its primary is killed, and is whole in the end."""
    alice = recorded(cluster)
    await alice.write_file("/a", 200_000)
    file = await alice.open("/a", "r+b")
    first = await file.pwrite(0, 1000)
    writing = asyncio.create_task(file.pwrite(0, 150_000))
    # Somewhere in the middle: the whole write takes a few milliseconds of the simulated world.
    await asyncio.sleep(chance(seed).between(0.0, 0.006))
    await cluster.impose(Kill(), ThePrimary("/a", 0), seconds=30)
    try:
        written = await writing
    except TabletopError as error:
        check(not error.definite, "a write that may have been applied in part is not refused as if it had not")
        written = b""
    await file.close()
    found = await alice.read_file("/a")
    if written:
        check(found[:150_000] == written, "the acknowledged write is read back, whole")
    else:
        check(len(found) == 200_000 and found[150_000:] != first, "what was there before is still there")
