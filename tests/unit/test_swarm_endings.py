"""The judges of endings: each must refuse an ending that was made bad on purpose."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chunkserver.events import ChunkPutAside
from chunkserver.storage.chunk_files import data_path, metadata_path
from chunkserver.storage.chunk_format import (
    SLOT_BYTES,
    SLOTS,
    TABLE_OFFSET,
    decode_metadata,
    encode_entries,
    encode_header,
    with_table,
)
from chunkserver.storage.headers import rewritten
from cluster.fault_runner import FaultBegan
from cluster.swarm import endings
from cluster.swarm.plan import Plan, Setup
from cluster.swarm.stage import Stage
from master.log.records import DirectoriesMade
from runtime.bulk import checksums_of
from runtime.events import Record

HANDLE_OF_NOBODY = 0x99


def at_the_end_of(story: Callable[[Stage], Awaitable[None]]) -> list[str]:
    """What is unfinished after a small cluster came to rest, and `story` has made something bad of it."""
    stage = Stage(Plan(1, Setup(chunkservers=4, lease_seconds=2.0), (), ()))

    async def whole() -> list[str]:
        await stage.cluster.start()
        await stage.cluster.client().write_file("/a", b"x" * 100_000)
        assert await endings.come_to_rest(stage) == []
        await story(stage)
        return endings.unfinished(stage)

    try:
        return stage.simulation.run(whole(), processor_seconds=60)
    finally:
        stage.simulation.close()


def a_replica(stage: Stage) -> tuple[int, str]:
    """A chunk, and a server that holds it."""
    chunks = stage.insight.core().state.chunks
    handle = next(iter(chunks.handles()))
    return handle, chunks.replicas(handle)[0]


async def put_file(stage: Stage, server: str, path: str, content: bytes) -> None:
    disk = stage.disk(server)
    await disk.make_directory(path.rpartition("/")[0])
    file = await disk.open(path, "create")
    await file.write_at(0, content)
    await file.close()


def test_a_good_ending_has_nothing_unfinished():
    async def nothing(stage: Stage) -> None:
        await asyncio.sleep(1.0)

    assert at_the_end_of(nothing) == []


def test_a_server_that_does_not_serve_is_named():
    async def kill(stage: Stage) -> None:
        await stage.cluster.kill("cs3")

    assert at_the_end_of(kill) == ["cs3 does not serve"]


def test_a_master_that_does_not_serve_is_named():
    async def kill(stage: Stage) -> None:
        await stage.cluster.kill("master")

    assert at_the_end_of(kill) == ["the master does not serve"]


def test_a_chunk_below_its_goal_is_named():
    async def forget(stage: Stage) -> None:
        stage.insight.core().state.chunks.drop_replica(*a_replica(stage))

    (found,) = at_the_end_of(forget)
    assert "has 2 replicas, expected 3" in found


def test_a_replica_of_no_chunk_is_named():
    async def add(stage: Stage) -> None:
        handle, server = a_replica(stage)
        content = bytes(stage.disk(server).content(metadata_path(handle)).cached)
        await put_file(stage, "cs1", metadata_path(HANDLE_OF_NOBODY), content)

    assert "cs1 holds chunk 0x99, which belongs to no file" in at_the_end_of(add)


def test_a_replica_that_does_not_count_is_named():
    async def add(stage: Stage) -> None:
        handle, server = a_replica(stage)
        others = stage.insight.core().state.chunks.replicas(handle)
        (free,) = (name for name in stage.chunkserver_names() if name not in others)
        for path in (metadata_path(handle), data_path(handle)):
            await put_file(stage, free, path, bytes(stage.disk(server).content(path).cached))

    (found,) = at_the_end_of(add)
    assert "does not count as a replica" in found


def test_damage_that_nobody_has_found_is_named():
    async def rot(stage: Stage) -> None:
        handle, server = a_replica(stage)
        stage.disk(server).rot(data_path(handle), 100)

    (found,) = at_the_end_of(rot)
    assert "is damaged, and nobody has found out" in found


def test_replicas_that_differ_are_named():
    async def forge(stage: Stage) -> None:
        handle, server = a_replica(stage)
        disk = stage.disk(server)
        copy = bytearray(b"y" * 100_000)
        disk.content(data_path(handle)).cached[:] = copy
        metadata = disk.content(metadata_path(handle)).cached
        found = decode_metadata(bytes(metadata), handle, boot=0, data_bytes=len(copy))
        checksums = checksums_of(copy)
        for slot in range(SLOTS):
            header = encode_header(with_table(rewritten(found.header, len(copy), 0, checksums), checksums))
            metadata[slot * SLOT_BYTES : slot * SLOT_BYTES + len(header)] = header
        entries = encode_entries(checksums[:1])
        metadata[TABLE_OFFSET : TABLE_OFFSET + len(entries)] = entries

    (found,) = at_the_end_of(forge)
    assert "differ" in found


def test_a_replica_that_is_counted_and_not_there_is_named():
    async def remove(stage: Stage) -> None:
        handle, server = a_replica(stage)
        await stage.disk(server).remove(metadata_path(handle))

    assert any("has none" in text for text in at_the_end_of(remove))


LEFTOVERS = [
    "chunks/01/0000000000000001.new",
    "incoming/0000000000000001.data",
    "removing/0000000000000001.meta",
    "aside/0000000000000001.meta",
]


@pytest.mark.parametrize("path", LEFTOVERS)
def test_only_what_was_put_aside_may_lie_about(path: str):
    async def leave(stage: Stage) -> None:
        await put_file(stage, "cs2", path, b"half a copy")

    expected = [] if path.startswith("aside/") else [f"cs2 has {path}, which belongs to nothing"]
    assert at_the_end_of(leave) == expected


def test_a_file_under_a_passing_name_is_named():
    async def leave(stage: Stage) -> None:
        await stage.cluster.client().create("/.writing-0123456789abcdef")

    assert at_the_end_of(leave) == ["/.writing-0123456789abcdef is left behind"]


def test_a_memory_that_the_log_does_not_explain_is_a_finding():
    stage = Stage(Plan(1, Setup(chunkservers=3), (), ()))

    async def whole() -> tuple[list[str], list[str]]:
        await stage.cluster.start()
        await stage.cluster.client().make_directory("/d")
        before = [verdict.text for verdict in await endings.judge_replay(stage)]
        stage.insight.core().state.apply(DirectoriesMade(("/e",), 1, 0, 0, 0))
        stage.simulation.kill("replay")
        endings._REPLAY = "replay again"
        return before, [verdict.text for verdict in await endings.judge_replay(stage)]

    try:
        before, after = stage.simulation.run(whole(), processor_seconds=60)
    finally:
        endings._REPLAY = "replay"
        stage.simulation.close()
    assert before == []
    (text,) = after
    assert "names" in text and "than the memory of the master has" in text


def records(*events: tuple[str, object]) -> list[Record]:
    return [Record(0, 0, node, "", event) for node, event in events]  # type: ignore[arg-type]


def test_what_was_put_aside_and_is_gone_is_a_finding():
    stage = Stage(Plan(1, Setup(chunkservers=3), (), ()))
    aside, emptied = ChunkPutAside(7, "no header"), FaultBegan(0, "EmptyDisk()", "cs1, cs2", "")
    try:
        (found,) = endings.judge_aside(stage, records(("cs1", aside)))
        assert "cs1 has put chunk 0x7 aside 1 times, and keeps 0" in found.text
        assert endings.judge_aside(stage, records(("cs1", aside), ("faults", emptied))) == []
    finally:
        stage.simulation.close()
