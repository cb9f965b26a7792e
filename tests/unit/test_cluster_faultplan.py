"""Plans of faults: each kind strikes whom it should, when it should, and ends."""

import asyncio

import pytest

from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_files import data_path, metadata_path
from chunkserver.storage.chunk_format import SLOT_BYTES, TABLE_OFFSET, Header, decode_slots
from cluster.fault_runner import FaultBegan, FaultEnded, FaultRunner, FaultSkipped
from cluster.faultplan import (
    AllServers,
    At,
    BadLink,
    ClockDrift,
    DiskTrouble,
    EmptyDisk,
    Fault,
    Group,
    Isolate,
    Kill,
    MessageDelayed,
    MessageDoubled,
    MessageLost,
    Node,
    OnDisk,
    OnMessage,
    OperationFails,
    Partition,
    Pause,
    PowerCut,
    RandomServer,
    Replica,
    RottenBlock,
    RottenHeader,
    RottenTable,
    SlowNode,
    Stop,
    TheMaster,
    ThePrimary,
    TheReceiver,
    TheSender,
    TornBlock,
    TornHeader,
    WallOffset,
    WrongFolder,
)
from cluster.interface import NodeState
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from cluster.striking import NodeStartFailed
from runtime.errors import DiskFailure, TimedOut, Unavailable
from runtime.events import sentence
from runtime.faults.disk import DroppedWrites, FullDisk, OpenError, ReadError, SlowDisk, SyncError, WriteError
from runtime.faults.links import Kind, LinkFaults
from runtime.simulated.world import Simulation
from runtime.wire import node_pb2, node_pb2_grpc

SETTINGS = ClusterSettings(chunkservers=4, replicas=3, chunk_bytes=128 * 1024, lease_seconds=4, heartbeat_seconds=0.5)
DATA = bytes(range(256)) * 600  # Two chunks, the first of two blocks.


