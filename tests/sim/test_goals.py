"""Replication goals that fall while messages are late, disks refuse and power is lost: no acknowledged byte goes with
the copies too many (GFS 4.3, 4.4)."""

import pytest

from runtime.errors import DiskFailure, TabletopError
from runtime.faults.disk import Operation, SlowDisk
from runtime.faults.links import Kind
from runtime.simulated.messages import DROP, Delay, Double, Drop, Message
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"acknowledged" * 1000


def doubled_orders(message: Message) -> Double | None:
    is_order = message.method == "Chunkserver/AdvanceChunks" and message.kind is Kind.REQUEST
    return Double(12.0) if is_order else None


def no_removal(operation: Operation) -> TabletopError | None:
    is_removal = operation.verb in ("rename", "remove") and "chunks" in operation.path
    return DiskFailure("refused") if is_removal else None


async def counted(cluster: SmallCluster) -> list[str]:
    """The servers whose replicas of the only chunk count."""
    (chunk,) = (await cluster.status(chunks=True)).chunks
    return [replica.server for replica in chunk.chunk.replicas]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("goal", [1, 2])
def test_a_creation_that_arrives_again_after_its_replica_was_removed_makes_none_that_counts(seed: int, goal: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        forget = cluster.simulation.on_message(doubled_orders)
        await client.write_file("/a", BODY)
        forget()
        await client.rename("/a", "/b")  # Its lease ends, and no version is raised.
        await client.set_replication("/b", goal)
        await wait(30)
        assert await cluster.found("/b") == BODY

    play(seed, story)


@pytest.mark.parametrize("seed", range(3))
def test_a_removal_that_failed_does_not_take_a_replica_that_counts_by_then(seed: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", BODY)
        await client.rename("/a", "/b")
        heal = [cluster.disk(node).on_operation(no_removal) for node in cluster.chunkservers()]
        await client.set_replication("/b", 2)
        await wait(9)
        await client.set_replication("/b", 3)
        await cluster.restart("master")
        await wait(15)
        for node in (await counted(cluster))[:-1]:
            await cluster.kill(node)
        for undo in heal:
            undo()
        await wait(15)
        assert await cluster.found("/b") == BODY

    play(seed, story)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pause", [2.5, 60.0])
def test_after_a_loss_of_power_nobody_waits_for_a_server_whose_copy_was_one_too_many(seed: int, pause: float):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", BODY)
        await client.rename("/a", "/b")
        await wait(7)
        await client.set_replication("/b", 2)
        await wait(pause)
        keep = cluster.holders("/b")
        for node in [node for node in cluster.chunkservers() if node not in keep]:
            await cluster.kill(node)
        for node in keep:
            cluster.simulation.power_cut(node)
        await wait(10)
        for node in keep:
            await cluster.start_node(node)
        await wait(60)
        assert await cluster.found("/b") == BODY

    play(seed, story)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("goal", [1, 2])
def test_replicas_that_lost_power_are_compared_with_a_copy_too_many_that_did_not(seed: int, goal: int):
    def late(message: Message) -> Delay | None:
        is_order = message.method.endswith("/VerifyReplica") and message.kind is Kind.REQUEST
        return Delay(4.0) if is_order else None

    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        file = await client.open("/a", "xb")
        await file.pwrite(0, BODY)
        await wait(11)
        await file.pwrite(len(BODY), BODY)
        await file.close()
        await client.rename("/a", "/b")  # Its lease ends, and nobody has made the last write durable yet.
        forget = cluster.simulation.on_message(late)
        await client.set_replication("/b", goal)
        while len(keep := await counted(cluster)) > goal:
            await wait(0.05)
        await cluster.lose_power(keep)
        forget()
        await wait(60)
        assert await cluster.found("/b") == BODY + BODY

    play(seed, story, loses_all=True)


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.REPLY])
@pytest.mark.parametrize("seed", range(2))
def test_an_order_to_verify_that_is_lost_is_given_again_within_seconds(seed: int, kind: Kind):
    lost: list[str] = []

    def lose_one(message: Message) -> Drop | None:
        if not lost and message.method.endswith("/VerifyReplica") and message.kind is kind:
            lost.append(message.source)
            return DROP
        return None

    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", BODY)
        await client.rename("/a", "/b")  # Its lease ends.
        cluster.simulation.on_message(lose_one)
        await client.set_replication("/b", 2)
        await wait(25)
        assert lost and len(cluster.holders("/b")) == 2

    play(seed, story)


def test_a_copy_whose_server_comes_back_empty_while_it_is_logged_does_not_count():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", BODY)
        await client.rename("/a", "/b")
        (free,) = set(cluster.chunkservers()) - set(cluster.holders("/b"))
        slow = []

        def complete(message: Message) -> None:
            is_reply = message.method.endswith("/Clone") and message.kind is Kind.REPLY
            if is_reply and message.status == "OK" and not slow:
                slow.append(cluster.disk("master").impose(SlowDisk(seconds_per_sync=4.0)))

        cluster.simulation.on_message(complete)
        await client.set_replication("/b", 4)
        while not slow:
            await wait(0.05)
        cluster.simulation.kill(free)
        cluster.disk(free).erase()
        await cluster.start_node(free)
        await wait(5)
        slow[0]()
        await wait(60)
        assert set(await counted(cluster)) == set(cluster.holders("/b")) == set(cluster.chunkservers())

    play(1, story, chunkservers=4)
