"""Faults of links and nodes are counted, and hooks decide about single messages."""

import asyncio
import itertools

import pytest

from runtime.errors import TimedOut, Unavailable
from runtime.faults.links import Kind, LinkFaults
from runtime.simulated.messages import DROP, Delay, Double, Message
from runtime.simulated.world import NodeEnded, Simulation
from tests.conformance.both_worlds import WAYS, gathered, text
from tests.unit.test_simulated_rpc import Scene, told
from tests.unit.test_simulated_streams import connected, listening
from tests.unit.test_simulated_streams import told as told_with_streams


async def reaches(scene: Scene) -> bool:
    try:
        await scene.ask(timeout=0.5)
    except (TimedOut, Unavailable):
        return False
    return True


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_end_of_one_partition_ends_no_other_whatever_the_order(order):
    async def story(scene):
        await scene.serve()
        ends = [
            scene.simulation.partition(["client"], ["server"]),
            scene.simulation.isolate("server"),
            scene.simulation.fabric.block("client", "*"),
        ]
        for number in order:
            assert not await reaches(scene)
            ends[number]()
            ends[number]()
        assert await reaches(scene)

    told(story)


def test_an_end_that_comes_after_the_healing_of_everything_does_nothing():
    async def story(scene):
        await scene.serve()
        end = scene.simulation.isolate("server")
        scene.simulation.heal()
        scene.simulation.isolate("server")
        end()
        assert not await reaches(scene)

    told(story)


def test_faults_of_one_way_add_up():
    async def story(scene):
        await scene.serve()
        loop = asyncio.get_running_loop()

        async def seconds() -> float:
            began = loop.time()
            await scene.ask(timeout=30)
            return loop.time() - began

        ends = [
            scene.simulation.impose(LinkFaults(delay=1.0), "client", "server"),
            scene.simulation.impose(LinkFaults(delay=0.5), target="server"),
            scene.simulation.slow("server", 0.25),
        ]
        assert await seconds() == pytest.approx(2.0, abs=0.01)
        ends[0]()
        assert await seconds() == pytest.approx(1.0, abs=0.01)
        ends[2]()
        assert await seconds() == pytest.approx(0.5, abs=0.01)
        ends[1]()
        assert await seconds() == pytest.approx(0.0, abs=0.01)

    told(story)


def test_a_node_that_is_paused_twice_goes_on_after_both_ends():
    async def story(scene):
        await scene.serve()
        first, second = scene.simulation.pause("server"), scene.simulation.pause("server")
        first()
        first()
        assert not await reaches(scene)
        second()
        assert await reaches(scene)
        third = scene.simulation.pause("server")
        scene.simulation.resume("server")
        assert await reaches(scene)
        scene.simulation.pause("server")
        third()
        assert not await reaches(scene)

    told(story)


def test_drifts_and_offsets_of_a_clock_add_up():
    with Simulation(0) as simulation:
        clock = simulation.add_node("a").simulated_clock

        async def story() -> None:
            ends = [clock.drift(0.5), clock.drift(0.25), clock.offset_wall(10), clock.offset_wall(-3)]
            await asyncio.sleep(4)
            assert clock.now() == pytest.approx(7.0)
            assert clock.wall_microseconds() - simulation.true_microseconds() == pytest.approx(10_000_000)
            for end in ends:
                end()
            await asyncio.sleep(1)
            assert clock.now() == pytest.approx(8.0)
            clock.drift(-2)
            await clock.sleep(0.1)

        simulation.run(story())


@pytest.mark.parametrize("way", WAYS)
def test_a_hook_sees_both_messages_of_a_call_with_the_name_of_the_method(way):
    async def story(scene):
        scene.way = way
        seen: list[Message] = []
        await scene.serve()
        scene.simulation.on_message(seen.append)
        await scene.ask("hello")
        request, reply = seen
        assert (request.method, request.kind, request.source, request.target) == (
            "Echo/Unary",
            Kind.REQUEST,
            "client",
            "server",
        )
        assert (reply.method, reply.kind, reply.source, reply.target) == ("Echo/Unary", Kind.REPLY, "server", "client")
        assert b"hello" in bytes(request.body) and b"echo hello" in bytes(reply.body)
        assert reply.status == "OK" and reply.number == request.number + 1

    told(story)


@pytest.mark.parametrize("way", WAYS)
def test_a_dropped_request_was_never_served_and_a_dropped_reply_was(way):
    async def story(scene):
        scene.way = way
        await scene.serve()
        for kind in (Kind.REQUEST, Kind.REPLY):
            forget = scene.simulation.on_message(lambda message, kind=kind: DROP if message.kind is kind else None)
            with pytest.raises(TimedOut):
                await scene.ask(kind.value)
            forget()
        assert scene.seen == ["reply"]
        assert await reaches(scene)

    told(story)


