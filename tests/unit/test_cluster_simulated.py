"""A simulated cluster as an object: single settings, several clients, and nodes that end in every way."""

import asyncio

import pytest

from cluster.interface import NodeState, wait_until
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.errors import Conflict, DiskFailure, NotFound, TabletopError, Unavailable
from runtime.faults.disk import ListError, OpenError, ReadError
from runtime.simulated.messages import Message
from runtime.simulated.world import Simulation
from runtime.wire.node_pb2 import DescribeRequest
from runtime.wire.node_pb2_grpc import NodeStub

SETTINGS = ClusterSettings(chunkservers=3, chunk_bytes=64 * 1024, lease_seconds=4, heartbeat_seconds=0.5)


def told(story, seed=0, **options):
    """Tell `story(cluster)` after the cluster's start."""
    with Simulation(seed) as simulation:
        cluster = SimulatedCluster(simulation, SETTINGS, **options)

        async def whole() -> None:
            await cluster.start()
            await story(cluster)

        simulation.run(whole(), processor_seconds=60)


async def states(cluster: SimulatedCluster) -> dict[str, NodeState]:
    return {report.node: report.state for report in await cluster.nodes()}


def test_settings_of_single_servers_go_before_those_of_their_role():
    async def story(cluster: SimulatedCluster) -> None:
        def heartbeat(node: str) -> float:
            return cluster.server(node)._settings.heartbeat_seconds

        assert [heartbeat(f"cs{number}") for number in (1, 2, 3)] == [0.25, 0.75, 0.25]
        cluster.overrides["cs3"] = {"heartbeat_seconds": 0.125}
        await cluster.restart("cs3")
        assert heartbeat("cs3") == 0.125

    told(story, overrides={"chunkserver": {"heartbeat_seconds": 0.25}, "cs2": {"heartbeat_seconds": 0.75}})


def test_several_clients_stand_on_nodes_of_their_own_and_may_die_and_come_back():
    async def story(cluster: SimulatedCluster) -> None:
        assert cluster.client_names() == ["client1", "client2", "client3"]
        await cluster.client(2).write_file("/a", b"from two")
        cluster.simulation.isolate("client3")
        assert await cluster.client(1).read_file("/a") == b"from two"
        await cluster.kill("client1")
        with pytest.raises(Conflict):
            await cluster.kill("client1")
        before = cluster.client(1)
        await cluster.start_node("client1")
        assert cluster.client(1) is not before
        assert await cluster.client(1).read_file("/a") == b"from two"

    told(story, clients=3)


def test_one_client_keeps_its_name():
    async def story(cluster: SimulatedCluster) -> None:
        assert cluster.client_names() == ["client"] and cluster.client_world.node == "client"

    told(story)


def test_nodes_are_stopped_started_and_cut_from_power():
    async def story(cluster: SimulatedCluster) -> None:
        await cluster.client().write_file("/a", b"x" * 1000)
        boots = {node: cluster.simulation.world(node).boot_id() for node in ("cs1", "cs2")}
        await cluster.stop_node("cs1")
        assert (await states(cluster))["cs1"] is NodeState.STOPPED
        with pytest.raises(Conflict, match="not running"):
            await cluster.stop_node("cs1")
        await cluster.start_node("cs1")
        with pytest.raises(Conflict, match="is running"):
            await cluster.start_node("cs1")
        await cluster.power_cut("cs2")
        assert (await states(cluster))["cs2"] is NodeState.DEAD
        await cluster.start_node("cs2")
        assert set((await states(cluster)).values()) == {NodeState.SERVING}
        assert cluster.simulation.world("cs1").boot_id() == boots["cs1"]
        assert cluster.simulation.world("cs2").boot_id() != boots["cs2"]
        await cluster.power_cut_all()
        assert set((await states(cluster)).values()) == {NodeState.DEAD}
        for node in cluster.settings.node_names():
            await cluster.start_node(node)
        assert set((await states(cluster)).values()) == {NodeState.SERVING}
        with pytest.raises(NotFound):
            await cluster.power_cut("cs9")

    told(story)


