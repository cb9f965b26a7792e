"""The life of a chunk and of a file, out of the records of a simulated cluster (GFS 5.3)."""

from runtime.events import sentence
from tabletop.lives import life_of_chunk, lives_of_file, told
from tests.sim.small_clusters import SmallCluster, play, wait


def test_a_file_is_followed_through_all_its_names_to_its_end():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.make_directory("/lab/old", parents=True)
        await client.write_file("/lab/old/notes", b"first")
        await client.write_file("/elsewhere", b"nothing to do with it")
        await client.rename("/lab/old", "/lab/new")
        await client.delete("/lab", recursive=True)
        await client.operators.restore("/lab/new/notes", to="/notes")
        await client.write_file("/notes", b"second", overwrite=True)
        await client.operators.empty_trash()
        await wait(5)
        first, second = lives_of_file(cluster.simulation.sink.records, "/notes")
        assert lives_of_file(cluster.simulation.sink.records, "/lab/old/notes")[0].records == first.records
        assert first.path == "" and second.path == "/notes"
        words = "\n".join(sentence(record.event) for record in first.records)
        steps = (
            "created /lab/old/notes with replication goal 3",
            "created chunk",
            "granted",
            "renamed /lab/old to /lab/new",
            "deleted /lab (1 files); kept as /.deleted/",
            "to /notes",
            "/notes makes way for another file; kept as /.deleted/",
            "reclaimed /.deleted/",
            "deleted 1 replicas",
        )
        places = [words.find(step) for step in steps]
        assert -1 not in places and places == sorted(places), words
        assert "elsewhere" not in words
        assert first.summary().startswith("It is forgotten. It had 1 chunk: 0x")
        assert second.summary().startswith("It is /notes now. It had 1 chunk: 0x")
        assert not lives_of_file(cluster.simulation.sink.records, "/lab/other")

    play(1, story)


def test_a_chunks_life_has_the_records_of_all_nodes_and_its_end_is_summed_up():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", b"bytes")
        handle = await cluster.handle("/a")
        [gone, *_] = cluster.holders("/a")
        await cluster.kill(gone)
        await wait(60)
        await client.write_file("/b", b"another chunk")
        found = life_of_chunk(cluster.simulation.sink.records, handle)
        life = found.records
        nodes = {record.node for record in life}
        assert "master" in nodes and len(nodes) >= 3, "whoever copied it tells of it too"
        words = [sentence(record.event) for record in life]
        assert words[0].startswith("created chunk") or "granted" in words[0] or "primary" in words[0]
        assert any(word.startswith("cloned chunk") for word in words)
        assert any(gone in word and "silence" in word for word in words), "the death of a holder belongs to it"
        summary = found.summary()
        assert gone not in summary and f"chunk {handle:#x} has version" in summary and "1 copy" in summary
        assert len(told(life)) <= len(life) and not life_of_chunk(cluster.simulation.sink.records, 0xDEAD).records

    play(2, story, chunkservers=4)
