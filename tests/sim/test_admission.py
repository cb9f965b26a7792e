"""An operator admits a replica that was put aside, while messages are lost or doubled (GFS 4.5 leaves it open)."""

import asyncio

import pytest

from master.events import ReplicaAdmitted
from runtime.errors import NotFound
from runtime.faults.links import Kind
from runtime.simulated.messages import DROP, Double, Drop, Message
from tests.sim.small_clusters import SmallCluster, outcome, play, wait

BODY = b"acknowledged" * 1000


async def stale_and_lost(cluster: SmallCluster) -> tuple[int, str]:
    """One server has a stale replica of a chunk and is down; all the others have lost theirs."""
    await cluster.client().write_file("/a", BODY)
    handle = await cluster.handle("/a")
    stale, *better = cluster.holders("/a")
    await cluster.kill(stale)
    async with await cluster.client().open("/a", "r+b") as file:
        await file.pwrite(0, b"later")
    for server in better:
        await cluster.kill(server)
        cluster.disk(server).erase()
    for server in better:
        await cluster.start_node(server)
    await wait(10)
    return handle, stale


def admissions(cluster: SmallCluster) -> int:
    """How often a replica was admitted."""
    return sum(isinstance(record.event, ReplicaAdmitted) for record in cluster.simulation.sink.records)


@pytest.mark.parametrize("seed", range(3))
def test_an_admission_whose_answer_was_lost_is_told_of_when_it_is_asked_for_again(seed: int):
    async def story(cluster: SmallCluster) -> None:
        handle, stale = await stale_and_lost(cluster)
        await cluster.start_node(stale)
        await wait(3)
        lost: list[str] = []

        def lose_one(message: Message) -> Drop | None:
            if message.method.endswith("/AdmitReplica") and message.kind is Kind.REPLY and not lost:
                lost.append(message.source)
                return DROP
            return None

        cluster.simulation.on_message(lose_one)
        assert await cluster.client().admit_replica(handle, stale, force=True) > 1
        assert lost and admissions(cluster) == 1
        assert await cluster.found("/a") == BODY

    play(seed, story)


@pytest.mark.parametrize("seed", range(3))
def test_an_admission_that_was_refused_is_not_carried_out_by_its_doubled_message(seed: int):
    async def story(cluster: SmallCluster) -> None:
        handle, stale = await stale_and_lost(cluster)

        def double(message: Message) -> Double | None:
            is_asked = message.method.endswith("/AdmitReplica") and message.kind is Kind.REQUEST
            return Double(12.0) if is_asked else None

        forget = cluster.simulation.on_message(double)
        error = await outcome(cluster.client().admit_replica(handle, stale, force=True))
        assert isinstance(error, NotFound) and error.definite
        forget()
        await cluster.start_node(stale)
        await wait(30)
        assert admissions(cluster) == 0

    play(seed, story)


async def refuse_an_admission(cluster: SmallCluster, place: int = 0, *, loses_power: bool = False) -> str:
    """An overwrite is acknowledged without one server, which is admitted when the others are down: it takes the order,
    and is gone before anybody hears of it. Returns its name."""
    await cluster.client(1).write_file("/a", BODY)
    handle = await cluster.handle("/a")
    stale = cluster.holders("/a")[place]
    better = [name for name in cluster.chunkservers() if name != stale]
    await wait(25)
    await cluster.kill(stale)
    async with await cluster.client(1).open("/a", "r+b") as file:
        await file.pwrite(0, b"later")
    await wait(20)  # Until it is on stable storage as well, and the chunk at its goal.
    for server in better:
        await (cluster.power_cut(server) if loses_power else cluster.kill(server))
    await cluster.start_node(stale)
    await wait(10)
    taken: list[asyncio.Task[None]] = []

    def lose_one(message: Message) -> Drop | None:
        is_answer = message.method.endswith("/AdvanceChunks") and message.kind is Kind.REPLY
        if is_answer and message.source == stale and not taken:
            taken.append(asyncio.create_task(cluster.kill(stale)))
            return DROP
        return None

    cluster.simulation.on_message(lose_one)
    error = await outcome(cluster.client(1).admit_replica(handle, stale, force=True))
    assert taken and isinstance(error, NotFound) and error.definite
    for server in [*better, stale]:
        await cluster.start_node(server)
    await wait(40)
    return stale


