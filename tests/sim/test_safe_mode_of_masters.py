"""Safe mode belongs to the cluster and not to the master that acts: it outlives a failover, and shadows tell of it."""

import pytest

from cluster.swarm.insight import Insight
from gfs.settings import ClientSettings
from master.events import CloneStarted, SafeModeEntered
from runtime.errors import InSafeMode
from tests.sim.small_clusters import SmallCluster, outcome, play, wait


@pytest.mark.parametrize("seed", range(3))
def test_whoever_acts_keeps_the_names_and_copies_nothing_until_somebody_leaves(seed: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", b"a")
        handle = await cluster.handle("/a")
        await client.operators.enter_safe_mode()
        await cluster.kill(cluster.holders("/a")[0])
        acted = []
        for _ in range(2):  # Both of the others have their turn.
            acted.append(cluster.acting_name())
            await cluster.kill(acted[-1])
            assert isinstance(await outcome(client.create("/b")), InSafeMode)
            mode = await client.operators.safe_mode()
            assert mode.is_on and mode.by_hand and "operator" in mode.reason
            await wait(30)
            await cluster.start_node(acted[-1])
            await wait(5)
        events = [record.event for record in cluster.simulation.sink.records]
        assert len(set(acted)) == 2 and events.count(SafeModeEntered()) == 3, "each says so when it begins"
        assert not [event for event in events if isinstance(event, CloneStarted)]
        assert await cluster.found("/a") == b"a"
        await client.operators.leave_safe_mode()
        await client.create("/b")
        await cluster.kill(cluster.acting_name())
        await client.create("/c")
        await wait(30)
        core = Insight(cluster).core()
        assert len(core.state.chunks.replicas(handle)) == 3

    play(seed, story, masters=3, chunkservers=4)


def test_a_shadow_says_that_an_operator_has_entered_safe_mode_while_nobody_acts():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", b"a")
        await wait(2)
        mode = (await client.cluster_status()).safe_mode
        assert not mode.is_on
        await client.operators.enter_safe_mode()
        await wait(2)
        acting, *others = sorted(cluster.settings.master_names(), key=lambda name: name != cluster.acting_name())
        await cluster.kill("lock")
        await cluster.kill(acting)
        status = await client.cluster_status()
        assert status.shadow.master in others
        assert status.safe_mode.by_hand and "operator" in status.safe_mode.reason
        mode = await client.operators.safe_mode()
        assert mode.by_hand, "who only asks need not wait for a master that acts"

    play(1, story, masters=3, client_settings=ClientSettings(patience_seconds=10.0))


def test_a_shadow_that_has_not_heard_of_all_servers_is_not_in_safe_mode_for_that():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", b"a")
        await wait(2)
        await cluster.kill("cs1")
        for name in cluster.settings.master_names():
            if name != cluster.acting_name():
                await cluster.kill(name)
                await cluster.start_node(name)
        await wait(30)
        await cluster.kill("lock")
        await cluster.kill(cluster.acting_name())
        status = await client.cluster_status()
        assert status.shadow.master and not status.safe_mode.is_on, status.safe_mode.reason

    play(1, story, masters=3, chunkservers=4)
