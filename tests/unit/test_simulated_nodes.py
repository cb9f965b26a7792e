"""Nodes of a simulation: kill, power cut, pause, restart, clocks, background work, and whose work is whose."""

import asyncio
from typing import Any

import pytest

from runtime.errors import Conflict, NotFound, TimedOut, Unavailable
from runtime.events import TaskFailed
from runtime.node import NodeService
from runtime.simulated.world import NodeEnded, SimulatedWorld, Simulation
from runtime.wire import node_pb2, node_pb2_grpc

ADDRESS = "server:7000"


async def serve(world: SimulatedWorld) -> None:
    """Answer Describe at port 7000."""
    server = world.network.rpc_server("127.0.0.1:7000")
    service = NodeService(world, role="server", cluster="c", control_address=lambda: server.address)
    node_pb2_grpc.add_NodeServicer_to_server(service, server.registrar)
    await server.start()


async def describe(world: SimulatedWorld, timeout: float = 1.0) -> node_pb2.NodeDescription:
    """Ask the server from this node."""
    stub = node_pb2_grpc.NodeStub(world.network.channel(ADDRESS))
    return await stub.Describe(node_pb2.DescribeRequest(), timeout=timeout)


def two_nodes(seed: int = 1) -> tuple[Simulation, SimulatedWorld, SimulatedWorld]:
    simulation = Simulation(seed)
    return simulation, simulation.add_node("server"), simulation.add_node("desk")


