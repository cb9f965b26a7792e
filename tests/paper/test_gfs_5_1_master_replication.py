"""GFS 5.1.3 (and 2.6.3): "the master state is replicated for reliability"."""

import asyncio

from master.events import MasterTookOver
from runtime.errors import NotActing
from tests.sim.several_masters import NAMES, Masters, play
from tests.sim.small_clusters import SmallCluster, wait
from tests.sim.small_clusters import play as play_cluster

BODY = b"acknowledged" * 1000


def test_a_mutation_is_committed_only_after_its_record_is_on_disk_locally_and_on_all_master_replicas():
    """The paper: "flushed to disk locally and on all master replicas"."""

    async def story(masters: Masters) -> None:
        stand_still = [masters.simulation.pause(name) for name in NAMES[1:]]
        making = asyncio.create_task(masters.make("master", "/a"))
        await asyncio.sleep(0.5)
        assert not making.done(), "neither shadow has it"
        assert await masters.names("master") == [], "and nobody is told of it"
        for go_on in stand_still:
            go_on()
        assert await making is None
        for name in NAMES:
            masters.simulation.power_cut(name, loses_all=True)
        masters.servers.clear()
        await masters.start("master3")
        await masters.until(lambda: masters.acting() == ["master3"], "any of them has it")
        assert await masters.names("master3") == ["/a"]

    play(1, story)


def test_one_master_process_remains_in_charge_of_all_mutations():
    """ "For simplicity, one master process remains in charge of all mutations as well as background activities." """

    async def story(masters: Masters) -> None:
        assert masters.acting() == ["master"]
        for name in NAMES[1:]:
            assert isinstance(await masters.make(name, "/a"), NotActing)

    play(2, story)


def test_if_its_machine_fails_a_new_master_starts_elsewhere_with_the_replicated_log():
    """The paper: "monitoring infrastructure outside GFS" starts it. Here a shadow takes over by a lock."""

    async def story(masters: Masters) -> None:
        assert await masters.make("master", "/a") is None
        masters.kill("master")
        masters.simulation.world("master").simulated_disk.erase()
        await masters.until(lambda: bool(masters.acting()), "another one acts")
        [acting] = masters.acting()
        assert await masters.names(acting) == ["/a"]

    play(3, story)


def test_clients_find_the_new_master_without_being_told():
    """The paper: by a DNS alias. Here they know the addresses of all masters."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        await cluster.kill("master")
        await cluster.client().rename("/a", "/b")
        assert await cluster.found("/b") == BODY

    play_cluster(4, story, masters=3)


def test_shadow_masters_provide_read_only_access_even_when_the_primary_master_is_down():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        await wait(1.0)
        for name in ("master", "lock"):  # Without the lock service nobody takes over.
            await cluster.kill(name)
        await wait(20.0)
        assert await cluster.found("/a") == BODY
        assert [status.path for status in await cluster.client().list("/")] == ["/a"]
        took_over = [record for record in cluster.simulation.sink.records if isinstance(record.event, MasterTookOver)]
        assert len(took_over) == 1

    play_cluster(5, story, masters=3)


def test_shadows_may_lag_the_primary_slightly_typically_fractions_of_a_second():
    """ "They are shadows, not mirrors, in that they may lag the primary slightly, typically fractions of a second." """

    async def story(masters: Masters) -> None:
        lags = []
        for number in range(50):
            assert await masters.make("master", f"/{number}") is None
            lags.append((await masters.standing("master2")).lag_seconds)
            await asyncio.sleep(0.05)
        assert max(lags) < 0.5

    play(6, story)


def test_a_shadow_reads_a_replica_of_the_growing_log_and_applies_it_exactly_as_the_primary_does():
    async def story(masters: Masters) -> None:
        for number in range(30):
            assert await masters.make("master", f"/d{number:02d}") is None
        await asyncio.sleep(1.0)
        acting = masters.servers["master"].core
        assert acting is not None
        for name in NAMES[1:]:
            shadow = masters.servers[name].shadow
            assert shadow is not None
            assert shadow.log.state.snapshot() == acting.state.snapshot()

    play(7, story)


def test_a_shadow_learns_from_chunkservers_where_replicas_are():
    """ "Like the primary, it polls chunkservers at startup (and infrequently thereafter) to locate chunk replicas and
    exchanges frequent handshake messages with them to monitor their status." Here chunkservers tell it."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        await cluster.restart("master3")
        await wait(3.0)
        for name in ("master", "master2", "lock"):
            await cluster.kill(name)
        [chunk] = await cluster.client().locations("/a")
        assert sorted(replica.server for replica in chunk.replicas) == ["cs1", "cs2", "cs3"]
        await cluster.kill("cs1")
        await wait(6.0)
        [chunk] = await cluster.client().locations("/a")
        assert "cs1" not in [replica.server for replica in chunk.replicas]

    play_cluster(8, story, masters=3)
