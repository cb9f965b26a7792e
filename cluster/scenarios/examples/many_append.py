"""Three clients append records to one file while servers come and go (GFS 3.3).

Nobody knows beforehand where a record will be: the primary says. What is promised is little, and enough for logs and
queues: a record that was acknowledged is in the file at least once, whole, at one offset on all replicas. A try that
failed may leave a second copy, a part of one, or padding: readers skip those (gfs/records).

The judges hold the file to exactly that. Run it with --table: each record is a defined region.
"""

import asyncio

from cluster.faultplan import Kill, RandomServer
from cluster.scenarios import chance, check, recorded, scenario
from gfs.records import RecordReader
from runtime.errors import TabletopError

LOG = "/log"
EACH = 12


@scenario(chunkservers=5, clients=3)
async def many_append(cluster, seed):
    """Every acknowledged record is read back, though servers are killed while three clients append."""
    clients = [recorded(cluster) for _ in range(3)]
    await clients[0].create(LOG)
    acknowledged = set()

    async def append(client):
        dice = chance(seed)
        for number in range(EACH):
            payload = f"{client.name} {number} ".encode() * (1 + dice.below(300))
            try:
                await client.append_record(LOG, payload)
                acknowledged.add(payload)
            except TabletopError:
                pass  # In doubt, or refused. The judges know which, and what that means.
            await asyncio.sleep(dice.between(0.0, 0.5))

    async def kill():
        dice = chance(seed)
        for _ in range(3):
            await asyncio.sleep(dice.between(0.1, 2.0))
            await cluster.impose(Kill(), RandomServer(), seconds=dice.between(0.5, 8.0))

    await asyncio.gather(kill(), *(append(client) for client in clients))
    await cluster.heal()
    read = {record.payload async for record in RecordReader(cluster.client(), LOG).records()}
    missing = acknowledged - read
    check(not missing, f"{len(missing)} acknowledged records are not read")
