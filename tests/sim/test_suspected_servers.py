"""Servers of which nothing was heard for a few heartbeats, and that live all the same (GFS 4.3)."""

from runtime.simulated.messages import DROP, Drop, Kind, Message
from tests.sim.small_clusters import SmallCluster, play, wait


def test_a_new_chunk_gets_all_its_copies_though_most_servers_are_suspected():
    """On a busy machine heartbeats are late. A chunk on the only server that nobody suspects would be lost with it."""

    async def story(cluster: SmallCluster) -> None:
        def lose(message: Message) -> Drop | None:
            is_beat = message.method.endswith("/Heartbeat") and message.kind is Kind.REQUEST
            return DROP if is_beat and message.source != "cs1" else None

        heal = cluster.simulation.on_message(lose)
        await wait(3.5)
        await cluster.client().write_file("/a", b"a" * 1000)
        heal()
        assert len(cluster.holders("/a")) == 3
        await cluster.kill("cs1")
        assert await cluster.client(2).read_file("/a") == b"a" * 1000

    play(1, story, chunkservers=5)
