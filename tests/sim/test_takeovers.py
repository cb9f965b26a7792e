"""A whole cluster with three masters and a lock service: the acting master dies, and files are read and written on."""

import asyncio

import pytest

from cluster.roles import LOCK
from gfs.events import AnsweredByShadow
from gfs.settings import ClientSettings
from master.events import LeaseAdopted, MasterTookOver
from runtime.errors import NotActing
from runtime.wire import master_pb2, master_pb2_grpc
from tests.sim.small_clusters import SmallCluster, play, wait

READ_SECONDS, WRITE_SECONDS = 2.0, 5.0
BODY = b"acknowledged" * 1000


@pytest.mark.parametrize("seed", range(4))
def test_files_are_read_again_within_two_seconds_and_written_within_five(seed: int):
    async def story(cluster: SmallCluster) -> None:
        now = asyncio.get_running_loop().time
        client = cluster.client()
        await client.write_file("/a", BODY)
        async with await client.open("/a", "r+b") as file:
            await file.pwrite(0, b"A")
            await wait(1.0 + 0.3 * seed)
            await cluster.kill(cluster.acting_name())
            begun = now()
            assert (await cluster.client(2).read_file("/a"))[1:] == BODY[1:]
            assert now() - begun < READ_SECONDS
            await file.pwrite(1, b"B")
            await client.write_file("/b", BODY)
            assert now() - begun < WRITE_SECONDS
        assert await cluster.found("/a") == b"AB" + BODY[2:]

    play(seed, story, masters=3)


def test_the_new_master_goes_on_with_the_leases_that_the_old_one_gave():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        primary = cluster.primary("/a")
        await cluster.kill("master")
        async with await cluster.client().open("/a", "r+b") as file:
            await file.pwrite(0, b"A")
        adopted = [record.event for record in cluster.simulation.sink.records if isinstance(record.event, LeaseAdopted)]
        assert [event.primary for event in adopted] == [primary] == [cluster.primary("/a")]

    play(1, story, masters=3, lease_seconds=60.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_master_that_is_cut_off_gives_no_order_that_is_obeyed(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        heal = cluster.simulation.partition(["master"], ["master2", "master3", LOCK])
        writing = [cluster.client(number).write_file(f"/b{number}", BODY) for number in (1, 2)]
        await asyncio.gather(*writing)
        assert cluster.acting_name() != "master"
        stub = master_pb2_grpc.MasterStub(cluster.client_world.network.channel("master:7000"))
        with pytest.raises(NotActing):
            await stub.Stat(master_pb2.StatRequest(path="/b1"), timeout=5)
        heal()
        await wait(5.0)
        assert await cluster.found("/b1") == await cluster.found("/b2") == BODY
        epochs = [
            record.event.epoch for record in cluster.simulation.sink.records if isinstance(record.event, MasterTookOver)
        ]
        assert epochs == sorted(set(epochs))

    play(seed, story, masters=3)


def test_one_master_after_the_other_may_be_restarted_while_files_are_written():
    async def story(cluster: SmallCluster) -> None:
        async def write() -> None:
            for number in range(60):
                await cluster.client().write_file(f"/f{number:02d}", BODY[: 100 + number])
                await wait(0.2)

        writing = asyncio.create_task(write())
        for _ in range(2):
            for name in ("master", "master2", "master3", LOCK):
                await wait(1.0)
                await cluster.restart(name)
        await writing
        found = await cluster.client(2).list("/")
        assert [status.length for status in found] == [100 + number for number in range(60)]

    play(2, story, masters=3)


def test_a_client_says_that_a_shadow_has_answered_and_can_do_without():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        await wait(1.0)
        assert cluster.client().shadow_answer is None
        await cluster.kill("master")
        assert (await cluster.client().stat("/a")).length == len(BODY)
        answer = cluster.client().shadow_answer
        assert answer is not None and answer.master in ("master2", "master3") and answer.lag_seconds < 1.0
        assert any(isinstance(record.event, AnsweredByShadow) for record in cluster.simulation.sink.records)
        await wait(5.0)
        await cluster.client().stat("/a")
        assert cluster.client().shadow_answer is None

    play(3, story, masters=3)


def test_a_client_that_wants_no_old_answers_waits_for_the_next_master():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        await cluster.kill("master")
        assert (await cluster.client().stat("/a")).length == len(BODY)
        assert cluster.client().shadow_answer is None
        assert cluster.acting_name() != "master"

    play(3, story, masters=3, client_settings=ClientSettings(shadow_seconds=0.0))


def test_masters_that_all_lose_power_at_once_come_back_with_everything():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        await cluster.lose_power(["master", "master2", "master3", LOCK])
        assert await cluster.found("/a") == BODY
        await cluster.client().write_file("/b", BODY)
        assert await cluster.found("/b") == BODY

    play(4, story, masters=3, loses_all=True)