@pytest.mark.parametrize("loses_power", [False, True])
@pytest.mark.parametrize("place", range(2))
def test_what_was_refused_admission_does_not_outvote_a_member(place: int, loses_power: bool):
    async def story(cluster: SmallCluster) -> None:
        await refuse_an_admission(cluster, place, loses_power=loses_power)
        assert await cluster.found("/a") == b"later" + BODY[5:]
        [chunk] = (await cluster.client().cluster_status(chunks=True)).chunks
        assert len(chunk.chunk.replicas) == 2

    play(1, story, chunkservers=2, replicas=2)


@pytest.mark.parametrize("seed", range(2))
def test_what_was_refused_admission_does_not_go_on_when_all_others_have_lost_their_replicas(seed: int):
    async def story(cluster: SmallCluster) -> None:
        handle, stale = await stale_and_lost(cluster)
        await cluster.start_node(stale)
        await wait(10)
        taken: list[asyncio.Task[None]] = []

        def lose_one(message: Message) -> Drop | None:
            is_answer = message.method.endswith("/AdvanceChunks") and message.kind is Kind.REPLY
            if is_answer and not taken:
                taken.append(asyncio.create_task(cluster.kill(stale)))
                return DROP
            return None

        cluster.simulation.on_message(lose_one)
        error = await outcome(cluster.client(1).admit_replica(handle, stale, force=True))
        assert taken and isinstance(error, NotFound) and error.definite
        await cluster.start_node(stale)
        await wait(30)
        assert not isinstance(await cluster.found("/a"), bytes), "the master has decided by itself"
        assert await cluster.client().admit_replica(handle, stale, force=True)
        assert await cluster.found("/a") == BODY

    play(seed, story)


@pytest.mark.parametrize("seed", range(2))
def test_what_was_refused_admission_is_removed_when_nobody_needs_it(seed: int):
    async def story(cluster: SmallCluster) -> None:
        stale = await refuse_an_admission(cluster)
        assert await cluster.found("/a") == b"later" + BODY[5:]
        await wait(60)
        assert cluster.holders("/a") == [name for name in cluster.chunkservers() if name != stale]

    play(seed, story, replicas=2)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_finished_copy_that_a_vain_comparison_has_numbered_goes_on_when_the_only_member_is_gone(restarts: bool):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        [member] = cluster.holders("/a")
        await wait(25)
        numbered: list[str] = []

        def part(message: Message) -> Drop | None:
            """Nobody hears that the copy is complete, and from then on the member does not hear from the master."""
            is_told = message.method.endswith("/Clone") and message.kind is not Kind.REQUEST
            is_order = message.method.endswith("/AdvanceChunks") and message.kind is Kind.REQUEST
            if is_order and len(cluster.holders("/a")) == 2:
                numbered.append(message.target)
                return DROP if message.target == member else None
            return DROP if is_told else None

        forget = cluster.simulation.on_message(part)
        await cluster.client(1).set_replication("/a", 2)
        while set(numbered) != {"cs1", "cs2"}:
            await wait(0.1)
        await wait(1)
        await cluster.kill(member)
        forget()
        cluster.disk(member).erase()
        if restarts:
            await cluster.kill("master")
            await cluster.start_node("master")
        await cluster.start_node(member)
        await wait(40)
        assert await cluster.found("/a") == BODY
        assert cluster.holders("/a") == ["cs1", "cs2"]

    play(1, story, chunkservers=2, replicas=1)
