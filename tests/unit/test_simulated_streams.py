"""Simulated bulk streams: how long bytes take, who shares a card with whom, and how streams end under faults."""

import asyncio

import pytest

from runtime.errors import Unavailable
from runtime.events import TaskFailed
from runtime.faults.disk import ReadError
from runtime.faults.links import LinkFaults
from runtime.simulated.streams import STALL_SECONDS
from runtime.simulated.world import Simulation

MEGABYTE = 1_000_000


def told(story, seed=0, **options):
    """Tell `story(simulation)` with nodes a, b, c and d, whose cards carry 100 MB a second each way."""
    with Simulation(seed, **{"bytes_per_second": 100 * MEGABYTE, **options}) as simulation:
        for name in "abcd":
            simulation.add_node(name)
        return simulation.run(story(simulation))


async def listening(simulation, name, serve):
    """A listener at the node; returns its address."""
    world = simulation.world(name)
    return (await simulation.on(world, world.network.listen(f"{name}:0", serve))).address


async def connected(simulation, name, address):
    """A stream from the node."""
    world = simulation.world(name)
    return await simulation.on(world, world.network.connect(address))


async def drain(stream):
    """Read for ever."""
    while True:
        await stream.read_exactly(1000)


async def confirm(stream):
    """Take ten megabytes and say so, again and again."""
    while True:
        await stream.read_exactly(10 * MEGABYTE)
        await stream.write(b"!")


