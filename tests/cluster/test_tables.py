"""Tables on a cluster of processes: from the command line, from Python, and through the death of a tablet server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tablet.client import connect
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import SetCell
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster

QUICK = ("--tablet-servers", "2", "--chunkservers", "3", "--chunk-size", "1M", "--heartbeat-seconds", "0.5")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "home")
    yield desk
    processes.end_processes(desk.programs(), grace_seconds=0.0)


def test_rows_outlive_the_server_that_took_them(desk: Desk):
    assert "2 tablet servers" in desk.run("up", *QUICK)
    assert "2 tablets" in desk.run("table", "create", "users", "profile", "log:1", "--split", "m")
    desk.run("table", "put", "users", "ada", "profile:name", "Ada")
    desk.run("table", "put", "users", "zoe", "profile:name", "Zoe")
    assert desk.run("table", "get", "users", "ada", "profile:name") == "Ada"
    [lower, _] = json.loads(desk.run("table", "tablets", "users", "--json"))
    victim = lower["server"].partition("-")[0]
    told = desk.run("status")
    assert "tm1 acts, under generation" in told and lower["server"] in told and "all of them served" in told
    metrics = desk.run("metrics", victim)
    assert 'tabletop_lock_session{state="safe"} 1.0' in metrics and "tabletop_mutations_total" in metrics
    desk.run("fault", "kill", victim)
    assert desk.run("table", "get", "users", "ada", "profile:name") == "Ada"
    assert "dead" in desk.run("ps")
    tables = json.loads(desk.run("status", "--json"))["tables"]
    assert tables["tablet_servers"][victim] is None and tables["tablet_master"]["master"] == "tm1"
    desk.run("fault", "restart", victim)
    with connect("desk", state=str(desk.home)) as tables:
        assert [key for key, _ in tables.scan("users")] == [b"ada", b"zoe"]
        assert tables.check_and_mutate(
            "users", "ada", ReadFilter(columns=["profile:name"]), [SetCell("log:seen", "1")], value="Ada"
        )
        failures = tables.mutate_many("users", [(f"row{number}", [SetCell("log:x", "2")]) for number in range(20)])
        assert failures == [None] * 20
        assert len(list(tables.scan("users", prefix="row"))) == 20
        tables.delete("users", "zoe")
    assert "ada" in desk.run("table", "scan", "users") and "zoe" not in desk.run("table", "scan", "users")
    desk.run("table", "split", lower["tablet"], "b")
    [half, *others] = json.loads(desk.run("table", "tablets", "users", "--json"))
    assert len(others) == 2
    target = next(node for node in ("ts1", "ts2") if not half["server"].startswith(node))
    assert f"served by {target}-" in desk.run("table", "move", half["tablet"], target)
    assert "3 tablets" in desk.run("table", "compact", "users")
    desk.run("table", "merge", half["tablet"], others[0]["tablet"])
    assert len(json.loads(desk.run("table", "tablets", "users", "--json"))) == 2
    assert desk.run("table", "get", "users", "ada", "log:seen") == "1"
    assert desk.run("table", "get", "users", "nobody", "log:seen", expect=1)
    desk.run("table", "drop", "users")
    assert "users" not in desk.run("table", "ls")
    desk.run("down", "--purge")
    assert desk.programs() == []