class Diary:
    """What a piece of work noticed of its own end."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    async def work(self) -> None:
        self.entries.append("began")
        try:
            await asyncio.sleep(10)
            self.entries.append("finished")
        except asyncio.CancelledError:
            self.entries.append("cancelled")
            raise
        finally:
            self.entries.append("finally")


def test_a_killed_node_notices_nothing_of_its_end():
    simulation, server, _ = two_nodes()
    diary = Diary()

    async def story() -> None:
        server.spawn(diary.work(), "diary")
        await asyncio.sleep(1)
        simulation.kill("server")
        await asyncio.sleep(100)

    simulation.run(story())
    assert diary.entries == ["began"]


def test_tasks_that_a_nodes_tasks_make_die_with_it():
    simulation, server, _ = two_nodes()
    diary = Diary()

    async def parent() -> None:
        async with asyncio.timeout(50):
            await asyncio.gather(asyncio.create_task(diary.work()), diary.work())

    async def story() -> None:
        server.spawn(parent(), "parent")
        await asyncio.sleep(1)
        simulation.kill("server")
        await asyncio.sleep(100)

    simulation.run(story())
    assert diary.entries == ["began", "began"]


def test_a_callback_that_a_node_set_does_not_outlive_it():
    simulation, server, _ = two_nodes()
    rung: list[str] = []

    async def set_alarm() -> None:
        asyncio.get_running_loop().call_later(5, rung.append, "alarm")

    async def story() -> None:
        await simulation.on(server, set_alarm())
        simulation.kill("server")
        await asyncio.sleep(100)

    simulation.run(story())
    assert rung == []


def test_a_node_may_be_killed_by_its_own_work():
    simulation, server, _ = two_nodes()
    told: list[str] = []

    async def fatal() -> None:
        simulation.kill("server")
        told.append("to the end of this step")
        await asyncio.sleep(0)
        told.append("and no further")

    async def story() -> None:
        server.spawn(fatal(), "fatal")
        await asyncio.sleep(10)

    simulation.run(story())
    assert told == ["to the end of this step"]


def test_who_waits_for_the_work_of_a_killed_node_is_told():
    simulation, server, _ = two_nodes()

    async def story() -> None:
        simulation.loop.call_later(1, simulation.kill, "server")
        with pytest.raises(NodeEnded, match="server ended"):
            await simulation.on(server, Diary().work())

    simulation.run(story())


def test_what_work_on_a_node_raises_and_returns_comes_back():
    simulation, server, _ = two_nodes()

    async def seven() -> int:
        return 7

    async def fail() -> None:
        raise Conflict("no")

    async def story() -> None:
        assert await simulation.on(server, seven()) == 7
        with pytest.raises(Conflict, match="no"):
            await simulation.on(server, fail())

    simulation.run(story())


def test_a_restarted_node_serves_again_at_its_old_address():
    simulation, server, desk = two_nodes()

    async def story() -> None:
        await simulation.on(server, serve(server))
        assert (await describe(desk)).node == "server"
        simulation.kill("server")
        await asyncio.sleep(0.01)  # Until the desk has heard that their stream is over.
        with pytest.raises(Unavailable) as caught:
            await describe(desk)
        assert caught.value.definite
        again = simulation.restart("server")
        await simulation.on(again, serve(again))
        assert (await describe(desk)).uptime_seconds < 1

    simulation.run(story())


def test_a_call_that_a_kill_interrupts_may_have_happened():
    simulation, server, desk = two_nodes()

    class Slow(node_pb2_grpc.NodeServicer):
        async def Describe(self, request: Any, context: Any) -> Any:
            await asyncio.sleep(10)
            return node_pb2.NodeDescription()

    async def start() -> None:
        door = server.network.rpc_server("127.0.0.1:7000")
        node_pb2_grpc.add_NodeServicer_to_server(Slow(), door.registrar)
        await door.start()

    async def story() -> float:
        await simulation.on(server, start())
        simulation.loop.call_later(1, simulation.kill, "server")
        with pytest.raises(Unavailable) as caught:
            await describe(desk, timeout=60)
        assert not caught.value.definite
        return simulation.loop.time()

    assert 1 < simulation.run(story()) < 1.1


def test_a_paused_node_answers_when_it_goes_on():
    simulation, server, desk = two_nodes()

    async def story() -> float:
        await simulation.on(server, serve(server))
        simulation.pause("server")
        with pytest.raises(TimedOut):
            await describe(desk, timeout=2)
        asked = asyncio.create_task(describe(desk, timeout=60))
        await asyncio.sleep(5)
        assert not asked.done()
        simulation.resume("server")
        await asked
        return simulation.loop.time()

    assert 7 < simulation.run(story()) < 7.1


def test_the_clock_of_a_paused_node_goes_on_and_its_alarms_are_late():
    simulation, server, _ = two_nodes()
    woke: list[float] = []

    async def nap() -> None:
        await server.clock.sleep(1)
        woke.append(server.clock.now())

    async def story() -> None:
        server.spawn(nap(), "nap")
        await asyncio.sleep(0.5)
        simulation.pause("server")
        await asyncio.sleep(10)
        simulation.resume("server")
        await asyncio.sleep(1)

    simulation.run(story())
    assert woke == [10.5]


def test_a_paused_node_can_be_killed_and_restarted():
    simulation, server, desk = two_nodes()
    diary = Diary()

    async def story() -> None:
        server.spawn(diary.work(), "diary")
        await asyncio.sleep(1)
        simulation.pause("server")
        await asyncio.sleep(20)
        simulation.kill("server")
        again = simulation.restart("server")
        await simulation.on(again, serve(again))
        await describe(desk)

    simulation.run(story())
    assert diary.entries == ["began"]


def test_a_kill_keeps_what_was_written_and_a_power_cut_takes_what_was_not_synced():
    simulation = Simulation(quiet=True)
    desk = simulation.add_node("desk")

    async def write(name: str) -> None:
        file = await simulation.world("desk").disk.open(name, "create")
        await file.append(b"words")

    async def story() -> None:
        await simulation.on(desk, write("a"))
        simulation.kill("desk")
        assert await simulation.restart("desk").disk.list() == ["a"]
        simulation.power_cut("desk")
        assert await simulation.restart("desk").disk.list() == []

    simulation.run(story())


def test_a_killed_node_lets_go_of_its_folder_and_a_paused_one_does_not():
    simulation = Simulation()
    desk = simulation.add_node("desk")

    async def story() -> None:
        await simulation.on(desk, desk.disk.lock(""))
        simulation.pause("desk")
        with pytest.raises(Conflict):
            await desk.disk.lock("")
        again = simulation.restart("desk")
        await simulation.on(again, again.disk.lock(""))

    simulation.run(story())


def test_a_node_without_power_does_not_even_refuse():
    simulation, server, desk = two_nodes()

    async def story() -> None:
        await simulation.on(server, serve(server))
        simulation.power_cut("server")
        with pytest.raises(TimedOut):
            await describe(desk, timeout=3)
        simulation.restart("server")
        with pytest.raises(Unavailable, match="refused"):
            await describe(desk, timeout=3)

    simulation.run(story())


def test_a_one_way_partition_lets_the_request_through_and_loses_the_answer():
    simulation, server, desk = two_nodes()
    served: list[str] = []

    class Counting(node_pb2_grpc.NodeServicer):
        async def Describe(self, request: Any, context: Any) -> Any:
            served.append("once")
            return node_pb2.NodeDescription()

    async def start() -> None:
        door = server.network.rpc_server("127.0.0.1:7000")
        node_pb2_grpc.add_NodeServicer_to_server(Counting(), door.registrar)
        await door.start()

    async def story() -> None:
        await simulation.on(server, start())
        simulation.partition(["server"], ["desk"], one_way=True)
        with pytest.raises(TimedOut) as caught:
            await describe(desk)
        assert served == ["once"] and not caught.value.definite
        simulation.heal()
        await describe(desk)
        simulation.isolate("server")
        with pytest.raises(TimedOut):
            await describe(desk)
        assert served == ["once"] * 2

    simulation.run(story())


def test_clocks_drift_apart_and_never_go_back():
    simulation, server, desk = two_nodes()

    async def story() -> None:
        end = server.simulated_clock.drift(0.01)
        await asyncio.sleep(3600)
        assert server.clock.now() - desk.clock.now() == pytest.approx(36)
        before = server.clock.now()
        end()
        server.simulated_clock.drift(-0.5)
        assert server.clock.now() == pytest.approx(before)
        began = simulation.loop.time()
        await server.clock.sleep(10)
        assert simulation.loop.time() - began == pytest.approx(20)

    simulation.run(story())


def test_a_wall_clock_may_be_wrong_without_moving_the_monotonic_one():
    simulation, server, desk = two_nodes()

    async def story() -> None:
        await asyncio.sleep(5)
        assert server.clock.wall_microseconds() == desk.clock.wall_microseconds()
        server.simulated_clock.offset_wall(-60)
        assert desk.clock.wall_microseconds() - server.clock.wall_microseconds() == 60_000_000
        assert server.clock.now() == desk.clock.now() == 5

    simulation.run(story())


def test_background_work_that_fails_is_an_event_and_cancelled_work_is_not():
    simulation, server, _ = two_nodes()

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError("a bug")

    async def story() -> None:
        server.spawn(fail(), "the loop that fails")
        cancelled = server.spawn(Diary().work(), "the loop that is cancelled")
        await asyncio.sleep(2)
        cancelled.cancel()
        await asyncio.sleep(1)

    simulation.run(story())
    (record,) = simulation.sink.records
    assert isinstance(record.event, TaskFailed) and record.node == "server"
    assert record.event.task == "the loop that fails" and "ValueError: a bug" in record.event.trace


def test_heavy_work_costs_virtual_time():
    simulation, server, _ = two_nodes()

    async def story() -> None:
        assert await server.in_background(lambda: 6 * 7) == 42
        after_work = simulation.loop.time()
        assert after_work > 0
        await server.breathe()
        assert simulation.loop.time() > after_work

    simulation.run(story())


def test_each_node_and_each_of_its_lives_has_random_numbers_of_its_own():
    def drawn(seed: int) -> list[int]:
        simulation, server, desk = two_nodes(seed)
        numbers = [server.random.getrandbits(64), desk.random.getrandbits(64)]
        simulation.kill("server")
        return [*numbers, simulation.restart("server").random.getrandbits(64)]

    assert drawn(1) == drawn(1)
    assert len({*drawn(1), *drawn(2)}) == 6


def test_a_draw_of_one_node_does_not_change_the_luck_of_another():
    def of_the_desk(draws: int) -> float:
        _, server, desk = two_nodes()
        for _ in range(draws):
            server.random.random()
        return desk.random.random()

    assert of_the_desk(0) == of_the_desk(100)


def test_an_unknown_node_is_named_with_the_known_ones():
    simulation, _, _ = two_nodes()
    with pytest.raises(NotFound, match=r"cs9.*server, desk"):
        simulation.kill("cs9")


def test_the_operator_lives_through_every_fault_and_runs_may_follow_each_other():
    simulation, server, _ = two_nodes()

    async def first() -> float:
        for _ in range(3):
            simulation.power_cut("server")
            simulation.restart("server")
            await asyncio.sleep(1)
        return simulation.loop.time()

    async def second() -> float:
        await asyncio.sleep(1)
        return simulation.loop.time()

    assert simulation.run(first()) == 3
    assert simulation.run(second()) == 4
    assert simulation.lives_of("server") == 4
    assert server is not simulation.world("server")


@pytest.mark.parametrize("chunkservers", [300])
def test_hundreds_of_nodes_call_one(chunkservers: int):
    simulation = Simulation(3)
    server = simulation.add_node("server")
    desks = [simulation.add_node(f"cs{number}") for number in range(chunkservers)]

    async def story() -> int:
        await simulation.on(server, serve(server))
        answers = await asyncio.gather(*(describe(desk) for desk in desks))
        return len(answers)

    assert simulation.run(story()) == chunkservers
