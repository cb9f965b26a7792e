"""A watcher of a simulation sees every message and what became of it, and changes nothing."""

import asyncio

import pytest

from runtime.errors import TabletopError
from runtime.faults.links import Kind
from runtime.simulated.messages import DROP, Double
from runtime.simulated.traffic import Traffic
from runtime.simulated.world import Simulation
from tests.conformance.both_worlds import WAYS, EchoStub, echo, register, text

ADDRESS = "server:7001"


def call(simulation: Simulation, way: str, hook=None) -> str:
    """What came of one call, over a network with this hook."""

    async def story() -> str:
        client, server = simulation.add_node("client"), simulation.add_node("server")
        rpc = server.network.rpc_server(ADDRESS)
        register(rpc.registrar, {"Unary": echo})
        await simulation.on(server, rpc.start())
        if hook is not None:
            simulation.on_message(hook)
        channel = client.network.channel(ADDRESS)
        stub = EchoStub(channel.plain if way == "plain" else channel)
        try:
            answer = (await stub.unary(text("a"), timeout=1.0)).value
        except TabletopError as error:
            answer = type(error).__name__
        await asyncio.sleep(2.0)
        return answer

    with simulation:
        return simulation.run(story())


def watched(way: str, hook=None) -> tuple[str, Traffic]:
    simulation = Simulation(seed=3)
    traffic = Traffic(simulation, simulation.sink.records)
    return call(simulation, way, hook), traffic


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_a_request_and_a_reply_that_arrive_after_they_were_sent(way: str):
    answer, traffic = watched(way)
    request, reply = traffic.passages
    assert answer == "echo a"
    assert [(one.kind, one.source, one.target) for one in (request, reply)] == [
        (Kind.REQUEST, "client", "server"),
        (Kind.REPLY, "server", "client"),
    ]
    assert request.sent < request.arrivals[0] <= reply.sent < reply.arrivals[0]
    assert reply.status == "OK" and request.lost is None
    assert [step.passage.number for step in traffic.steps] == [request.number, request.number, *[reply.number] * 2]


@pytest.mark.parametrize("way", WAYS)
def test_a_lost_message_never_arrives_and_a_doubled_one_comes_twice(way: str):
    answer, traffic = watched(way, lambda message: DROP if message.kind is Kind.REPLY else None)
    assert answer == "TimedOut"
    assert (traffic.passages[1].arrivals, traffic.passages[1].lost) == ([], traffic.passages[1].sent)
    _, traffic = watched(way, lambda message: Double(0.5) if message.kind is Kind.REQUEST else None)
    first, again = traffic.passages[0].arrivals
    assert again - first >= 0.4e9


def test_a_message_to_a_link_that_is_cut_is_lost():
    simulation = Simulation(seed=3)
    traffic = Traffic(simulation, simulation.sink.records)

    def cut(message):
        simulation.partition(["client"], ["server"])

    assert call(simulation, "carried", cut) == "TimedOut"
    assert traffic.passages[0].arrivals == [] and traffic.passages[0].lost is not None


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_watched_is_the_same_run(way: str):
    plain, seen = Simulation(seed=5), Simulation(seed=5)
    Traffic(seen, seen.sink.records)
    assert call(plain, way) == call(seen, way)
    assert (plain.tape.draws(), plain.loop.nanoseconds) == (seen.tape.draws(), seen.loop.nanoseconds)
