"""Simulated calls under faults: what a caller learns, and what was done all the same."""

import asyncio
import contextlib

import pytest

from runtime.errors import TimedOut, Unavailable
from runtime.faults.links import LinkFaults
from runtime.simulated.world import Simulation
from tests.conformance.both_worlds import WAYS, EchoStub, echo, register, several, text

ADDRESS = "server:7001"


class Scene:
    """A server and a client, and what the server's handlers saw."""

    def __init__(self, simulation):
        self.simulation = simulation
        self.way = "carried"
        self.client = simulation.add_node("client")
        self.server = simulation.add_node("server")
        self.seen = []
        self.ended = []

    async def serve(self, **behaviours):
        """Let the server offer these behaviours, by default ones that note what they see."""

        async def note(request, context):
            self.seen.append(request.value)
            return await echo(request, context)

        world = self.simulation.world("server")
        rpc = self.rpc = world.network.rpc_server(ADDRESS)
        register(rpc.registrar, {"Unary": note, "Up": self.collect, "Down": self.count, **behaviours})
        await self.simulation.on(world, rpc.start())

    async def collect(self, requests, context):
        """Note a stream of requests."""
        try:
            async for request in requests:
                self.seen.append(request.value)
            return text("all")
        finally:
            self.ended.append(True)

    async def count(self, request, context):
        """Answer with a stream of numbers, one every 10 ms."""
        try:
            for number in range(int(request.value)):
                yield text(str(number))
                await asyncio.sleep(0.01)
        finally:
            self.ended.append(True)

    async def never(self, request, context):
        """Do not answer."""
        self.seen.append(request.value)
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append(asyncio.get_running_loop().time())

    @property
    def stub(self):
        channel = self.client.network.channel(ADDRESS)
        return EchoStub(channel.plain if self.way == "plain" else channel)

    async def ask(self, value="x", timeout=1.0):
        """One unary call of the client."""
        return (await self.simulation.on(self.client, self.stub.unary(text(value), timeout=timeout))).value


def told(story, seed=0):
    """Tell `story(scene)`."""
    with Simulation(seed) as simulation:
        return simulation.run(story(Scene(simulation)))


@pytest.mark.parametrize("way", WAYS)
def test_a_lost_request_was_not_served_and_a_lost_reply_was_and_the_caller_cannot_tell(way):
    async def story(scene):
        scene.way = way
        await scene.serve()
        for source, target, served in (("client", "server", []), ("server", "client", ["x"])):
            scene.seen.clear()
            scene.simulation.partition([source], [target], one_way=True)
            with pytest.raises(TimedOut) as caught:
                await scene.ask()
            assert scene.seen == served and not caught.value.definite
            scene.simulation.heal()
        assert await scene.ask() == "echo x"

    told(story)


def test_lost_messages_are_as_many_as_was_set():
    async def story(scene):
        await scene.serve()
        scene.simulation.impose(LinkFaults(loss=0.3), "server", "client")
        lost = 0
        for number in range(200):
            try:
                await scene.ask(str(number), timeout=0.1)
            except TimedOut:
                lost += 1
        assert len(scene.seen) == 200 and 40 < lost < 80

    told(story)


@pytest.mark.parametrize("way", WAYS)
def test_a_duplicated_request_is_served_twice(way):
    async def story(scene):
        scene.way = way
        await scene.serve()
        scene.simulation.impose(LinkFaults(duplication=1.0), "client", "server")
        assert await scene.ask() == "echo x"
        await asyncio.sleep(1)
        assert scene.seen == ["x", "x"]

    told(story)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_finds_a_stopped_server_was_certainly_not_made_unless_it_was_doubled(way):
    async def story(scene):
        scene.way = way
        for duplication in (0.0, 1.0):
            scene.simulation.impose(LinkFaults(delay=0.1, duplication=duplication), "client", "server")
            await scene.serve()
            asking = asyncio.create_task(scene.ask())
            await asyncio.sleep(0.01)
            await scene.rpc.stop(0)
            with pytest.raises(Unavailable, match="it has stopped") as caught:
                await asking
            assert caught.value.definite == (duplication == 0.0) and scene.seen == []

    told(story)


def test_jitter_reorders_calls_but_not_the_messages_of_a_stream():
    async def story(scene):
        await scene.serve()
        scene.simulation.impose(LinkFaults(jitter=0.1))
        await asyncio.gather(*(scene.ask(str(number)) for number in range(30)))
        assert scene.seen != sorted(scene.seen, key=int)
        scene.seen.clear()
        numbers = [str(number) for number in range(100)]
        await scene.simulation.on(scene.client, scene.stub.up(several(*numbers), timeout=30))
        assert scene.seen == numbers

    told(story)


