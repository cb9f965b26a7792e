"""Racks and data centres in the simulation: far is slower than near, and shared ways are shared."""

import asyncio

from runtime.simulated.distances import WayOut
from runtime.simulated.world import Simulation
from runtime.world import ByteStream

MEGABYTE = 1_000_000
PLACES = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}


def seconds_for(pairs: list[tuple[str, str]], ways: WayOut) -> float:
    """How long it takes until each first one has sent a megabyte to each second one, all at the same time."""
    with Simulation(1, quiet=True, bytes_per_second=10e6, ways=ways) as simulation:
        worlds = {node: simulation.add_node(node) for node in PLACES}
        for node, rack in PLACES.items():
            simulation.fabric.distances.place(node, "", rack)

        async def take(stream: ByteStream) -> None:
            await stream.read_into(memoryview(bytearray(MEGABYTE)))
            await stream.write(b"!")

        async def send(source: str, target: str) -> None:
            listener = await worlds[target].network.listen(f"{target}:0", take)
            stream = await worlds[source].network.connect(listener.address)
            await stream.write(bytes(MEGABYTE))
            await stream.read_exactly(1)

        async def story() -> float:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await asyncio.gather(*(simulation.on(worlds[pair[0]], send(*pair)) for pair in pairs))
            return loop.time() - begun

        return simulation.run(story())


def test_the_way_between_racks_takes_longer() -> None:
    ways = WayOut(rack_seconds=0.5)
    near, far = seconds_for([("a1", "a2")], ways), seconds_for([("a1", "b1")], ways)
    assert near < 0.2 and 2.9 < far - near < 4.2, "a round trip to connect, the bytes, and the answer"


def test_all_that_leaves_a_rack_shares_its_way_out() -> None:
    ways = WayOut(rack_bytes_per_second=10e6)
    one, two = seconds_for([("a1", "b1")], ways), seconds_for([("a1", "b1"), ("a2", "b2")], ways)
    assert one < 0.13 and 0.19 < two < 0.25
    within = seconds_for([("a1", "a2"), ("b1", "b2")], ways)
    assert within < 0.13, "what stays within the racks is not held up"
