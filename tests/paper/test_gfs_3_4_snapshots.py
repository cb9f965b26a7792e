"""GFS 3.4: snapshots. One test for each claim of the section, in a whole simulated cluster."""

from chunkserver.events import ChunkCloned
from gfs.client import Client
from master.events import ChunkCopied, LeaseGranted, LeaseRevoked, SnapshotTaken
from runtime.faults.links import Kind
from runtime.simulated.messages import Message
from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, play

CHUNKS = 4


def requests(cluster: SmallCluster) -> list[Message]:
    """All calls from now on."""
    seen: list[Message] = []

    def hook(message: Message) -> None:
        if message.kind is Kind.REQUEST:
            seen.append(message)

    cluster.simulation.on_message(hook)
    return seen


def methods(seen: list[Message]) -> set[str]:
    return {message.method.rpartition("/")[2] for message in seen} - {"Heartbeat"}


def events(cluster: SmallCluster, kind: type) -> list[object]:
    return [record.event for record in cluster.simulation.sink.records if isinstance(record.event, kind)]


async def handles(client: Client, path: str) -> list[int]:
    return [chunk.handle for chunk in await client.locations(path)]


async def a_tree(client: Client) -> bytes:
    """/data with two files, one of several chunks; returns the bytes of that one."""
    await client.make_directory("/data/deep", parents=True)
    content = b"".join(bytes([65 + number]) * CHUNK_BYTES for number in range(CHUNKS))
    await client.write_file("/data/deep/large", content)
    await client.write_file("/data/small", b"small")
    return content


def test_a_snapshot_copies_a_file_or_a_tree_almost_instantaneously_and_moves_no_bytes() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        content = await a_tree(client)
        for path in ("/data/deep/large", "/data/small"):
            await client.rename(path, f"{path}-2")  # It ends the leases, so that nobody need be asked.
        seen = requests(cluster)
        assert await client.snapshot("/data", "/copy") == 2
        assert methods(seen) == {"Snapshot"}
        assert await client.snapshot("/data/small-2", "/copy-of-one") == 1
        assert await client.read_file("/copy/deep/large-2") == content
        assert not events(cluster, ChunkCloned)

    play(1, story)


def test_outstanding_leases_are_revoked_before_the_operation_is_logged() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await a_tree(client)
        held = {event.handle for event in events(cluster, LeaseGranted)}  # type: ignore[attr-defined]
        assert await client.snapshot("/data", "/copy") == 2
        order = [record.event for record in cluster.simulation.sink.records]
        taken = next(place for place, event in enumerate(order) if isinstance(event, SnapshotTaken))
        revoked = {event.handle for event in order[:taken] if isinstance(event, LeaseRevoked)}
        assert revoked == held and len(held) == CHUNKS + 1

    play(1, story)


def test_the_operation_is_one_record_in_the_log_and_the_new_files_point_to_the_same_chunks() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await a_tree(client)
        await client.snapshot("/data", "/first")
        before = (await client.cluster_status()).log_sequence
        await client.snapshot("/first", "/second")
        assert (await client.cluster_status()).log_sequence == before + 1
        for copy in ("/first", "/second"):
            for name in ("/deep/large", "/small"):
                assert await handles(client, copy + name) == await handles(client, "/data" + name)
        assert (await client.cluster_status()).chunk_count == CHUNKS + 1

    play(1, story)


def test_the_first_write_asks_the_master_who_picks_a_new_handle_and_has_each_replica_copied_where_it_is() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        content = await a_tree(client)
        await client.snapshot("/data", "/copy")
        before = await handles(client, "/data/deep/large")
        seen = requests(cluster)
        async with await client.open("/data/deep/large", "r+b") as file:
            await file.pwrite(CHUNK_BYTES, b"changed")
        now = await handles(client, "/data/deep/large")
        assert [place for place in range(CHUNKS) if now[place] != before[place]] == [1]
        [copied] = events(cluster, ChunkCopied)
        assert (copied.frozen, copied.handle) == (before[1], now[1])  # type: ignore[attr-defined]
        orders = [message.target for message in seen if message.method.endswith("/Clone")]
        assert sorted(orders) == sorted(copied.servers) == ["cs1", "cs2", "cs3"]  # type: ignore[attr-defined]
        # The data is copied locally: no chunkserver reads from another one.
        assert not [message for message in seen if message.method.endswith("/GetChunkStates")]
        assert await client.read_file("/copy/deep/large") == content

    play(1, story)


def test_the_new_chunk_is_like_any_other_and_is_written_without_another_copy() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await a_tree(client)
        await client.snapshot("/data", "/copy")
        async with await client.open("/data/small", "r+b") as file:
            for number in range(10):
                await file.pwrite(number, b"x")
        assert len(events(cluster, ChunkCopied)) == 1
        assert await client.read_file("/data/small") == b"x" * 10
        assert await client.read_file("/copy/small") == b"small"

    play(1, story)


def test_a_snapshot_checkpoints_the_state_before_experiments_that_can_be_rolled_back() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        content = await a_tree(client)
        await client.snapshot("/data", "/checkpoint")
        async with await client.open("/data/deep/large", "r+b") as file:
            await file.pwrite(0, b"an experiment")
        await client.delete("/data/small", immediately=True)
        await client.delete("/data", recursive=True)
        await client.snapshot("/checkpoint", "/data")
        assert await client.read_file("/data/deep/large") == content
        assert await client.read_file("/data/small") == b"small"

    play(1, story)