class Scene:
    """A cluster with one file, and the faults that befall it."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self.simulation = cluster.simulation
        self.runner: FaultRunner

    def begin(self, *plan: Fault, **options) -> None:
        """Begin a plan."""
        self.runner = FaultRunner(self.cluster, plan, **options)
        self.runner.begin()

    def events(self, kind: type) -> list:
        """What was recorded of the faults."""
        return [record.event for record in self.simulation.sink.records if isinstance(record.event, kind)]

    async def states(self) -> dict[str, NodeState]:
        return {report.node: report.state for report in await self.cluster.nodes()}

    async def reaches(self, source: str, target: str, timeout: float = 0.9) -> bool:
        """Whether a call from one node to another is answered."""
        world = self.simulation.world(source)
        stub = node_pb2_grpc.NodeStub(world.network.channel(self.cluster.server(target).control_address))

        async def ask() -> None:
            await stub.Describe(node_pb2.DescribeRequest(), timeout=timeout)

        try:
            await self.simulation.on(world, ask())
        except (TimedOut, Unavailable):
            return False
        return True


def told(story, seed=0):
    """Tell `story(scene)`; afterwards all is healed and serves."""
    with Simulation(seed) as simulation:
        cluster = SimulatedCluster(simulation, SETTINGS)

        async def whole() -> None:
            await cluster.start()
            async with await cluster.client().open("/a", "xb") as file:  # Not renamed at the end: its leases stay.
                await file.write(DATA)
            scene = Scene(cluster)
            await story(scene)
            await scene.runner.heal_all()
            assert set((await scene.states()).values()) == {NodeState.SERVING}

        simulation.run(whole(), processor_seconds=60)


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
@pytest.mark.parametrize("node", ["cs1", "master"])
def test_a_node_is_down_for_as_long_as_the_fault_lasts(what, state, node):
    if node == "master" and isinstance(what, EmptyDisk):
        pytest.skip("a master without its disk is another namespace's")

    async def story(scene: Scene) -> None:
        boot = scene.simulation.world(node).boot_id()
        scene.begin(Fault(At(1.0), what, Node(node), seconds=20.0))
        await asyncio.sleep(0.9)
        assert (await scene.states())[node] is NodeState.SERVING
        await asyncio.sleep(15)
        assert (await scene.states())[node] is state
        assert bool(scene.simulation.world(node).simulated_disk.paths()) is not isinstance(what, EmptyDisk)
        await asyncio.sleep(10)
        assert (await scene.states())[node] is NodeState.SERVING
        assert (scene.simulation.world(node).boot_id() != boot) is isinstance(what, PowerCut)
        (began,) = scene.events(FaultBegan)
        assert sentence(began) == f"fault 0 begins: {what!r} at {node} ({node} at 1 s)"
        assert len(scene.events(FaultEnded)) == 1

    told(story)


def test_a_master_on_a_wrong_folder_is_a_stranger_to_every_server_and_no_client_reaches_it():
    async def story(scene: Scene) -> None:
        client = scene.cluster.client()
        scene.begin(Fault(At(0.0), WrongFolder(), TheMaster(), seconds=6.0))
        await asyncio.sleep(3)
        core = scene.cluster.server("master").core
        assert not core.servers.alive() and core.state.namespace.find("/a") is None
        reading = asyncio.ensure_future(client.read_file("/a"))
        await asyncio.sleep(2)
        assert not reading.done()
        assert await reading == DATA
        assert len(scene.cluster.server("master").core.servers.alive()) == 4

    told(story)


def test_a_node_that_two_faults_hold_down_starts_after_the_last_of_them():
    async def story(scene: Scene) -> None:
        scene.begin(
            Fault(At(0.0), Kill(), Node("cs1"), seconds=5.0),
            Fault(At(2.0), PowerCut(), AllServers(), seconds=10.0),
        )
        await asyncio.sleep(3)
        assert set((await scene.states()).values()) == {NodeState.DEAD}
        await asyncio.sleep(4)
        assert (await scene.states())["cs1"] is NodeState.DEAD
        await asyncio.sleep(10)
        assert set((await scene.states()).values()) == {NodeState.SERVING}

    told(story)


def test_healing_ends_what_would_have_lasted_and_disarms_what_has_not_begun():
    async def story(scene: Scene) -> None:
        scene.begin(
            Fault(At(0.0), Kill(), Node("cs1")),
            Fault(At(0.0), Isolate(), TheMaster()),
            Fault(At(100.0), Kill(), Node("cs2")),
            Fault(OnMessage("Master/*"), Kill(), Node("cs3")),
        )
        await asyncio.sleep(1)
        await scene.runner.heal_all()
        assert scene.runner.began() == [scene.runner._running[number].fault for number in (0, 1)]
        await scene.cluster.status()
        await asyncio.sleep(200)
        assert set((await scene.states()).values()) == {NodeState.SERVING}

    told(story)


def test_a_start_that_fails_is_tried_again_and_told():
    async def story(scene: Scene) -> None:
        scene.begin(
            Fault(At(0.0), Kill(), Node("cs1"), seconds=1.0),
            Fault(At(0.0), DiskTrouble(OpenError()), Node("cs1"), seconds=5.0),
        )
        await asyncio.sleep(4)
        assert (await scene.states())["cs1"] is NodeState.FAILED
        assert "Input/output error" in scene.events(NodeStartFailed)[0].problem
        await asyncio.sleep(10)
        assert (await scene.states())["cs1"] is NodeState.SERVING

    told(story)


def test_a_supervisor_revives_what_nothing_holds_down():
    async def story(scene: Scene) -> None:
        scene.begin(Fault(At(0.0), Kill(), Node("cs2"), seconds=20.0), revive_seconds=2.0)
        await scene.cluster.kill("cs1")
        await asyncio.sleep(8)
        states = await scene.states()
        assert states["cs1"] is NodeState.SERVING and states["cs2"] is NodeState.DEAD

    told(story)


def test_partitions_cut_one_way_or_both_and_an_isolated_node_may_still_hear():
    async def story(scene: Scene) -> None:
        scene.begin(
            Fault(At(0.0), Partition(Node("cs2")), Node("cs1"), seconds=10.0),
            Fault(At(0.0), Partition(Node("cs4"), one_way=True), Node("cs3"), seconds=10.0),
            Fault(At(20.0), Isolate(), Node("cs1"), seconds=10.0),
            Fault(At(40.0), Isolate(hears=True), Node("cs1"), seconds=10.0),
        )
        await asyncio.sleep(1)
        blocked = scene.simulation.fabric.is_blocked
        assert not await scene.reaches("cs1", "cs2") and not await scene.reaches("cs2", "cs1")
        assert blocked("cs3", "cs4") and not blocked("cs4", "cs3")
        assert await scene.reaches("client", "cs1") and await scene.reaches("cs2", "cs4")
        await asyncio.sleep(14)
        assert await scene.reaches("cs1", "cs2") and await scene.reaches("cs3", "cs4")
        await asyncio.sleep(10)
        assert not await scene.reaches("client", "cs1") and not await scene.reaches("master", "cs1")
        await asyncio.sleep(20)
        assert blocked("cs1", "client") and not blocked("client", "cs1")

    told(story)


def test_links_nodes_and_clocks_go_wrong_for_a_while():
    async def story(scene: Scene) -> None:
        bad = LinkFaults(delay=1.0, jitter=5.0, loss=0.1, duplication=0.2)
        scene.begin(
            Fault(At(0.0), BadLink(bad, Node("cs2"), one_way=True), Node("cs1"), seconds=10.0),
            Fault(At(0.0), BadLink(LinkFaults(loss=0.5)), Node("cs3"), seconds=10.0),
            Fault(At(0.0), SlowNode(2.0), Node("cs4"), seconds=10.0),
            Fault(At(0.0), ClockDrift(0.5), TheMaster(), seconds=10.0),
            Fault(At(0.0), WallOffset(-100.0), TheMaster(), seconds=10.0),
        )
        await asyncio.sleep(0)
        await asyncio.sleep(5)
        faults = scene.simulation.fabric.faults
        assert faults("cs1", "cs2") == bad and faults("cs2", "cs1") == LinkFaults()
        assert faults("cs3", "master").loss == 0.5 and faults("client", "cs3").loss == 0.5
        assert faults("cs4", "cs1").delay == 2.0 and faults("cs1", "cs4").delay == 2.0
        master = scene.simulation.world("master")
        fast, true = master.clock.now(), scene.simulation.loop.time()
        assert fast - true == pytest.approx(2.5, abs=0.01)
        assert master.clock.wall_microseconds() < scene.simulation.true_microseconds() - 90_000_000
        await asyncio.sleep(10)
        assert faults("cs1", "cs2") == LinkFaults() == faults("cs4", "cs1")
        assert master.clock.now() - scene.simulation.loop.time() == pytest.approx(5.0, abs=0.01)
        assert master.clock.wall_microseconds() > scene.simulation.true_microseconds()

    told(story)


@pytest.mark.parametrize(
    "fault",
    [
        ReadError("chunks/"),
        WriteError("chunks/"),
        SyncError("chunks/"),
        FullDisk(),
        SlowDisk(seconds_per_operation=0.2),
        DroppedWrites("chunks/", times=None),
    ],
)
def test_disks_are_in_trouble_for_a_while(fault):
    async def story(scene: Scene) -> None:
        scene.begin(Fault(At(0.0), DiskTrouble(fault), Node("cs1"), seconds=10.0))
        disk = scene.simulation.world("cs1").simulated_disk
        await asyncio.sleep(5)
        assert any(one.fault == fault for one in disk._faults._imposed.values())
        await asyncio.sleep(6)
        assert not disk._faults._imposed

    told(story)


def test_targets_are_found_when_the_fault_strikes():
    async def story(scene: Scene) -> None:
        placement = FaultRunner(scene.cluster, []).placement
        first = placement.holders("/a", 0)
        assert len(first) == 3 and set(placement.chunk("/a", 0).believed) == set(first)
        primary = placement.chunk("/a", 1).primary
        scene.begin(
            Fault(At(0.0), SlowNode(0.1), Replica("/a", chunk=0, number=2)),
            Fault(At(0.0), SlowNode(0.2), ThePrimary("/a", chunk=1)),
            Fault(At(0.0), SlowNode(0.3), RandomServer()),
            Fault(At(0.0), SlowNode(0.4), Group((TheMaster(), Replica("/a", 0, 1), Replica("/a", 0, 1)))),
            Fault(At(0.0), SlowNode(0.5), Replica("/a", chunk=0, number=4)),
            Fault(At(0.0), SlowNode(0.6), ThePrimary("/nowhere", chunk=0)),
            Fault(At(0.0), SlowNode(0.7), TheSender()),
        )
        await asyncio.sleep(1)
        began = {event.what: event.nodes for event in scene.events(FaultBegan)}
        assert began[repr(SlowNode(0.1))] == first[1]
        assert began[repr(SlowNode(0.2))] == primary
        assert began[repr(SlowNode(0.3))] in ("cs1", "cs2", "cs3", "cs4")
        assert began[repr(SlowNode(0.4))] == f"master, {first[0]}"
        assert [event.number for event in scene.events(FaultSkipped)] == [4, 5, 6]

    told(story)


def test_the_place_of_a_chunk_is_remembered_while_the_master_is_down():
    async def story(scene: Scene) -> None:
        scene.begin(
            Fault(At(1.0), Kill(), TheMaster(), seconds=5.0),
            Fault(At(2.0), Kill(), Replica("/a", 0, 1), seconds=3.0),
        )
        scene.runner.placement.look()
        await asyncio.sleep(3)
        assert len(scene.events(FaultBegan)) == 2

    told(story)


def test_a_message_sets_a_fault_off_at_its_nth_match():
    async def story(scene: Scene) -> None:
        scene.begin(
            Fault(OnMessage("Node/Describe", Kind.REQUEST, "client", "cs*", nth=3), Kill(), TheReceiver(), seconds=5.0),
        )
        for number in (1, 2, 3):
            assert await scene.reaches("client", f"cs{number}") is (number < 3)
        assert scene.runner.began() and not scene.cluster.is_running("cs3")
        await asyncio.sleep(10)

    told(story)


def test_a_server_that_is_killed_at_its_reply_has_done_the_work():
    async def story(scene: Scene) -> None:
        scene.begin(Fault(OnMessage("Master/CreateFiles", Kind.REPLY), Kill(), TheSender(), seconds=2.0))
        created = asyncio.create_task(scene.cluster.client().write_file("/b", b"x"))
        await asyncio.wait([created])
        await asyncio.sleep(10)
        assert scene.events(FaultBegan)[0].nodes == "master"
        assert await scene.cluster.client().exists("/b")

    told(story)


def test_messages_are_lost_or_late_one_at_a_time_or_for_a_while():
    async def story(scene: Scene) -> None:
        asked = {"method": "Node/Describe", "kind": Kind.REQUEST, "source": "client"}
        scene.begin(
            Fault(OnMessage(target="cs1", nth=2, **asked), MessageLost()),
            Fault(OnMessage(target="cs2", **asked), MessageLost(), seconds=5.0),
            Fault(OnMessage(target="cs3", **asked), MessageDelayed(2.0), seconds=5.0),
        )
        assert [await scene.reaches("client", "cs1") for _ in range(4)] == [True, False, True, True]
        assert not await scene.reaches("client", "cs2") and not await scene.reaches("client", "cs2")
        assert not await scene.reaches("client", "cs3", timeout=1.9)
        assert await scene.reaches("client", "cs3", timeout=2.5)
        await asyncio.sleep(6)
        assert await scene.reaches("client", "cs2") and await scene.reaches("client", "cs3")

    told(story)


def test_a_write_that_comes_again_does_not_undo_what_was_written_since():
    async def story(scene: Scene) -> None:
        again = Fault(OnMessage("Chunkserver/Write", Kind.REQUEST), MessageDoubled(2.0))
        scene.begin(again)
        client = scene.cluster.client()
        async with await client.open("/a", "r+b") as file:
            await file.pwrite(0, b"first")
            await file.pwrite(0, b"since")
            await asyncio.sleep(3)
        assert scene.events(FaultBegan)[0].what.startswith("MessageDoubled")
        assert (await client.read_file("/a"))[:5] == b"since"

    told(story)


def test_damage_of_the_newest_header_finds_it():
    async def story(scene: Scene) -> None:
        placement = FaultRunner(scene.cluster, []).placement
        handle, victim = placement.chunk("/a", 0).handle, placement.holders("/a", 0)[1]
        await scene.cluster.stop()
        disk = scene.simulation.world(victim).simulated_disk

        def headers() -> dict[int, Header]:
            return decode_slots(bytes(disk.content(metadata_path(handle)).cached), handle)

        before = headers()
        newest = max(before, key=lambda slot: before[slot].sequence)
        scene.begin(Fault(At(0.0), RottenHeader("/a", 0, "newest"), Node(victim)), placement=placement)
        await asyncio.sleep(1)
        assert headers() == {slot: header for slot, header in before.items() if slot != newest}

    told(story)


def test_a_disk_operation_sets_a_fault_off_or_fails():
    async def story(scene: Scene) -> None:
        scene.begin(
            Fault(OnDisk("make_directory", "x*", "cs?", nth=2), Kill(), TheSender(), seconds=3.0),
            Fault(OnDisk("list", "y", "cs4"), OperationFails()),
            Fault(OnDisk("list", "z", "cs4"), OperationFails(), seconds=5.0),
        )
        disks = {name: scene.simulation.world(name).disk for name in ("cs1", "cs2", "cs4")}
        for number, name in enumerate(("cs1", "cs2")):
            await disks[name].make_directory(f"x{number}")
        assert not scene.cluster.is_running("cs2")
        await disks["cs4"].make_directory("y")
        await disks["cs4"].make_directory("z")
        with pytest.raises(DiskFailure):
            await disks["cs4"].list("y")
        await disks["cs4"].list("y")
        for _ in range(2):
            with pytest.raises(DiskFailure):
                await disks["cs4"].list("z")
        await asyncio.sleep(6)
        await disks["cs4"].list("z")

    told(story)


def test_a_fault_that_needs_a_trigger_is_refused_without_one():
    async def story(scene: Scene) -> None:
        with pytest.raises(AssertionError, match="never do anything"):
            scene.begin(Fault(At(1.0), MessageLost()))

    told(story)


@pytest.mark.parametrize(
    ("what", "file", "places"),
    [
        (RottenBlock("/a", 0, 1), "data", range(BLOCK_BYTES, BLOCK_BYTES + 4)),
        (RottenHeader("/a", 0, 1), "meta", range(SLOT_BYTES, 2 * SLOT_BYTES)),
        (RottenHeader("/a", 0), "meta", range(TABLE_OFFSET)),
        (RottenTable("/a", 0, 1), "meta", range(TABLE_OFFSET + 4, TABLE_OFFSET + 8)),
        (TornHeader("/a", 0, 0), "meta", range(SLOT_BYTES)),
        (TornBlock("/a", 0, 1), "data", range(BLOCK_BYTES + 1, 2 * BLOCK_BYTES)),
    ],
)
def test_damage_hits_the_chosen_place_of_the_chosen_replica_and_nothing_else(what, file, places):
    async def story(scene: Scene) -> None:
        placement = FaultRunner(scene.cluster, []).placement
        handle = placement.chunk("/a", 0).handle
        victim = placement.holders("/a", 0)[1]
        await scene.cluster.stop()  # So that nobody else writes.

        def contents() -> dict[tuple[str, str], bytes]:
            disks = {node: scene.simulation.world(node).simulated_disk for node in SETTINGS.node_names()}
            return {
                (node, path): bytes(disk.content(path).cached) for node, disk in disks.items() for path in disk.paths()
            }

        before = contents()
        at_nobody = Fault(At(0.0), what, RandomServer(running=True))
        scene.begin(Fault(At(0.0), what, Node(victim)), at_nobody, placement=placement)
        await asyncio.sleep(1)
        after = contents()
        path = data_path(handle) if file == "data" else metadata_path(handle)
        changed = [key for key in before if before[key] != after[key]]
        assert changed == [(victim, path)] and before.keys() == after.keys()
        old, new = before[victim, path], after[victim, path]
        differing = [place for place in range(len(old)) if old[place] != new[place]]
        assert differing and set(differing) <= set(places) and len(old) == len(new)
        assert "begins" in sentence(scene.events(FaultBegan)[0]) and scene.events(FaultSkipped)

    told(story)


def test_a_fault_that_is_forbidden_does_not_strike_and_says_why():
    async def story(scene: Scene) -> None:
        asked = []

        def forbid(fault: Fault, nodes: list[str]) -> str:
            asked.append((fault.what, nodes))
            return "the last good copy" if "cs1" in nodes else ""

        scene.begin(
            Fault(At(0.0), EmptyDisk(), Node("cs1"), 1.0), Fault(At(0.0), Pause(), Node("cs2"), 1.0), forbid=forbid
        )
        await asyncio.sleep(0.5)
        assert asked == [(EmptyDisk(), ["cs1"]), (Pause(), ["cs2"])]
        assert [event.reason for event in scene.events(FaultSkipped)] == ["the last good copy"]
        assert scene.cluster.is_running("cs1") and scene.simulation.world("cs1").simulated_disk.paths()
        assert (await scene.states())["cs2"] is NodeState.PAUSED

    told(story)


def test_a_plan_prints_as_its_own_source():
    fault = Fault(OnDisk(verb="sync", path="log*"), DiskTrouble(ReadError("a", 5, 3)), Replica("/a", 3, 2), seconds=4.0)
    assert eval(repr(fault)) == fault
    assert str(fault) == (
        "at disk operation 1 of sync log* on *: DiskTrouble(fault=ReadError(path='a', offset=5, count=3)) "
        "at replica 2 of /a[3] for 4 s"
    )


def test_a_seed_gives_the_same_faults_again():
    def events() -> bytes:
        with Simulation(3) as simulation:
            cluster = SimulatedCluster(simulation, SETTINGS)
            plan = [
                Fault(At(number * 2.0), what, RandomServer(running=False), seconds=3.0)
                for number, what in enumerate((Kill(), PowerCut(), Pause(), Isolate(), Stop()))
            ]

            async def story() -> None:
                await cluster.start()
                runner = FaultRunner(cluster, plan)
                runner.begin()
                await cluster.client().write_file("/a", DATA)
                await asyncio.sleep(12)
                await runner.heal_all()

            simulation.run(story(), processor_seconds=60)
            return simulation.event_bytes()

    assert events() == events()