def test_a_delayed_message_is_overtaken_and_several_delays_add_up():
    async def story(scene):
        await scene.serve()

        def slow(message: Message) -> Delay | None:
            return Delay(1.0) if message.kind is Kind.REQUEST and b"slow" in bytes(message.body) else None

        for _ in range(2):
            scene.simulation.on_message(slow)
        slow_call = asyncio.create_task(scene.ask("slow", timeout=10))
        await asyncio.sleep(0)
        await scene.ask("fast")
        began = asyncio.get_running_loop().time()
        await slow_call
        assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.01)
        assert scene.seen == ["fast", "slow"]

    told(story)


@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_is_doubled_is_served_again_later_and_answered_once(way):
    async def story(scene):
        scene.way = way
        await scene.serve()
        forget = scene.simulation.on_message(lambda message: Double(2.0))
        await scene.ask("doubled")
        forget()
        await scene.ask("after")
        assert scene.seen == ["doubled", "after"]
        await asyncio.sleep(2.1)
        assert scene.seen == ["doubled", "after", "doubled"]

    told(story)


def test_a_stream_takes_nothing_after_a_part_that_was_dropped():
    async def story(scene):
        await scene.serve()
        parts = itertools.count()
        scene.simulation.on_message(lambda message: DROP if message.kind is Kind.STREAM and next(parts) == 3 else None)
        with pytest.raises(TimedOut):
            await scene.simulation.on(scene.client, gathered(scene.stub.down(text("9"), timeout=1)))
        assert next(parts) > 4

    told(story)


@pytest.mark.parametrize("way", WAYS)
def test_a_node_can_be_killed_at_its_nth_reply_which_then_never_leaves(way):
    async def story(scene):
        scene.way = way
        await scene.serve()
        replies = itertools.count(1)

        def hook(message: Message) -> None:
            if message.kind is Kind.REPLY and next(replies) == 3:
                scene.simulation.kill("server")

        scene.simulation.on_message(hook)
        assert await scene.ask("1") and await scene.ask("2")
        with pytest.raises(Unavailable, match="reset"):
            await scene.ask("3")
        assert scene.seen == ["1", "2", "3"]

    told(story)


def test_a_request_with_which_its_caller_dies_never_leaves():
    async def story(scene):
        await scene.serve()
        scene.simulation.on_message(lambda message: scene.simulation.kill("client"))

        with pytest.raises(NodeEnded):
            await scene.ask()
        await asyncio.sleep(1)
        assert scene.seen == []

    told(story)


def test_a_dropped_segment_is_sent_again_and_a_stream_that_gets_nothing_through_breaks():
    async def story(simulation):
        got = bytearray()

        async def take(stream):
            while True:
                got.extend(await stream.read_exactly(1))

        address = await listening(simulation, "b", take)
        stream = await connected(simulation, "a", address)
        segments = itertools.count()
        forget = simulation.on_message(
            lambda message: DROP if message.kind is Kind.BULK and next(segments) % 2 == 0 else None
        )
        for letter in b"abcdef":
            await stream.write(bytes([letter]))
        await asyncio.sleep(10)
        assert bytes(got) == b"abcdef"
        forget()
        simulation.on_message(lambda message: DROP)
        await stream.write(b"x")
        await asyncio.sleep(60)
        with pytest.raises(Unavailable, match="nothing got through"):
            await stream.write(b"y")

    told_with_streams(story)


def test_a_sender_that_is_killed_at_a_segment_does_nothing_more_and_its_machine_ends_the_stream():
    async def story(simulation):
        ends = []

        async def take(stream):
            try:
                while True:
                    ends.append(await stream.read_exactly(1))
            except EOFError:
                ends.append("end")

        address = await listening(simulation, "b", take)
        stream = await connected(simulation, "a", address)
        simulation.on_message(lambda message: simulation.kill("a"))

        async def work() -> None:
            await simulation.world("a").disk.make_directory("before")
            await stream.write(b"x")
            await simulation.world("a").disk.make_directory("after")

        with pytest.raises(NodeEnded):
            await simulation.on(simulation.world("a"), work())
        await asyncio.sleep(1)
        assert ends == [b"x", "end"]
        assert await simulation.restart("a").disk.list() == ["before"]

    told_with_streams(story)


