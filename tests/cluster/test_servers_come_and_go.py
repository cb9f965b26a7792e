"""`tabletop up --racks`, `add`, `drain` and `remove`, on a cluster of real processes (GFS 4.2, 4.3)."""

import json
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster


def chunks_of_servers(desk: Desk) -> dict[str, int]:
    return {server["location"]["server"]: server["chunk_count"] for server in desk.status()["master"]["servers"]}


def test_a_server_joins_another_is_drained_and_leaves_and_nothing_is_lost(tmp_path: Path):
    desk = Desk(tmp_path / "home")
    content = bytes(range(256)) * 3000
    try:
        size = ("--chunk-size", "64K", "--heartbeat-seconds", "0.3", "--lease-seconds", "2")
        desk.run("up", "--chunkservers", "4", "--racks", "2", "--clone-rate", "50M", *size)
        (tmp_path / "file").write_bytes(content)
        desk.run("fs", "put", str(tmp_path / "file"), "/file")
        assert all("r1" in desk.run(command) and "r2" in desk.run(command) for command in ("status", "ps"))
        chunks = json.loads(desk.run("status", "--chunks", "--json"))["master"]["chunks"]
        racks = [{replica["rack"] for replica in chunk["chunk"]["replicas"]} for chunk in chunks]
        assert all(names == {"r1", "r2"} for names in racks)

        assert "no chunkserver 'cs9'" in desk.run("drain", "cs9", expect=1)
        refused = desk.run("drain", "cs1", "cs2", expect=1)
        assert "there would be 2 live chunkservers that stay" in refused
        assert "not drained" in desk.run("remove", "cs2", expect=1)

        assert "added cs5" in desk.run("add", "chunkserver", "--wait")
        held = chunks_of_servers(desk)
        assert held["cs5"] > 0 and sum(held.values()) == 12 * 3

        assert "nothing is left on cs2" in desk.run("drain", "cs2", "--wait")
        assert "drained" in desk.run("status")
        assert "cs2 has left" in desk.run("remove", "cs2")
        assert "cs2" not in desk.run("ps")
        assert not (desk.home / "desk" / "nodes" / "cs2").exists()
        desk.run("fs", "get", "/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == content

        desk.run("down")
        desk.run("up")
        assert list(chunks_of_servers(desk)) == ["cs1", "cs3", "cs4", "cs5"]
        assert "added cs6" in desk.run("add", "chunkserver")
        desk.run("down", "--purge")
        assert desk.programs() == []
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)