def test_a_node_that_cannot_open_its_disk_is_failed_and_says_why_and_can_be_started_later():
    async def story(cluster: SimulatedCluster) -> None:
        for node, fault in (("cs1", OpenError()), ("cs1", ListError()), ("master", ReadError())):
            await cluster.kill(node)
            end = cluster.simulation.world(node).simulated_disk.impose(fault)
            with pytest.raises(DiskFailure):
                await cluster.start_node(node)
            reports = {report.node: report for report in await cluster.nodes()}
            assert reports[node].state is NodeState.FAILED and "Input/output error" in reports[node].note
            end()
            await cluster.start_node(node)
            assert (await states(cluster))[node] is NodeState.SERVING

    told(story)


@pytest.mark.parametrize("node", ["master", "cs1"])
@pytest.mark.parametrize("way", ["kill", "power_cut"])
def test_nobody_waits_for_a_node_that_is_killed_at_any_step_of_its_stop_or_start(node: str, way: str):
    async def story(cluster: SimulatedCluster) -> None:
        end = getattr(cluster.simulation, way)
        for verb in ("stop_node", "start_node"):
            for step in range(1, 40, 3):
                disk = cluster.simulation.world(node).simulated_disk
                last = disk.operations + step
                forget = disk.on_operation(lambda operation, last=last: end(node) if operation.number == last else None)
                if verb == "start_node" and cluster.is_running(node):
                    await cluster.kill(node)
                try:
                    await getattr(cluster, verb)(node)
                except Unavailable as error:
                    assert "was killed" in error.message
                    assert (await states(cluster))[node] is NodeState.DEAD
                forget()
                if not cluster.is_running(node):
                    await cluster.start_node(node)

    told(story)


def test_whoever_looks_at_the_nodes_is_answered_though_the_client_of_the_way_dies():
    async def story(cluster: SimulatedCluster) -> None:
        world, addresses = cluster.client_world, [report.control_address for report in await cluster.nodes()]
        for address in addresses:  # The client's own calls set the timers of its streams.
            stub = NodeStub(world.network.channel(address))
            await cluster.simulation.on(world, stub.Describe(DescribeRequest(), timeout=0.5))
        looking = asyncio.create_task(cluster.nodes())
        await asyncio.sleep(0)
        cluster.simulation.kill(world.node)
        assert {report.state for report in await asyncio.wait_for(looking, 60)} == {NodeState.HUNG}

    told(story)


def test_a_server_that_ends_by_itself_is_failed():
    async def story(cluster: SimulatedCluster) -> None:
        server = cluster.server("cs2")
        assert server is not None
        server._shutdown.set()

        async def has_failed() -> bool:
            return (await states(cluster))["cs2"] is NodeState.FAILED

        await wait_until(has_failed, what="the server is seen to have ended", timeout_seconds=60)
        assert not cluster.is_running("cs2") and cluster.server("cs2") is None
        await cluster.start_node("cs2")
        assert (await states(cluster))["cs2"] is NodeState.SERVING

    told(story)


def test_a_cluster_stops_although_a_node_dies_meanwhile():
    async def story(cluster: SimulatedCluster) -> None:
        cluster.simulation.pause("cs2")

        def hook(message: Message) -> None:
            if cluster.simulation.world("master").life.alive is False:
                cluster.simulation.kill("cs3")

        cluster.simulation.on_message(hook)
        await cluster.stop()
        assert NodeState.SERVING not in (await states(cluster)).values()

    told(story)


def test_invariants_of_every_server_that_serves_are_checked():
    async def story(cluster: SimulatedCluster) -> None:
        asked: list[str] = []
        for node in cluster.settings.node_names():
            server = cluster.server(node)
            server.check_invariants = lambda node=node: asked.append(node)
        cluster.check_invariants()
        await cluster.kill("cs1")
        cluster.check_invariants()
        assert asked == ["master", "cs1", "cs2", "cs3", "master", "cs2", "cs3"]

    told(story)


def test_restarting_many_times_at_once_ends_with_one_server():
    async def story(cluster: SimulatedCluster) -> None:
        await cluster.kill("cs1")
        results = await asyncio.gather(*(cluster.start_node("cs1") for _ in range(3)), return_exceptions=True)
        assert sum(isinstance(result, Conflict) for result in results) == 2
        assert all(result is None or isinstance(result, TabletopError) for result in results)
        assert (await states(cluster))["cs1"] is NodeState.SERVING

    told(story)
