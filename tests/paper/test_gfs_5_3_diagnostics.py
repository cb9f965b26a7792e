"""GFS 5.3: servers record significant events, and the records of all servers together tell what happened."""

from runtime.events import sentence
from tabletop.lives import life_of_chunk
from tests.sim.small_clusters import SmallCluster, play, wait


def kinds(records: list, node: str) -> list[str]:
    return [type(record.event).__name__ for record in records if record.node == node]


def test_servers_record_that_chunkservers_go_down_and_come_up():
    async def story(cluster: SmallCluster) -> None:
        await cluster.kill("cs1")
        await wait(30)
        await cluster.start_node("cs1")
        await wait(10)
        told = [sentence(record.event) for record in cluster.events("master")]
        [went] = [place for place, text in enumerate(told) if text.startswith("gave cs1 up")]
        assert any(text.startswith("cs1 registered") for text in told[went:])
        assert kinds(cluster.simulation.sink.records, "cs1").count("NodeStarted") == 2

    play(1, story)


def test_the_records_of_all_machines_are_collated_to_the_story_of_one_chunk():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", b"bytes")
        handle = await cluster.handle("/a")
        [gone, *_] = cluster.holders("/a")
        await cluster.kill(gone)
        await wait(60)
        life = life_of_chunk(cluster.simulation.sink.records, handle).records
        clone = next(place for place, record in enumerate(life) if type(record.event).__name__ == "CloneFinished")
        copied = next(place for place, record in enumerate(life) if type(record.event).__name__ == "ChunkCloned")
        assert life[copied].node != "master" and copied < clone, "the cause stands above its effect"

    play(2, story, chunkservers=4)
