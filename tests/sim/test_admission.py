"""An operator admits a replica that was put aside, while messages are lost or doubled (GFS 4.5 leaves it open)."""

import pytest

from master.events import ReplicaAdmitted
from runtime.errors import NotFound
from runtime.simulated.messages import DROP, Double, Drop, Kind, Message
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
