"""The acting master dies while two clients make, rename and delete files (GFS 2.6.3, 5.1.3).

Three masters and a lock service. What was answered is on the log of every master that is in sync, so whoever takes over
knows it; and a call whose answer was lost is asked again under the same number, so that it happens once.

The judge of namespaces looks for an order of all changes that explains every answer; the judge of masters, whether
each epoch was the tenure of one. Predict: how long do the clients wait?
"""

import asyncio
import contextlib

from cluster.faultplan import Kill, TheMaster
from cluster.scenarios import chance, check, eventually, recorded, scenario
from runtime.errors import TabletopError


@scenario(chunkservers=3, masters=3, clients=2)
async def loses_the_master(cluster, seed):
    """Another master takes over, and no change of names is lost, or made twice."""
    dice, alice, bob = chance(seed), recorded(cluster), recorded(cluster)
    await alice.make_directory("/lab")

    async def change_names(client):
        for number in range(8):
            with contextlib.suppress(TabletopError):  # In doubt, or refused: the judges know which.
                await client.create(f"/lab/{number}")
                await client.rename(f"/lab/{number}", f"/lab/{client.name}-{number}")
                if number % 3 == 2:
                    await client.delete(f"/lab/{client.name}-{number}")

    before = await cluster.who_acts()
    working = [asyncio.create_task(change_names(client)) for client in (alice, bob)]
    await asyncio.sleep(dice.between(0.0, 0.03))
    await cluster.impose(Kill(), TheMaster(), seconds=20)
    await asyncio.gather(*working)

    async def another_acts():
        with contextlib.suppress(TabletopError):
            return await cluster.who_acts() != before

    await eventually(another_acts, f"another master than {before} acts")
    check(await alice.list("/lab"), "the files are there")
