"""Faults that are imposed on a simulated cluster on the spot, listed, and healed by number."""

import asyncio

import pytest

from cluster.fault_log import FaultHealed, FaultImposed, FaultStruck
from cluster.faultplan import (
    AllServers,
    BadLink,
    DiskTrouble,
    EmptyDisk,
    Isolate,
    Kill,
    MessageLost,
    Node,
    Partition,
    Pause,
    PowerCut,
    Replica,
    ReplicaTrouble,
    RottenBlock,
    Stop,
    TheMaster,
    ThePrimary,
    TheSender,
)
from cluster.interface import NodeState
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.errors import InvalidRequest, NotFound, TimedOut, Unavailable
from runtime.faults.disk import ReadError, SyncError
from runtime.faults.links import Kind, LinkFaults
from runtime.simulated.world import Simulation
from runtime.wire import node_pb2, node_pb2_grpc

SETTINGS = ClusterSettings(chunkservers=3, chunk_bytes=128 * 1024)
DATA = bytes(range(256)) * 1024


def told(story):
    """Tell `story(cluster)` of a cluster with one file, /a."""
    with Simulation(3) as simulation:
        cluster = SimulatedCluster(simulation, SETTINGS)

        async def whole() -> None:
            await cluster.start()
            await cluster.client().write_file("/a", DATA)
            await story(cluster)
            await cluster.heal()
            assert cluster.imposed() == []
            assert {report.state for report in await cluster.nodes()} == {NodeState.SERVING}

        simulation.run(whole(), processor_seconds=60)


async def seconds_to_reach(cluster: SimulatedCluster, source: str, target: str) -> float | None:
    """How long a call takes, in virtual seconds; None if it is not answered in three."""
    world, loop = cluster.simulation.world(source), asyncio.get_running_loop()
    stub = node_pb2_grpc.NodeStub(world.network.channel(cluster.server(target).control_address))

    async def ask() -> None:
        await stub.Describe(node_pb2.DescribeRequest(), timeout=3.0)

    begun = loop.time()
    try:
        await cluster.simulation.on(world, ask())
    except (TimedOut, Unavailable):
        return None
    return loop.time() - begun


def events(cluster: SimulatedCluster, kind: type) -> list:
    return [record.event for record in cluster.simulation.sink.records if isinstance(record.event, kind)]


def test_imposed_faults_have_numbers_and_words_and_are_healed_one_by_one():
    async def story(cluster: SimulatedCluster) -> None:
        cut = await cluster.impose(Partition(TheMaster()), Node("cs1"))
        alone = await cluster.impose(Isolate(hears=True), Node("cs2"))
        assert (cut.number, cut.nodes, cut.words) == (1, ("cs1",), "nothing passes between cs1 and master")
        assert (alone.number, alone.words) == (2, "nothing that cs2 sends reaches anybody; it hears the others")
        assert cluster.imposed() == [cut, alone]
        assert await seconds_to_reach(cluster, "cs1", "master") is None
        assert await cluster.heal(1) == [cut]
        assert await seconds_to_reach(cluster, "cs1", "master") is not None
        assert await seconds_to_reach(cluster, "cs2", "master") is None
        with pytest.raises(NotFound, match="no fault 1 lasts; there are: 2"):
            await cluster.heal(1)
        assert await cluster.heal() == [alone]
        assert await seconds_to_reach(cluster, "cs2", "master") is not None
        assert [event.number for event in events(cluster, FaultImposed)] == [1, 2]
        assert [event.number for event in events(cluster, FaultHealed)] == [1, 2]

    told(story)


def test_a_fault_with_a_duration_ends_by_itself():
    async def story(cluster: SimulatedCluster) -> None:
        begun = cluster.simulation.true_microseconds() / 1e6
        fault = await cluster.impose(Isolate(), Node("cs1"), seconds=5.0)
        assert fault.ends_at == pytest.approx(begun + 5.0)
        assert await seconds_to_reach(cluster, "client", "cs1") is None
        await asyncio.sleep(6.0)
        assert cluster.imposed() == []
        assert await seconds_to_reach(cluster, "client", "cs1") is not None

    told(story)