def test_a_corrupting_link_flips_one_bit_of_bulk_bytes_and_leaves_calls_alone():
    async def story(simulation):
        got = bytearray()

        async def take(stream):
            got.extend(await stream.read_exactly(1000))

        address = await listening(simulation, "b", take)
        stream = await connected(simulation, "a", address)
        end = simulation.impose(LinkFaults(corruption=1.0), "a", "b")
        await stream.write(bytes(1000))
        await asyncio.sleep(1)
        assert sum(byte.bit_count() for byte in got) == 1
        end()

    async def calls(scene):
        await scene.serve()
        scene.simulation.impose(LinkFaults(corruption=1.0))
        assert await scene.ask("as it was") == "echo as it was"

    told_with_streams(story)
    told(calls)


def test_work_for_a_node_that_has_ended_is_refused_at_once():
    with Simulation(0) as simulation:
        world = simulation.add_node("a")

        async def story() -> None:
            simulation.kill("a")
            with pytest.raises(NodeEnded):
                await simulation.on(world, asyncio.sleep(1))

        simulation.run(story())


def test_the_id_of_the_boot_changes_at_a_power_cut_and_not_at_a_kill():
    with Simulation(0) as simulation:
        first, other = simulation.add_node("a").boot_id(), simulation.add_node("b").boot_id()
        assert first != other
        simulation.kill("a")
        assert simulation.restart("a").boot_id() == first
        before = simulation.world("a")
        simulation.power_cut("a")
        assert simulation.restart("a").boot_id() not in (first, other)
        assert before.boot_id() == first


def test_a_reset_of_the_callers_side_leaves_the_handler_at_work_and_its_answer_reaches_nobody():
    async def story(scene):
        done = []

        async def slow(request, context):
            await asyncio.sleep(1)
            done.append(request.value)
            return text(f"late {request.value}")

        await scene.serve(Unary=slow)
        asking = asyncio.create_task(scene.ask("first", timeout=30))
        await asyncio.sleep(0.5)
        scene.simulation.reset("client", "server", one_sided=True)
        with pytest.raises(Unavailable, match="reset on the way") as caught:
            await asking
        assert not caught.value.definite and done == []
        assert await scene.ask("second", timeout=30) == "late second"
        assert done == ["first", "second"]

    told(story)


def test_a_stream_through_which_nothing_gets_for_long_breaks_though_the_call_has_time_left():
    async def story(scene):
        await scene.serve(Unary=scene.never)
        asking = asyncio.create_task(scene.ask("x", timeout=1000))
        await asyncio.sleep(0.1)
        end = scene.simulation.isolate("server")
        lost = asyncio.create_task(scene.ask("y", timeout=1000))
        for call in (asking, lost):
            with pytest.raises(Unavailable, match="nothing got through for 20 seconds") as caught:
                await call
            assert not caught.value.definite
        assert 20 <= asyncio.get_running_loop().time() <= 21 and scene.seen == ["x"] and not scene.ended
        end()
        with pytest.raises(TimedOut):
            await scene.ask("z", timeout=1)
        assert scene.seen == ["x", "z"]

    told(story)


def test_a_brief_partition_does_not_break_a_stream():
    async def story(scene):
        await scene.serve(Unary=scene.never)
        asking = asyncio.create_task(scene.ask("x", timeout=60))
        await asyncio.sleep(0.1)
        end = scene.simulation.isolate("server")
        lost = asyncio.create_task(scene.ask("y", timeout=60))
        await asyncio.sleep(10)
        end()
        await asyncio.sleep(30)
        assert not asking.done() and not lost.done() and scene.seen == ["x"]
        for call in (asking, lost):
            with pytest.raises(TimedOut):
                await call

    told(story)


@pytest.mark.parametrize("seed", range(20))
def test_no_end_of_a_stream_says_for_certain_of_a_call_that_was_served_that_it_was_not(seed):
    async def story(scene):
        await scene.serve()
        scene.simulation.impose(LinkFaults(jitter=0.02, loss=0.05, duplication=0.05))
        certain: list[str] = []

        async def ask(name: str) -> None:
            for number in range(30):
                try:
                    await scene.ask(f"{name}{number}", timeout=0.3)
                except (TimedOut, Unavailable) as error:
                    if error.definite:
                        certain.append(f"{name}{number}")

        asking = asyncio.gather(*(ask(name) for name in "abcdef"))
        for round_number in range(6):
            await asyncio.sleep(0.2)
            if round_number % 3 == 0:
                scene.simulation.reset("*", one_sided=bool(seed % 2))
            elif round_number % 3 == 1:
                await scene.simulation.on(scene.server, scene.rpc.stop(0.05))
                await asyncio.sleep(0.05)
                await scene.serve()
            else:
                scene.simulation.kill("server")
                scene.simulation.restart("server")
                scene.server = scene.simulation.world("server")
                await asyncio.sleep(0.05)
                await scene.serve()
        await asking
        await asyncio.sleep(1)
        assert certain and not set(certain) & set(scene.seen)

    told(story, seed)
