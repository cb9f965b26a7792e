"""A cluster of processes with three masters: the one that acts is killed in the middle of what it is asked for."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk, eventually

pytestmark = pytest.mark.cluster

QUICK = ("--masters", "3", "--chunkservers", "3", "--chunk-size", "256K", "--heartbeat-seconds", "0.3")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "home")
    yield desk
    processes.end_processes(desk.programs(), grace_seconds=0.0)


def acting(desk: Desk) -> list[str]:
    found = json.loads(desk.run("admin", "masters", "--json"))
    return [name for name, standing in found.items() if standing is not None and standing["acting"]]


def all_in_sync(desk: Desk) -> bool:
    found = json.loads(desk.run("admin", "masters", "--json"))
    followers = [one for standing in found.values() if standing is not None for one in standing["followers"]]
    return len(followers) == 2 and all(follower["in_sync"] for follower in followers)


def test_a_put_succeeds_though_the_acting_master_is_killed_in_the_middle(desk: Desk, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(200):
        (source / f"{number:03d}").write_bytes(os.urandom(1000 + 50 * number))
    assert "3 masters" in desk.run("up", *QUICK)
    assert acting(desk) == ["master"]
    putting = desk.start("fs", "put", str(source), "/source")
    eventually(lambda: "writing" in desk.run("fs", "ls", "/"), "the put has begun")
    desk.run("fault", "kill", "master")
    assert "source" in desk.run("fs", "ls", "-R", "/") or "writing" in desk.run("fs", "ls", "-R", "/")
    printed, _ = putting.communicate(timeout=120)
    assert putting.returncode == 0, printed
    eventually(lambda: acting(desk) not in ([], ["master"]), "another master acts")
    desk.run("fs", "get", "/source", str(tmp_path / "copy"))
    for path in source.iterdir():
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()
    desk.run("fault", "restart", "master")
    eventually(lambda: all_in_sync(desk), "the old master is a shadow in sync")
    assert "shadow" in desk.run("ps")
    desk.run("down")
    assert desk.programs() == []
    assert "up already" not in desk.run("up")
    assert len(desk.run("fs", "ls", "/source").splitlines()) == 201
    desk.run("down", "--purge")
    assert desk.programs() == [] and desk.files() == []