@pytest.mark.parametrize("seed", range(10))
def test_a_stream_never_has_a_gap(seed):
    async def story(scene):
        await scene.serve()
        scene.simulation.impose(LinkFaults(loss=0.05, jitter=0.01))
        numbers = [str(number) for number in range(50)]
        heard = []

        async def listen():
            async for reply in scene.stub.down(text("50"), timeout=2):
                heard.append(reply.value)

        for call in (scene.stub.up(several(*numbers), timeout=2), listen()):
            with contextlib.suppress(TimedOut):
                await scene.simulation.on(scene.client, call)
        assert scene.seen == numbers[: len(scene.seen)] and heard == numbers[: len(heard)]

    told(story, seed)


def test_a_brief_partition_in_the_middle_of_a_stream_does_not_make_a_gap():
    async def story(scene):
        await scene.serve()
        heard = []

        async def listen():
            async for reply in scene.stub.down(text("50"), timeout=2):
                heard.append(int(reply.value))

        listening = asyncio.create_task(scene.simulation.on(scene.client, listen()))
        await asyncio.sleep(0.1)
        scene.simulation.isolate("server")
        await asyncio.sleep(0.1)
        scene.simulation.heal()
        with pytest.raises(TimedOut):
            await listening
        assert heard == list(range(len(heard))) and 5 < len(heard) < 15

    told(story)


def test_a_killed_server_resets_its_calls_and_then_refuses_new_ones():
    async def story(scene):
        await scene.serve(Unary=scene.never)
        asking = asyncio.create_task(scene.ask(timeout=30))
        await asyncio.sleep(0.1)
        scene.simulation.kill("server")
        with pytest.raises(Unavailable, match="reset") as caught:
            await asking
        assert not caught.value.definite and scene.seen == ["x"] and scene.ended == []
        with pytest.raises(Unavailable, match="failed to connect") as caught:
            await scene.ask()
        assert caught.value.definite
        scene.simulation.restart("server")
        await scene.serve()
        assert await scene.ask() == "echo x"

    told(story)


def test_a_machine_without_power_says_nothing_at_all():
    async def story(scene):
        await scene.serve(Unary=scene.never)
        loop = asyncio.get_running_loop()
        asking = asyncio.create_task(scene.ask(timeout=30))
        await asyncio.sleep(1)
        scene.simulation.power_cut("server")
        with pytest.raises(TimedOut):
            await asking
        assert loop.time() == pytest.approx(30, abs=0.1)
        with pytest.raises(TimedOut):
            await scene.ask(timeout=5)
        scene.simulation.heal()
        with pytest.raises(TimedOut):
            await scene.ask(timeout=5)
        scene.simulation.restart("server")
        for definite in (False, True):  # The machine resets the stream of its earlier life first, then refuses another.
            with pytest.raises(Unavailable) as caught:
                await scene.ask()
            assert caught.value.definite is definite

    told(story)


def test_a_paused_server_answers_when_it_goes_on():
    async def story(scene):
        await scene.serve()
        scene.simulation.pause("server")
        with pytest.raises(TimedOut):
            await scene.ask("early", timeout=1)
        asking = asyncio.create_task(scene.ask("late", timeout=30))
        await asyncio.sleep(5)
        assert scene.seen == []
        scene.simulation.resume("server")
        assert await asking == "echo late"

    told(story)


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_caller_cancels_its_handlers(way):
    async def story(scene):
        scene.way = way
        await scene.serve(Unary=scene.never)
        scene.client.spawn(scene.stub.unary(text("x"), timeout=1000), "ask")
        await asyncio.sleep(1)
        scene.simulation.kill("client")
        await asyncio.sleep(1)
        assert scene.ended and scene.ended[0] < 1.1

    told(story)


def test_a_handler_ends_at_the_deadline_even_if_nobody_can_tell_it_to():
    async def story(scene):
        await scene.serve(Unary=scene.never)
        asking = asyncio.create_task(scene.ask(timeout=3))
        await asyncio.sleep(1)
        scene.simulation.isolate("client")
        with pytest.raises(TimedOut):
            await asking
        await asyncio.sleep(1)
        assert scene.ended == [pytest.approx(3, abs=0.01)]

    told(story)


def test_a_handler_that_is_cancelled_from_within_does_not_cancel_its_caller():
    async def give_up(request, context):
        raise asyncio.CancelledError

    async def story(scene):
        await scene.serve(Unary=give_up)
        with pytest.raises(Unavailable):
            await scene.ask()

    told(story)


def test_a_slow_node_delays_what_it_sends_and_receives():
    async def story(scene):
        await scene.serve()
        loop = asyncio.get_running_loop()
        scene.simulation.slow("server", 0.5)
        began = loop.time()
        await scene.ask(timeout=10)
        assert loop.time() - began == pytest.approx(1.0, abs=0.01)
        scene.simulation.heal()
        began = loop.time()
        await scene.ask(timeout=10)
        assert loop.time() - began < 0.01

    told(story)


def test_a_link_with_a_delay_is_slow_one_way_only():
    async def story(scene):
        await scene.serve()
        loop = asyncio.get_running_loop()
        scene.simulation.impose(LinkFaults(delay=0.25), "client", "server")
        began = loop.time()
        await scene.ask(timeout=10)
        assert loop.time() - began == pytest.approx(0.25, abs=0.01)

    told(story)
