"""All replicas of a chunk have lost power, one after the other: the one that has come furthest is what the chunk holds.

An overwrite that keeps the length leaves no trace in lengths, and none in versions. What one server had made durable
before it lost power is not lost because the others, which lost power earlier, agree on something older.
"""

import pytest

from master.events import ReplicasCompared
from runtime.faults.links import Kind
from runtime.simulated.messages import Delay, Message
from tests.sim.small_clusters import SmallCluster, play, wait

OLD = b"old" * 20_000
NEW = b"new" * 20_000
SYNCED_SECONDS = 10.0  # More than two background syncs.


async def overwrite(cluster: SmallCluster, path: str, data: bytes) -> None:
    file = await cluster.client(1).open(path, "r+b")
    await file.pwrite(0, data)
    await file.close()


def late_verifications(message: Message) -> Delay | None:
    is_order = message.method.endswith("/VerifyReplica") and message.kind is Kind.REQUEST
    return Delay(3.0) if is_order else None


@pytest.mark.parametrize("last", [0, 1, 2])
def test_two_replicas_that_have_lost_an_overwrite_do_not_outvote_the_one_that_has_it(last: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        await wait(SYNCED_SECONDS)
        await overwrite(cluster, "/a", NEW)
        holders = sorted(cluster.holders("/a"))
        keeps = holders.pop(last)
        for node in holders:
            cluster.simulation.power_cut(node)
        await wait(SYNCED_SECONDS)
        cluster.simulation.power_cut(keeps)
        for node in [*holders, keeps]:
            await cluster.start_node(node)
        await wait(30)
        assert await cluster.found("/a") == NEW

    play(1, story, loses_all=True)


@pytest.mark.parametrize("seed", range(2))
def test_a_copy_that_was_made_meanwhile_has_come_as_far_as_its_source(seed: int):
    """The copy is not taken for one that has missed everything, nor for one that has come further than its source."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        await wait(SYNCED_SECONDS)
        first = sorted(cluster.holders("/a"))
        cluster.simulation.power_cut(first[0])
        await wait(40)  # Another server has a copy by then.
        copied = sorted(cluster.holders("/a"))
        assert len(copied) == 4, "with the one that lies on the disk of the server that is away"
        await overwrite(cluster, "/a", NEW)
        now = [node for node in copied if node != first[0]]
        keeps = next(node for node in now if node not in first)
        for node in now:
            if node != keeps:
                cluster.simulation.power_cut(node)
        await wait(SYNCED_SECONDS)
        cluster.simulation.power_cut(keeps)
        for node in copied:
            await cluster.start_node(node)
        await wait(60)
        assert await cluster.found("/a") == NEW

    play(seed, story, loses_all=True, chunkservers=4)


def test_replicas_that_are_not_sure_are_compared_while_others_are_verified():
    """The copies of a chunk with one too many are verified, which takes long. Meanwhile two of them lose power, and are
    compared with the one that has not, before it loses power as well."""

    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", OLD)
        await client.rename("/a", "/b")  # Its lease ends.
        holders = sorted(cluster.holders("/b"))
        verified = 0

        def stalled(message: Message) -> Delay | None:
            nonlocal verified
            delay = late_verifications(message)
            verified += delay is not None
            return delay

        forget = cluster.simulation.on_message(stalled)
        await client.set_replication("/b", 2)
        while not verified:
            await wait(0.05)
        await cluster.lose_power(holders[:1])
        await wait(2.5)
        assert any(isinstance(record.event, ReplicasCompared) for record in cluster.events("master"))
        forget()

    play(0, story, loses_all=True)
