"""How many calls small files take, counted where they are served: what is asked once is not asked twice."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from chunkserver.service import ChunkserverService
from chunkserver.transfer.data_flow import DataFlow
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from master.serving.service import MasterService
from runtime.record_log import LogWriter
from runtime.simulated.world import Simulation

SETTINGS = ClusterSettings(chunkservers=3, replicas=3, chunk_bytes=256 * 1024)
OF_THE_MASTER = ("Create", "CreateFiles", "FindLeaseHolder", "FindLocations", "Stat", "List", "Rename")
OF_CHUNKSERVERS = ("AdvanceChunks", "Write", "Apply", "GetChunkStates")


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """The calls that servers serve in the block, and the syncs of logs."""
    found: Counter[str] = Counter()

    def counting(owner: Any, name: str) -> Any:
        original = getattr(owner, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            found[name.lstrip("_")] += 1
            return await original(*arguments, **named)

        return patch.object(owner, name, call)

    with ExitStack() as stack:
        for name in OF_THE_MASTER:
            stack.enter_context(counting(MasterService, name))
        for name in OF_CHUNKSERVERS:
            stack.enter_context(counting(ChunkserverService, name))
        for name in ("_answer_read", "_receive_push"):
            stack.enter_context(counting(DataFlow, name))
        stack.enter_context(counting(LogWriter, "_sync_file"))
        yield found


def run(story: Callable[[SimulatedCluster, Counter[str]], Awaitable[None]]) -> None:
    """Tell the story of a cluster that serves; its calls are counted from there on."""
    cluster = SimulatedCluster(Simulation(1), SETTINGS)

    async def whole(calls: Counter[str]) -> None:
        await cluster.start()
        await cluster.client().write_file("/first", b"so that numbers are reserved, and connections made")
        calls.clear()
        await story(cluster, calls)

    with counted() as calls:
        cluster.simulation.run(whole(calls))


def test_a_small_file_takes_one_call_to_the_master_and_one_to_each_replica_for_its_bytes():
    async def story(cluster: SimulatedCluster, calls: Counter[str]) -> None:
        await cluster.client().write_file("/a", b"some bytes")
        assert calls == {"CreateFiles": 1, "AdvanceChunks": 3, "Write": 1, "Apply": 2, "sync_file": 1}

    run(story)


def test_sixty_four_small_files_share_their_creation():
    async def story(cluster: SimulatedCluster, calls: Counter[str]) -> None:
        client = cluster.client()
        await asyncio.gather(*(client.write_file(f"/{number}", b"some bytes") for number in range(64)))
        assert calls["CreateFiles"] <= 3 and calls["AdvanceChunks"] <= 3 * 4 and calls["sync_file"] <= 4
        assert calls["Write"] == 64 and calls["Apply"] == 128
        assert calls["FindLeaseHolder"] == calls["Create"] == calls["receive_push"] == 0

    run(story)


def test_a_small_file_is_read_with_one_call_to_the_master_and_one_to_a_replica():
    async def story(cluster: SimulatedCluster, calls: Counter[str]) -> None:
        assert (await cluster.client().read_file("/first")).startswith(b"so that")
        assert calls == {"FindLocations": 1, "answer_read": 1}

    run(story)


def test_a_kilobyte_that_is_synced_takes_one_call_to_each_replica():
    async def story(cluster: SimulatedCluster, calls: Counter[str]) -> None:
        async with await cluster.client().open("/log", "xb") as file:
            await file.write(b"x" * 1024)
            await file.flush()
            calls.clear()
            await file.write(b"x" * 1024)
            await file.flush()
            assert calls == {"Write": 1, "Apply": 2}

    run(story)


def test_an_empty_file_is_looked_at_with_one_call():
    async def story(cluster: SimulatedCluster, calls: Counter[str]) -> None:
        await cluster.client().create("/empty")
        await cluster.client().stat("/empty")
        assert calls == {"Create": 1, "Stat": 1, "sync_file": 1}

    run(story)
