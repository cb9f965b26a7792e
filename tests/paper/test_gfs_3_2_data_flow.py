"""GFS 3.2: data is pushed along a chain, each server forwards what it receives at once."""

import asyncio
import random
import statistics

from chunkserver.transfer.data_flow import FORWARD_BYTES
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.settings import ClientSettings
from runtime.bulk import encode_header, read_header, receive_hello
from runtime.simulated.world import Simulation
from runtime.wire.bulk_pb2 import BulkRequest, PushReply
from runtime.wire.chunkserver_pb2 import DataId
from runtime.wire.common_pb2 import Location
from tests.unit.chunkserver_support import Desk, push_header

DATA = random.Random(7).randbytes(4 * FORWARD_BYTES)


async def test_a_server_forwards_the_beginning_before_it_has_received_the_end(tmp_path):
    """Pipelining: otherwise the time of a push would be that of each hop, one after the other."""
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        arrived: list[bytes] = []
        seen = asyncio.Event()

        async def next_server(stream):
            await receive_hello(desk.client, stream)
            await read_header(stream, BulkRequest)
            for _ in range(4):
                arrived.append(await stream.read_exactly(FORWARD_BYTES))
                seen.set()
            await stream.write(encode_header(PushReply(stored=["cs9"])))

        listener = await desk.client.network.listen("127.0.0.1:0", next_server)
        following = Location(server="cs9", control_address="127.0.0.1:1", bulk_address=listener.address)
        stream = await desk.bulk("cs1")
        await stream.write(push_header(DataId(client=1, number=1), DATA, [following]) + DATA[:FORWARD_BYTES])
        # The sender waits, with three quarters of the data still at home, until the third machine has the first.
        await seen.wait()
        assert arrived == [DATA[:FORWARD_BYTES]]
        await stream.write(DATA[FORWARD_BYTES:])
        assert list((await read_header(stream, PushReply)).stored) == ["cs1", "cs9"]
        assert b"".join(arrived) == DATA
        stream.abort()
        await listener.close()


async def test_each_machine_sends_the_data_to_one_other_only(tmp_path):
    """The outgoing bandwidth of a machine is not divided among several receivers: a chain, no tree."""
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2", "cs3")
        await desk.push(DATA, "cs2", "cs3", "cs1")
        sent = {name: server.counters()["bytes_forwarded"] for name, server in desk.servers.items()}
        received = {name: server.counters()["bytes_pushed"] for name, server in desk.servers.items()}
        assert sent == {"cs2": len(DATA), "cs3": len(DATA), "cs1": 0}
        assert set(received.values()) == {len(DATA)}


async def test_the_flow_of_data_does_not_depend_on_who_is_primary(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2", "cs3")
        await desk.grant(7, "cs2", "cs1", "cs3")
        for number, chain in enumerate((("cs1", "cs2", "cs3"), ("cs3", "cs1", "cs2"), ("cs2", "cs3", "cs1"))):
            data = DATA[number * 1000 : number * 1000 + 100_000]
            pushed, _ = await desk.push(data, *chain)
            await desk.write_pushed("cs2", 7, 0, data, pushed)
            assert {desk.stored(name, 7) for name in ("cs1", "cs2", "cs3")} == {data}


def test_a_megabyte_to_three_replicas_takes_little_more_than_to_one():
    """The paper's ideal: B/T + R*L, "1 MB can ideally be distributed in about 80 ms" over links of 100 Mbps. A server
    that received all of it before it passed it on would need three times as long."""
    megabyte, bytes_per_second = 1 << 20, 12.5e6

    def seconds(replicas):
        with Simulation(1, bytes_per_second=bytes_per_second, fair=True) as simulation:
            cluster = SimulatedCluster(
                simulation,
                ClusterSettings(chunkservers=3, replicas=replicas),
                client_settings=ClientSettings(write_piece_bytes=megabyte),
            )

            async def write():
                times, file = [], await cluster.client().open("/file", "xb")
                for number in range(8):
                    began = simulation.loop.time()
                    await file.pwrite(number * megabyte, bytes(megabyte))
                    times.append(simulation.loop.time() - began)
                await file.close()
                return statistics.median(times)

            async def story():
                await cluster.start()
                return await simulation.on(cluster.client_world, write())

            return simulation.run(story())

    ideal = megabyte / bytes_per_second
    assert ideal < seconds(1) < 1.1 * ideal
    assert seconds(3) < 1.35 * ideal
