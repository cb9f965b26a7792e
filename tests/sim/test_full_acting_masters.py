"""The acting one of three masters cannot write its log: another one acts, and nothing acknowledged is lost (GFS 5.1.3).

One alone, or with others that are no better off, goes on: it reads, deletes as far as it can, and refuses the rest
(`test_full_master_disks.py`)."""

import asyncio

import pytest

from master.events import MasterStoodDown, MasterTookOver
from runtime.errors import NoSpace
from runtime.faults.disk import DiskFault, FullDisk, SyncError, WriteError
from tests.sim.small_clusters import SmallCluster, outcome, play, wait

SECONDS = 10.0


def tenures(cluster: SmallCluster, kind: type = MasterTookOver) -> list[str]:
    return [record.node for record in cluster.simulation.sink.records if isinstance(record.event, kind)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fault", [FullDisk(), WriteError(), SyncError()], ids=["full", "write error", "sync error"])
def test_writes_go_on_within_seconds_under_another_master(seed: int, fault: DiskFault):
    async def story(cluster: SmallCluster) -> None:
        now = asyncio.get_running_loop().time
        client = cluster.client()
        for number in range(5):
            await client.write_file(f"/before{number}", b"%d" % number)
        before = cluster.acting_name()
        cluster.disk(before).impose(fault)
        begun = now()
        while await outcome(client.write_file("/after", b"after", overwrite=True)) is not None:
            assert now() - begun < SECONDS
        assert now() - begun < SECONDS
        assert cluster.acting_name() != before
        taken = tenures(cluster)
        await wait(20)
        assert tenures(cluster) == taken, "it does not come back before it can write"
        for number in range(5):
            assert await cluster.found(f"/before{number}") == b"%d" % number
        assert await cluster.found("/after") == b"after"

    play(seed, story, masters=3)


def test_a_change_that_a_full_disk_refuses_is_made_by_the_next_master_and_the_caller_hears_nothing_of_it():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create("/a")
        before = cluster.acting_name()
        end = cluster.disk(before).impose(FullDisk())
        await client.create("/b")
        assert cluster.acting_name() != before and tenures(cluster, MasterStoodDown) == [before]
        end()
        await wait(10)
        await cluster.kill(cluster.acting_name())
        await client.create("/c")
        assert [entry.path for entry in await client.list("/")] == ["/a", "/b", "/c"]

    play(3, story, masters=3)


def test_nobody_hands_over_to_a_master_that_is_no_better_off():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create("/a")
        for name in cluster.settings.master_names():
            cluster.disk(name).impose(FullDisk())
        acting = cluster.acting_name()
        for _ in range(3):
            assert isinstance(await outcome(client.create("/b")), NoSpace)
            await wait(3)
        assert cluster.acting_name() == acting and tenures(cluster, MasterStoodDown) == []
        assert [entry.path for entry in await client.list("/")] == ["/a"]

    play(4, story, masters=3)
