"""A power cut of one chunkserver loses nothing that was acknowledged, though nothing was synced.

With durability "replicated" a write is answered when every replica has it in memory. One machine that loses power may
come back with any part of it, at a version that looks current; the others must answer for it.
"""

import asyncio
import dataclasses

import pytest

from cluster.interface import wait_until
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.errors import TabletopError
from runtime.faults.disk import SyncError
from runtime.simulated.world import Simulation

SETTINGS = ClusterSettings(chunkservers=4, replicas=3, chunk_bytes=128 * 1024)
DATA = bytes(range(256)) * 1200  # Two full chunks and a part of a third.


@pytest.mark.parametrize("seed", range(12))
def test_a_power_cut_of_one_server_loses_no_acknowledged_write(seed: int):
    simulation = Simulation(seed)
    cluster = SimulatedCluster(simulation, SETTINGS)

    async def story() -> None:
        await cluster.start()
        client = cluster.client()
        await client.write_file("/before", DATA)
        await asyncio.sleep(2 * SETTINGS.heartbeat_seconds)  # Virtual: the master has heard of every length.
        held = {
            replica.server for found in (await cluster.status(chunks=True)).chunks for replica in found.chunk.replicas
        }
        victim = sorted(held)[seed % len(held)]
        simulation.power_cut(victim)
        await cluster.restart(victim)
        assert await client.read_file("/before") == DATA
        async with await client.open("/before", "ab") as file:
            await file.write(DATA)

        async def healed() -> bool:
            status = await cluster.status(chunks=True)
            return all(len(found.chunk.replicas) >= SETTINGS.replicas for found in status.chunks)

        await wait_until(healed, what="every chunk has its copies", timeout_seconds=300, poll_seconds=1)
        # Whoever answers must answer right: kill the other holders one at a time.
        for survivor in sorted(held):
            simulation.kill(survivor)
            assert await client.read_file("/before") == DATA + DATA
            await cluster.restart(survivor)
            await wait_until(healed, what="every chunk has its copies", timeout_seconds=300, poll_seconds=1)

    simulation.run(story())


def test_what_a_killed_server_had_not_synced_is_synced_as_soon_as_it_is_started_again():
    """Otherwise a kill and then a loss of power could cost more than the last seconds, though the server was up."""
    simulation = Simulation(1)
    cluster = SimulatedCluster(simulation, dataclasses.replace(SETTINGS, chunkservers=1, replicas=1))

    async def story() -> None:
        await cluster.start()
        client = cluster.client()
        await client.write_file("/a", DATA)
        simulation.kill("cs1")
        await cluster.restart("cs1")
        await asyncio.sleep(1)  # Virtual; less than the time between two background syncs.
        simulation.power_cut("cs1")
        await cluster.restart("cs1")
        assert await client.read_file("/a") == DATA

    simulation.run(story())


def test_a_record_whose_sync_failed_is_durable_before_a_later_one_says_so():
    """The kernel forgets that the pages of a failed sync are not on the disk: they can be read, and syncs pass over
    them, until the power goes."""
    simulation = Simulation(3)
    cluster = SimulatedCluster(simulation, SETTINGS)

    async def story() -> None:
        await cluster.start()
        client = cluster.client()
        await client.make_directory("/before")
        disk = simulation.world("master").simulated_disk
        heal = disk.impose(SyncError("log/", loses_pages=True))
        long = "/in-doubt" + f"/{'x' * 250}" * 6  # Its record has sectors of its own.
        with pytest.raises(TabletopError):
            await client.make_directory(long, parents=True)  # The master ends: what its log holds, nobody knows.
        heal()
        await cluster.restart("master")
        await client.make_directory("/after")
        simulation.power_cut("master", loses_all=True)
        await cluster.restart("master")
        assert {entry.path for entry in await client.list("/")} - {"/in-doubt"} == {"/before", "/after"}

    simulation.run(story())
