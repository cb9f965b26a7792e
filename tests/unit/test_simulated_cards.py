"""Fair cards: several streams over several bottlenecks get what is max-min fair, and a stream keeps its order."""

import asyncio

import pytest

from runtime.simulated.distances import WayOut
from runtime.simulated.world import Simulation

MEGABYTE = 1_000_000
SPEED = 100 * MEGABYTE
LONG_SECONDS = 2.0


def rates(flows, *, fair=True, ways=None, racks=(), seconds=LONG_SECONDS):
    """What each flow of (source, target) gets, as a share of one card's speed, with all of them always busy."""
    with Simulation(1, bytes_per_second=SPEED, fair=fair, ways=ways) as simulation:
        for name in sorted({end for flow in flows for end in flow}):
            simulation.add_node(name)
        for name, rack in racks:
            simulation.fabric.distances.place(name, "", rack)
        received = dict.fromkeys(range(len(flows)), 0)

        async def flow(number, source, target):
            async def count(stream):
                while True:
                    await stream.read_exactly(10_000)
                    received[number] += 10_000

            there, here = simulation.world(target), simulation.world(source)
            listener = await simulation.on(there, there.network.listen(f"{target}:0", count))

            async def send():
                stream = await here.network.connect(listener.address)
                while True:
                    await stream.write(bytes(MEGABYTE))

            here.spawn(send(), "send")

        async def story():
            for number, ends in enumerate(flows):
                await flow(number, *ends)
            await asyncio.sleep(0.5)  # Until the windows have settled.
            before = dict(received)
            await asyncio.sleep(seconds)
            return [(received[number] - before[number]) / seconds / SPEED for number in received]

        return simulation.run(story())


def test_streams_of_one_card_share_it_alike():
    assert rates([("a", "x"), ("b", "x"), ("c", "x")]) == pytest.approx([1 / 3] * 3, rel=0.05)
    assert rates([("a", "x"), ("a", "y")]) == pytest.approx([1 / 2] * 2, rel=0.05)


def test_what_one_stream_cannot_use_is_left_to_the_others():
    """x is the bottleneck of three streams; the fourth, from the same sender as one of them, gets the rest of a."""
    found = rates([("a", "x"), ("b", "x"), ("c", "x"), ("a", "y")])
    assert found == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3], rel=0.06)


def test_shares_are_max_min_fair_over_a_chain_of_bottlenecks():
    """Three streams want x: a third each. Of y that leaves two thirds to the one stream that shares it with c's; of b's
    card two thirds as well, of which that stream is the only user."""
    found = rates([("a", "x"), ("b", "x"), ("c", "x"), ("c", "y"), ("d", "y")])
    assert found == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2], rel=0.06)


def test_the_way_between_two_switches_is_shared_by_all_that_cross_it():
    ways = WayOut(rack_bytes_per_second=SPEED)
    racks = [("a", "r"), ("b", "r")]
    found = rates([("a", "x"), ("b", "y"), ("z", "x")], ways=ways, racks=racks)
    assert found == pytest.approx([1 / 2, 1 / 2, 1 / 2], rel=0.06)


def test_both_directions_of_a_card_are_full():
    assert rates([("a", "x"), ("x", "a")]) == pytest.approx([1, 1], rel=0.05)


def test_a_stream_that_comes_later_does_not_wait_for_what_the_other_has_sent_ahead():
    """A card that serves in order of sending makes a small message wait for the whole window of a large transfer."""

    def seconds(fair):
        with Simulation(1, bytes_per_second=SPEED, fair=fair) as simulation:
            for name in "abx":
                simulation.add_node(name)
            x = simulation.world("x")

            async def echo(stream):
                while True:
                    await stream.write(await stream.read_exactly(1000))

            async def story():
                listener = await simulation.on(x, x.network.listen("x:0", echo))

                async def large():
                    stream = await simulation.world("a").network.connect(listener.address)
                    await stream.write(bytes(MEGABYTE))

                async def small():
                    stream = await simulation.world("b").network.connect(listener.address)
                    simulation.world("a").spawn(large(), "large")
                    await asyncio.sleep(0.0025)  # A quarter of the large one is through.
                    began = simulation.loop.time()
                    await stream.write(bytes(1000))
                    await stream.read_exactly(1000)
                    return simulation.loop.time() - began

                return await simulation.on(simulation.world("b"), small())

            return simulation.run(story())

    assert seconds(True) < 0.003 < 0.006 < seconds(False)


@pytest.mark.parametrize("seed", range(3))
def test_bytes_arrive_in_order_and_the_end_after_them(seed):
    with Simulation(seed, bytes_per_second=SPEED, fair=True) as simulation:
        for name in "abx":
            simulation.add_node(name)
        x = simulation.world("x")
        data = bytes(range(256)) * 4000
        whole = []

        async def take(stream):
            whole.append(await stream.read_exactly(len(data)))
            with pytest.raises(EOFError):
                await stream.read_exactly(1)

        async def story():
            listener = await simulation.on(x, x.network.listen("x:0", take))

            async def send(name):
                stream = await simulation.world(name).network.connect(listener.address)
                await stream.write(data)
                await stream.close()

            await asyncio.gather(*(simulation.on(simulation.world(name), send(name)) for name in "aab"))
            await asyncio.sleep(1)

        simulation.run(story())
        assert whole == [data] * 3
