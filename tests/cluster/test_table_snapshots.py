"""Snapshots of tables on a cluster of processes, from the command line and from Python."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tablet.client import connect
from tests.cluster.command_line import Desk
from tests.cluster.test_tables import QUICK

pytestmark = pytest.mark.cluster


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "home")
    yield desk
    processes.end_processes(desk.programs(), grace_seconds=0.0)


def test_a_dropped_table_is_there_again_from_its_snapshot(desk: Desk):
    desk.run("up", *QUICK)
    desk.run("table", "create", "users", "profile", "--split", "m")
    desk.run("table", "put", "users", "ada", "profile:name", "Ada")
    desk.run("table", "put", "users", "zoe", "profile:name", "Zoe")
    assert "2 tablets" in desk.run("table", "snapshot", "users", "monday")
    desk.run("table", "put", "users", "ada", "profile:name", "somebody else")
    [shown] = json.loads(desk.run("table", "snapshots", "users", "--json"))
    assert (shown["snapshot"], shown["table"], shown["tablets"]) == ("monday", "users", 2)
    assert "replaces none" in desk.run("table", "restore", "monday", expect=1)
    desk.run("table", "restore", "monday", "clone")
    desk.run("table", "drop", "users")
    desk.run("table", "restore", "monday")
    assert desk.run("table", "get", "users", "ada", "profile:name") == "Ada"
    with connect("desk", state=str(desk.home)) as tables:
        tables.put("clone", "ada", "profile:name", "hers alone")
        assert tables.snapshot("clone", "tuesday").tablets == 2
        assert [found.name for found in tables.snapshots()] == ["monday", "tuesday"]
        assert tables.restore("tuesday", "second") == "second"
        tables.delete_snapshot("monday")
        assert [key for key, _ in tables.scan("second")] == [b"ada", b"zoe"]
    assert "tuesday" in desk.run("table", "snapshots") and "is gone" in desk.run("table", "drop-snapshot", "tuesday")
    assert desk.run("table", "get", "second", "ada", "profile:name") == "hers alone"
    desk.run("down", "--purge")
