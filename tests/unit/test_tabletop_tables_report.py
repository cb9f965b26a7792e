"""What `tabletop status` says of tablet servers, tablet masters and the lock service."""

import pytest

from cluster.interface import NodeReport, NodeState
from cluster.roles import role_of
from runtime.wire import tables_pb2 as wire
from tabletop.node_table import standing
from tabletop.tables_report import TablesReport, print_tables_report, tables_values, what_is_wrong

PLACES = [
    wire.TabletPlace(tablet="users-000003", table="users", end_row=b"m", server="ts1-7"),
    wire.TabletPlace(tablet="users-000004", table="users", start_row=b"m", server="ts2-9"),
]


def node(name: str, state: NodeState = NodeState.SERVING, **counters: int) -> NodeReport:
    return NodeReport(name, role_of(name), state, counters=counters)


def figures(name: str, life: str, session: str = "safe") -> wire.TabletServerFigures:
    return wire.TabletServerFigures(
        node=name, life=life, session=session, rows_per_second=1234.4, memtable_bytes=2048, log_bytes=4096,
        tablets=[wire.TabletFigures(tablet="users-000003", file_bytes=100)],
    )  # fmt: skip


def report(*nodes: NodeReport, **changes: object) -> TablesReport:
    known = [node("lock", epoch=2, sessions=6, locks=4), node("tm1"), node("ts1"), node("ts2")]
    given = {one.node: one for one in nodes}
    status = wire.TabletStatus(servers=["ts1-7", "ts2-9"], tablets=PLACES, master="tm1", generation=5)
    servers = {"ts1": figures("ts1", "ts1-7"), "ts2": figures("ts2", "ts2-9")}
    found = {"nodes": [given.get(one.node, one) for one in known], "master": status, "trouble": "", "servers": servers}
    return TablesReport(**{**found, **changes})  # type: ignore[arg-type]


def test_a_healthy_cluster_has_figures_and_no_complaint(capsys: pytest.CaptureFixture[str]):
    assert what_is_wrong(report()) == []
    print_tables_report(report())
    printed = capsys.readouterr().out
    assert "tm1 acts, under generation 5" in printed and "epoch 2, 6 sessions, 4 locks" in printed
    assert "3 tablets, all of them served" in printed
    assert "ts1-7" in printed and "1,234" in printed
    print_tables_report(None)
    assert capsys.readouterr().out == ""


def test_a_tablet_that_nobody_serves_is_named_with_its_rows_and_since_when():
    status = wire.TabletStatus(
        servers=["ts2-9"], tablets=PLACES, master="tm1", waiting=["users-000003", "users-000004"],
        waiting_seconds=[12.0, 0.5],
    )  # fmt: skip
    servers = {"ts1": None, "ts2": figures("ts2", "ts2-9")}
    assert what_is_wrong(report(node("ts1", NodeState.DEAD), master=status, servers=servers)) == [
        "nobody serves tablet users-000003 (the first row to m) for 12.0 s now; ts1-7 had it, and has ended",
        "nobody serves tablet users-000004 (m to the end) for 500 ms now; ts2-9 is to load it",
    ]


def test_a_server_without_a_session_and_one_whose_session_is_in_doubt_are_told():
    servers = {
        "ts1": wire.TabletServerFigures(node="ts1", session="none"),
        "ts2": figures("ts2", "ts2-9", "jeopardy"),
    }
    first, second = what_is_wrong(report(servers=servers))
    assert first == "ts1 runs and serves no tablet: it has no session with the lock service"
    assert second == "ts2 serves nothing at this moment: its session with the lock service is in jeopardy"
    [only] = what_is_wrong(report(servers={"ts1": figures("ts1", "ts1-12")}))
    assert only == "ts1 serves as ts1-12, and the tablet master does not know it yet"


def test_a_missing_master_and_a_dead_lock_service_are_told():
    found = report(
        node("tm1", NodeState.DEAD), node("lock", NodeState.DEAD), master=None, trouble="no answer", servers={}
    )
    first, second = what_is_wrong(found)
    assert first.startswith("the lock service is dead: within seconds no tablet server has a session")
    assert second.startswith("no tablet master acts (tm1 is dead): rows are read and written")
    values = tables_values(found)
    assert values is not None and values["tablet_master"] is None and values["trouble"] == [first, second]


def test_ps_says_what_a_node_of_tables_does():
    assert standing(node("ts1", has_lock=1, tablets=2)) == "serves 2 tablets"
    assert standing(node("ts1", has_lock=0, tablets=0)) == "serves nothing: it has no lock"
    assert standing(node("tm1", acting=1)) == "acts"
    assert standing(node("tm2", acting=0)) == "waits for the lock"
    assert standing(node("master2", acting=0)) == "shadow"
