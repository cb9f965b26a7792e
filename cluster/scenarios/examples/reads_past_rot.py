"""Bits rot on one disk, and readers do not notice (GFS 5.2).

Each 64 KB block of a chunk has a checksum of 32 bits. A chunkserver compares it whenever it reads, before it sends a
byte; if it does not match, the reader gets an error and reads from another replica, and the master has the chunk copied
from a good one. Nobody ever compares replicas byte by byte: they may differ, and legally so.
"""

from chunkserver.events import CorruptionFound
from cluster.faultplan import Replica, RottenBlock
from cluster.scenarios import chance, check, eventually, recorded, scenario

PATH = "/photos"


@scenario(chunkservers=5)
async def reads_past_rot(cluster, seed):
    """A block rots on one replica: reads are right, and soon there are three good replicas again."""
    dice, alice = chance(seed), recorded(cluster)
    written = await alice.write_file(PATH, 250_000)
    replica = Replica(PATH, chunk=0, number=1 + dice.below(3))
    rotten = await cluster.impose(RottenBlock(PATH, 0, block=dice.below(3)), replica)

    # Whoever asks the damaged server first gets an answer from another one, and the bytes are right.
    for _ in range(4):
        check(await alice.read_file(PATH) == written, f"the bytes are right, though {rotten.words}")

    # Sooner or later the server finds the damage: because somebody reads the block, or because it looks over all its
    # chunks when it has time (the scrubber). It tells the master, and the master has the chunk copied.
    [server] = rotten.nodes

    def is_found():
        return any(isinstance(record.event, CorruptionFound) for record in cluster.events(server))

    async def is_mended():
        [chunk] = (await cluster.status(chunks=True)).chunks
        return len(chunk.chunk.replicas) == 3

    await eventually(is_found, f"{server} finds the damage", within_seconds=120)
    await eventually(is_mended, "the chunk has three replicas again", within_seconds=120)
