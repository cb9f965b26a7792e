"""A disk says that it has written, and has not (GFS 3.1, 4.5, 5.2).

The paper's authors met such disks: drives and kernels that disagreed about a protocol, and now and then corrupted data
without a word (GFS 7). A checksum that is kept apart from the bytes finds that out as soon as anybody reads: what lies
there is not what was written.

The disk under one replica drops what is written to its chunk, for ten seconds. Predict: which reads are wrong?
"""

from cluster.faultplan import Replica, ReplicaTrouble
from cluster.scenarios import chance, check, recorded, scenario
from runtime.faults.disk import DroppedWrites

PATH = "/results"


@scenario(chunkservers=5)
async def a_lying_disk(cluster, seed):
    """The disk of one replica drops writes without a word: no reader sees an old byte."""
    dice, alice, bob = chance(seed), recorded(cluster), recorded(cluster)
    await alice.write_file(PATH, 200_000)
    lying = ReplicaTrouble(DroppedWrites(times=None), PATH, 0)
    await cluster.impose(lying, Replica(PATH, chunk=0, number=1 + dice.below(3)), seconds=10)
    async with await alice.open(PATH, "r+b") as file:
        for _ in range(4):
            begin = dice.below(150_000)
            written = await file.pwrite(begin, 20_000)
            found = await bob.read_file(PATH)
            check(found[begin : begin + 20_000] == written, f"bytes {begin} to {begin + 20_000} are read back")
