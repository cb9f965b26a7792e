"""Storing trees: what fails leaves no name, and says whether it may have happened."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.errors import NoSpace
from tabletop.progress import SilentMeter
from tabletop.sources import MemoryTree
from tabletop.transfer import put_tree
from tests.unit.gfs_fakes import FakeCluster


async def test_a_small_file_has_its_name_only_when_it_is_whole_and_its_failure_is_definite(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        desk: Any = SimpleNamespace(client=lambda: client)
        cluster.to_happen("mishaps", "Write", [NoSpace("the disk is full")] * 10_000)
        with pytest.raises(NoSpace) as caught:
            await put_tree(desk, MemoryTree({"": b"some bytes"}), "/a", SilentMeter())
        assert caught.value.definite
        created = [request.path for method, request in cluster.master.calls if method == "Create"]
        assert created and all(path.startswith("/.writing-") for path in created)
        assert cluster.master.files == {}


async def test_a_small_file_is_stored_under_its_name(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        desk: Any = SimpleNamespace(client=lambda: client)
        meter = SilentMeter()
        await put_tree(desk, MemoryTree({"": b"some bytes"}), "/a", meter)
        assert await client.read_file("/a") == b"some bytes"
        assert (meter.files_done, meter.bytes_done) == (1, 10)
        assert list(cluster.master.files) == ["/a"]
