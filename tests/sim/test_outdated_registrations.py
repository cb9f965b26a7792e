"""A registration is believed whatever it says, and may be older than what its server holds (GFS 2.6.2, 4.5).

Of two servers one is unlucky with its messages when the master starts again: its first registration is under way for
longer than it waits for the answer, so that it sends a second one; the first arrives, something is written, and then
the second arrives, which knows nothing of that. Its next heartbeat would put this right. Before that the other server
loses power.
"""

import pytest

from master.events import ReplicaLost
from runtime.faults.links import Kind
from runtime.simulated.messages import Delay, Message
from tests.sim.small_clusters import SmallCluster, play, wait

OLD = b"o" * 1000
NEW = b"acknowledged" * 50
UNLUCKY, OTHER = "cs2", "cs1"


def losses(cluster: SmallCluster) -> list[str]:
    """Whose replicas the master took for lost, one after the other."""
    return [record.event.server for record in cluster.simulation.sink.records if isinstance(record.event, ReplicaLost)]


async def begin_with_late_registrations(cluster: SmallCluster) -> None:
    """Start the master again; returns when the first registration of the unlucky server has come. The second one comes
    3 seconds later, and from then on its heartbeats are late."""
    await cluster.kill("master")
    late = [11.0, 6.0]

    def hook(message: Message) -> Delay | None:
        if message.source != UNLUCKY or message.kind is not Kind.REQUEST:
            return None
        if message.method.endswith("/Register") and late:
            return Delay(late.pop(0))
        return Delay(4.0) if message.method.endswith("/Heartbeat") and not late else None

    cluster.simulation.on_message(hook)
    await cluster.start_node("master")
    await wait(14)
    assert not late and not losses(cluster)


async def lose_power_when_misjudged(cluster: SmallCluster) -> None:
    """The other server loses power as soon as the master has taken the unlucky one's replica for lost."""
    for _ in range(5000):
        await wait(0.001)
        if losses(cluster):
            break
    assert losses(cluster) == [UNLUCKY], "it was not misjudged: the test proves nothing"
    await cluster.lose_power([OTHER])
    await wait(30)


def play_it(seed: int, story) -> None:
    overrides = {"chunkserver": {"writeback_seconds": 60.0}}
    play(seed, story, chunkservers=2, replicas=2, loses_all=True, overrides=overrides)


@pytest.mark.parametrize("seed", range(2))
def test_an_overwrite_outlives_an_outdated_registration_and_a_loss_of_power(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        await wait(25)
        await begin_with_late_registrations(cluster)
        async with await cluster.client(1).open("/a", "r+b") as file:
            await file.pwrite(100, NEW)
        await lose_power_when_misjudged(cluster)
        assert await cluster.found("/a") == OLD[:100] + NEW + OLD[100 + len(NEW) :]

    play_it(seed, story)


@pytest.mark.parametrize("seed", range(2))
def test_a_new_chunk_outlives_an_outdated_registration_and_a_loss_of_power(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await begin_with_late_registrations(cluster)
        await cluster.client(1).write_file("/a", NEW)
        await lose_power_when_misjudged(cluster)
        assert await cluster.found("/a") == NEW

    play_it(seed, story)
