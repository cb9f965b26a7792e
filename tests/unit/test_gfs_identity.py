"""An open file is the file that was opened, and a request is the request that was made."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from gfs.client import WRITING_PREFIX
from gfs.settings import ClientSettings
from runtime.errors import Conflict, MutationFailed, NoSpace, NotFound, TimedOut, Unavailable
from tests.unit.gfs_fakes import CHUNK_BYTES, PIECE_BYTES, QUICK, FakeCluster

LARGE = random.Random(1).randbytes(3 * CHUNK_BYTES + 1234)
NEW = random.Random(2).randbytes(PIECE_BYTES + 77)


async def test_a_repeated_delete_does_not_take_a_new_file_of_that_name(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"old")
        cluster.master.interludes["Delete"] = [lambda: cluster.master.replace("/a", NEW)]
        cluster.master.afterwards["Delete"] = [Unavailable("lost")]
        assert await client.delete("/a") == 1
        assert await client.read_file("/a") == NEW


async def test_a_repeated_rename_does_not_take_a_new_file_of_that_name(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"old")
        cluster.master.interludes["Rename"] = [lambda: cluster.master.replace("/a", NEW)]
        cluster.master.afterwards["Rename"] = [TimedOut("lost")]
        await client.rename("/a", "/b", replace=True)
        assert await client.read_file("/a") == NEW
        assert await client.read_file("/b") == b"old"


async def test_delete_and_rename_of_one_certain_file_leave_another_one_alone(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"old")
        file_id = (await client.stat("/a")).file_id
        cluster.master.replace("/a", NEW)
        with pytest.raises(Conflict, match="another file now") as caught:
            await client.delete("/a", file_id=file_id)
        assert caught.value.definite
        with pytest.raises(Conflict):
            await client.rename("/a", "/b", file_id=file_id)
        await client.rename("/a", "/b", file_id=(await client.stat("/a")).file_id)
        assert await client.read_file("/b") == NEW


async def test_a_write_file_that_fails_does_not_take_another_clients_file_of_that_name(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        # However slow this machine is, the primary is asked for once more.
        client = cluster.new_client(replace(QUICK, shortage_seconds=5.0))
        cluster.master.interludes["FindLeaseHolder"] = [lambda: cluster.master.replace("/a", NEW)]
        cluster.to_happen("mishaps", "Write", [NoSpace("the disk is full")] * 1000)
        with pytest.raises(Conflict) as caught:
            await client.write_file("/a", b"small")
        assert not caught.value.definite  # Others may have seen the file that this client made.
        assert await client.read_file("/a") == NEW


async def test_a_passing_name_that_somebody_took_is_neither_renamed_nor_removed(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        file = await client.open("/a", "wb")
        await file.write(b"mine")
        await file.flush()
        cluster.master.replace(file.stored_path, NEW)
        with pytest.raises(Conflict) as caught:
            await file.close()
        assert caught.value.definite
        assert list(cluster.master.files) == [file.stored_path]


async def test_bytes_written_to_an_open_file_never_get_into_another_one_of_its_name(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client, other = cluster.new_client(), cluster.new_client()
        await client.write_file("/a", b"old")
        async with await client.open("/a", "r+b") as file, await client.open("/a", "ab") as appending:
            await other.rename("/a", "/b")
            await other.write_file("/a", NEW)
            for stale in (file, appending):
                with pytest.raises(Conflict, match=r"cannot write to /a: .*another file now") as caught:
                    await stale.pwrite(0, b"changed")
                assert caught.value.definite
                await stale.abandon()
        assert await client.read_file("/a") == NEW
        assert await client.read_file("/b") == b"old"


async def test_a_writer_whose_file_was_renamed_is_told_when_its_lease_is_over(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client, other = cluster.new_client(), cluster.new_client()
        file = await client.open("/a", "xb")
        await file.pwrite(0, b"before")
        handle = cluster.master.files["/a"][0]
        await other.rename("/a", "/b")
        cluster.master.leave_out(cluster.master.chunks[handle], "")  # As a master does that revokes the lease.
        with pytest.raises(NotFound) as caught:
            await file.pwrite(0, b"behind")
        assert caught.value.definite
        await file.abandon()
        assert await client.read_file("/b") == b"before"


async def test_a_reader_of_a_file_that_was_replaced_gets_no_half_of_each(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client, other = cluster.new_client(), cluster.new_client()
        await client.write_file("/a", LARGE)
        async with await client.open("/a") as file:
            assert await file.pread(0, 100) == LARGE[:100]
            await other.write_file("/a", bytes(len(LARGE)), overwrite=True)
            with pytest.raises(Conflict, match="another file now") as caught:
                await file.pread(2 * CHUNK_BYTES - 50, CHUNK_BYTES)  # The third chunk's place is not known yet.
            assert caught.value.definite
            with pytest.raises(Conflict):
                await file.length()


async def test_read_file_begins_again_when_the_file_is_replaced_meanwhile(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        cluster.master.interludes["FindLocations"] = [lambda: cluster.master.replace("/a", NEW)]
        assert await client.read_file("/a") == NEW


async def test_read_file_into_begins_again_only_if_nothing_was_handed_out(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        parts: list[bytes] = []

        async def sink(piece: memoryview) -> None:
            parts.append(bytes(piece))

        cluster.master.interludes["FindLocations"] = [lambda: cluster.master.replace("/a", NEW)]
        with pytest.raises(Conflict) as caught:
            await client.read_file_into("/a", sink)
        assert caught.value.definite and LARGE.startswith(b"".join(parts)) and parts

        parts.clear()
        cluster.master.interludes["FindLocations"] = [lambda: cluster.master.replace("/a", LARGE[:10])]
        cluster.to_happen("mishaps", "read", [NotFound("this chunk is gone")] * 3)  # On all three replicas.
        assert await client.read_file_into("/a", sink) == 10
        assert b"".join(parts) == LARGE[:10]


async def test_a_file_that_another_client_creates_first_is_appended_to(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.master.mishaps["FindLocations"] = [NotFound("no file /log")]
        cluster.master.replace("/log", b"theirs ")
        async with await client.open("/log", "ab") as file:
            await file.write(b"ours")
        assert await client.read_file("/log") == b"theirs ours"


async def test_a_passing_file_is_removed_though_the_answer_to_its_creation_never_came(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(_impatient(0.05))
        cluster.master.afterwards["Create"] = [TimedOut("lost")] * 1000
        with pytest.raises(TimedOut) as caught:
            await client.open("/a", "wb")
        assert not caught.value.definite
        assert not [path for path in cluster.master.files if WRITING_PREFIX in path]


async def test_what_a_failed_write_leaves_behind_makes_its_failure_indefinite(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(_impatient(0.05))
        file = await client.open("/a", "xb")
        cluster.to_happen("mishaps", "Write", [NoSpace("the disk is full")] * 1000)
        cluster.master.mishaps["Delete"] = [MutationFailed("the log's disk is full")]
        with pytest.raises(NoSpace) as caught:
            async with file:
                await file.write(b"text")
                await file.flush()
        assert not caught.value.definite
        assert list(cluster.master.files) == ["/a"]


def _impatient(seconds: float) -> ClientSettings:
    return replace(QUICK, patience_seconds=seconds)
