"""A first scenario: the primary of a chunk is killed between two writes, and nothing that was acknowledged is lost.

tabletop scenario run first.py
tabletop sweep first.py --seeds 200
"""

from cluster.faultplan import Kill, ThePrimary
from cluster.scenarios import check, recorded, scenario


# The settings are those of a cluster: chunkservers, replicas, chunk_bytes, lease_seconds, masters, … (ClusterSettings).
@scenario(chunkservers=4)
async def survives_a_dead_primary(cluster, seed):
    """What was acknowledged is read back, though the primary died in between."""
    # A client whose calls are written down, and judged at the end. A number in place of bytes: that many, made up.
    alice = recorded(cluster)
    await alice.write_file("/a", 100_000)
    async with await alice.open("/a", "r+b") as file:
        # A first write makes one of the three servers with the chunk its primary (GFS 3.1) …
        await file.pwrite(0, 50_000)
        # … which dies now, and is started again after five seconds.
        await cluster.impose(Kill(), ThePrimary("/a", 0), seconds=5)
        written = await file.pwrite(25_000, 50_000)
    # A claim of your own. The judges look at everything else: at each byte that was read, and at every replica.
    found = await alice.read_file("/a")
    check(found[25_000:75_000] == written, "the acknowledged write is read back")