async def sent(simulation, name, address, megabytes=10):
    """Seconds that it takes the node to send these bytes and to hear that they arrived."""
    loop = asyncio.get_running_loop()
    stream = await connected(simulation, name, address)

    async def send():
        began = loop.time()
        await stream.write(bytes(megabytes * MEGABYTE))
        for _ in range(megabytes // 10):
            await stream.read_exactly(1)
        return loop.time() - began

    return await simulation.on(simulation.world(name), send())


def test_bytes_take_as_long_as_the_cards_need():
    async def story(simulation):
        address = await listening(simulation, "b", confirm)
        assert await sent(simulation, "a", address) == pytest.approx(0.1, rel=0.05)

    told(story)


def test_flows_share_the_card_of_one_receiver():
    async def story(simulation):
        address = await listening(simulation, "d", confirm)
        times = await asyncio.gather(*(sent(simulation, name, address) for name in "abc"))
        assert min(times) > 0.25 and max(times) == pytest.approx(0.3, rel=0.05)

    told(story)


def test_flows_between_different_pairs_do_not_slow_each_other():
    async def story(simulation):
        one, other = await listening(simulation, "b", confirm), await listening(simulation, "d", confirm)
        times = await asyncio.gather(sent(simulation, "a", one), sent(simulation, "c", other))
        assert max(times) == pytest.approx(0.1, rel=0.05)

    told(story)


def test_a_card_sends_and_receives_at_the_same_time():
    async def story(simulation):
        one, other = await listening(simulation, "a", confirm), await listening(simulation, "b", confirm)
        times = await asyncio.gather(sent(simulation, "a", other), sent(simulation, "b", one))
        assert max(times) == pytest.approx(0.1, rel=0.05)

    told(story)


def test_a_chain_that_forwards_while_it_receives_is_nearly_as_fast_as_one_hop():
    async def story(simulation):
        last = await listening(simulation, "c", confirm)

        async def forward(stream):
            onward = await simulation.world("b").network.connect(last)
            for _ in range(160):
                await onward.write(await stream.read_exactly(10 * MEGABYTE // 160))
            await stream.write(await onward.read_exactly(1))

        first = await listening(simulation, "b", forward)
        assert await sent(simulation, "a", first) == pytest.approx(0.1, rel=0.1)

    told(story)


def test_latency_is_paid_by_small_messages():
    async def story(simulation):
        async def mirror(stream):
            while True:
                await stream.write(await stream.read_exactly(1))

        stream = await connected(simulation, "a", await listening(simulation, "b", mirror))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(10):
            await stream.write(b"x")
            await stream.read_exactly(1)
        assert loop.time() - began == pytest.approx(20 * 0.01, rel=0.2)

    told(story, latency_seconds=0.01)


def test_a_writer_waits_for_a_slow_reader_for_as_long_as_it_takes():
    async def story(simulation):
        async def lazy(stream):
            await asyncio.sleep(1000)
            await stream.read_exactly(5 * MEGABYTE)
            await stream.write(b"done")

        stream = await connected(simulation, "a", await listening(simulation, "b", lazy))
        await stream.write(bytes(5 * MEGABYTE))
        assert asyncio.get_running_loop().time() > 1000
        assert await stream.read_exactly(4) == b"done"

    told(story)


@pytest.mark.parametrize("seed", range(5))
def test_losses_cost_time_and_never_bytes(seed):
    async def story(simulation):
        received = []

        async def collect(stream):
            received.append(await stream.read_exactly(3 * MEGABYTE))

        simulation.impose(LinkFaults(loss=0.05, jitter=0.01))
        data = bytes(range(250)) * (3 * MEGABYTE // 250)
        stream = await connected(simulation, "a", await listening(simulation, "b", collect))
        await stream.write(data)
        await asyncio.sleep(60)
        assert received == [data]

    told(story, seed)


def test_a_brief_partition_delays_a_stream_and_loses_nothing():
    async def story(simulation):
        received = []

        async def collect(stream):
            received.append(await stream.read_exactly(2 * MEGABYTE))

        stream = await connected(simulation, "a", await listening(simulation, "b", collect))
        data = bytes(range(250)) * (2 * MEGABYTE // 250)
        writing = asyncio.create_task(stream.write(data))
        await asyncio.sleep(0.005)
        simulation.isolate("b")
        await asyncio.sleep(2)
        assert received == []
        simulation.heal()
        await asyncio.sleep(5)
        await writing
        assert received == [data]

    told(story)


def test_a_long_partition_stalls_the_writer_and_then_fails_it():
    async def story(simulation):
        stream = await connected(simulation, "a", await listening(simulation, "b", drain))
        simulation.isolate("b")
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable, match="nothing got through"):
            await stream.write(bytes(10 * MEGABYTE))
        assert asyncio.get_running_loop().time() - began == pytest.approx(STALL_SECONDS, rel=0.1)

    told(story)


def test_connecting_through_a_partition_fails_after_a_while_and_is_definite():
    async def story(simulation):
        address = await listening(simulation, "b", drain)
        simulation.partition(["a"], ["b"], one_way=True)
        with pytest.raises(Unavailable, match="no answer") as caught:
            await connected(simulation, "a", address)
        assert caught.value.definite

    told(story)


def test_a_killed_peer_that_had_read_everything_ends_the_stream_and_writing_to_it_is_refused():
    async def story(simulation):
        stream = await connected(simulation, "a", await listening(simulation, "b", drain))
        await asyncio.sleep(1)
        simulation.kill("b")
        with pytest.raises(EOFError):
            await stream.read_exactly(1)
        with pytest.raises(Unavailable, match="reset"):
            for _ in range(100):
                await stream.write(b"x")
                await asyncio.sleep(0.01)

    told(story)


def test_a_killed_peer_with_unread_bytes_resets_the_stream():
    async def story(simulation):
        async def idle(stream):
            await asyncio.Event().wait()

        stream = await connected(simulation, "a", await listening(simulation, "b", idle))
        await stream.write(b"never read")
        await asyncio.sleep(1)
        simulation.kill("b")
        with pytest.raises(Unavailable, match="reset"):
            await stream.read_exactly(1)

    told(story)


def test_a_power_cut_leaves_the_reader_waiting_and_the_return_of_the_machine_resets_the_writer():
    async def story(simulation):
        stream = await connected(simulation, "a", await listening(simulation, "b", drain))
        await asyncio.sleep(1)
        simulation.power_cut("b")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await stream.read_exactly(1)
        simulation.restart("b")
        with pytest.raises(Unavailable, match="reset"):
            for _ in range(100):
                await stream.write(b"x")
                await asyncio.sleep(0.01)

    told(story)


def test_a_paused_reader_gets_everything_when_it_goes_on():
    async def story(simulation):
        address = await listening(simulation, "b", confirm)
        simulation.pause("b")
        sending = asyncio.create_task(sent(simulation, "a", address))
        await asyncio.sleep(100)
        assert not sending.done()
        simulation.resume("b")
        assert await sending > 99

    told(story)


def test_closing_while_someone_reads_here_wakes_the_reader():
    async def story(simulation):
        async def idle(stream):
            await asyncio.Event().wait()

        stream = await connected(simulation, "a", await listening(simulation, "b", idle))
        reading = asyncio.create_task(stream.read_exactly(1))
        await asyncio.sleep(1)
        await stream.close()
        with pytest.raises(Unavailable, match="closed here"):
            await reading

    told(story)


def test_a_disk_that_fails_while_a_file_is_sent_ends_the_stream_as_in_the_real_world():
    async def story(simulation):
        world = simulation.world("b")

        async def prepare():
            file = await world.disk.open("data", "create")
            await file.write_at(0, b"12345")
            return file

        file = await simulation.on(world, prepare())

        async def send(stream):
            world.simulated_disk.impose(ReadError("data"))
            await stream.send_file(file, 0, 5)

        stream = await connected(simulation, "a", await listening(simulation, "b", send))
        with pytest.raises(EOFError):
            await stream.read_exactly(5)
        assert not [record for record in simulation.sink.records if isinstance(record.event, TaskFailed)]

    told(story)
