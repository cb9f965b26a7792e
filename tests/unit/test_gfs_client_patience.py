"""What a client says when its patience is over, against a fake master and fake chunkservers."""

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import MutationFailed, TimedOut, Unavailable
from tests.unit.gfs_fakes import PIECE_BYTES, QUICK, FakeCluster


async def test_a_master_that_does_not_answer_is_told_from_one_that_answers_no(tmp_path: Path):
    impatient = replace(QUICK, patience_seconds=1.5)
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(impatient)
        refusals: list[Exception | None] = [Unavailable("no live replica; see `tabletop status`")] * 1000
        cluster.master.mishaps["Stat"] = refusals
        with pytest.raises(TimedOut) as caught:
            await client.stat("/a")
        assert "the master still says: no live replica" in caught.value.message
        assert caught.value.message.count("tabletop status") == 1
        await cluster.master.rpc.stop(0)
        with pytest.raises(TimedOut, match=r"gave no answer within 1.5 seconds .*; see `tabletop status`"):
            await client.stat("/a")


async def test_a_write_that_failed_names_the_file_as_its_writer_does_and_has_not_happened(tmp_path: Path):
    impatient = replace(QUICK, write_patience_seconds=0.05)
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(impatient)
        for server in cluster.servers.values():
            server.afterwards["Write"] = [MutationFailed("not applied everywhere")] * 1000
        with pytest.raises(MutationFailed, match=r"^/a was not stored: .*of /a may be written") as caught:
            async with await client.open("/a", "wb") as file:
                await file.write(b"text")
                await file.flush()
        assert caught.value.definite and cluster.master.files == {}


async def test_a_file_that_could_not_take_its_name_may_have_it(tmp_path: Path):
    impatient = replace(QUICK, patience_seconds=0.5)
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(impatient)
        cluster.master.afterwards["Rename"] = [Unavailable("lost")] * 1000
        with pytest.raises(TimedOut) as caught:
            await client.write_file("/a", b"text", overwrite=True)
        assert not caught.value.definite


async def test_a_read_in_order_that_failed_asks_again_when_it_is_tried_again(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(replace(QUICK, patience_seconds=0.2))
        content = bytes(3 * PIECE_BYTES)
        await client.write_file("/a", content)
        async with await client.open("/a", "rb") as file:
            await file.read(10)
            cluster.to_happen("mishaps", "read", [Unavailable("the link is cut")] * 10_000)
            with pytest.raises(Unavailable):
                await file.read(10)
            cluster.to_happen("mishaps", "read", [])
            assert await file.read(10) == content[10:20]