@pytest.mark.parametrize(
    ("what", "state"),
    [
        (Kill(), NodeState.DEAD),
        (PowerCut(), NodeState.DEAD),
        (Stop(), NodeState.STOPPED),
        (EmptyDisk(), NodeState.DEAD),
        (Pause(), NodeState.PAUSED),
    ],
)
def test_what_a_fault_ended_is_started_when_it_is_healed(what, state):
    async def story(cluster: SimulatedCluster) -> None:
        await cluster.impose(what, Node("cs2"))
        assert {report.node: report.state for report in await cluster.nodes()}["cs2"] is state
        await cluster.heal()
        assert {report.node: report.state for report in await cluster.nodes()}["cs2"] is NodeState.SERVING

    told(story)


def test_a_node_that_two_faults_hold_down_is_started_after_the_second():
    async def story(cluster: SimulatedCluster) -> None:
        first = await cluster.impose(Kill(), Node("cs1"))
        second = await cluster.impose(PowerCut(), AllServers())
        await cluster.heal(second.number)
        states = {report.node: report.state for report in await cluster.nodes()}
        assert states == {
            "master": NodeState.SERVING,
            "cs1": NodeState.DEAD,
            "cs2": NodeState.SERVING,
            "cs3": NodeState.SERVING,
        }
        await cluster.heal(first.number)

    told(story)


def test_replies_alone_are_late():
    async def story(cluster: SimulatedCluster) -> None:
        late = BadLink(LinkFaults(delay=0.3), TheMaster(), one_way=True, kind=Kind.REPLY)
        fault = await cluster.impose(late, Node("cs1"))
        assert fault.words == "replies from cs1 to master are 300 ms late"
        asked, asking = (
            await seconds_to_reach(cluster, "master", "cs1"),
            await seconds_to_reach(cluster, "cs1", "master"),
        )
        assert asked is not None and asked >= 0.3
        assert asking is not None and asking < 0.1

    told(story)


def test_damage_is_told_byte_by_byte_and_does_not_last():
    async def story(cluster: SimulatedCluster) -> None:
        fault = await cluster.impose(RottenBlock("/a", 1, block=1), Replica("/a", 1, 2))
        assert fault.nodes == ("cs2",) and fault.ends_at is None and cluster.imposed() == []
        assert fault.words.startswith("flipped bits of 4 bytes from byte 65536 of ")
        assert events(cluster, FaultStruck)[0].words == fault.words
        with pytest.raises(NotFound, match="nobody knows a chunk 7"):
            await cluster.impose(RottenBlock("/a", 7), Node("cs1"))
        with pytest.raises(InvalidRequest, match="no block 2 in a replica of 131072 bytes: 2 blocks"):
            await cluster.impose(RottenBlock("/a", 1, block=2), Node("cs1"))

    told(story)


def test_trouble_with_the_files_of_one_replica():
    async def story(cluster: SimulatedCluster) -> None:
        fault = await cluster.impose(ReplicaTrouble(ReadError(), "/a", 0), Replica("/a", 0, 3))
        assert fault.words.startswith("reads of the replica of chunk 0 of /a (chunks/")
        assert fault.words.endswith(" on cs3 fail with EIO")
        assert await cluster.client().read_file("/a") == DATA
        other = await cluster.impose(DiskTrouble(SyncError("log")), TheMaster())
        assert other.words == "syncs of files that begin with log on master fail with EIO"

    told(story)


def test_what_makes_no_sense_on_the_spot_is_refused():
    async def story(cluster: SimulatedCluster) -> None:
        with pytest.raises(InvalidRequest, match="put it into a plan"):
            await cluster.impose(MessageLost(), Node("cs1"))
        with pytest.raises(InvalidRequest, match="put it into a plan"):
            await cluster.impose(Kill(), TheSender())
        with pytest.raises(NotFound, match="there is no cs9 now"):
            await cluster.impose(Kill(), Node("cs9"))
        await asyncio.sleep(1.5 * SETTINGS.lease_seconds)
        with pytest.raises(NotFound, match=r"no node is the primary of /a\[0\] now"):
            await cluster.impose(Kill(), ThePrimary("/a", 0))
        assert cluster.imposed() == []

    told(story)
