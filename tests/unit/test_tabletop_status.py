"""What `tabletop status` makes of the master's report and of the processes."""

import pytest

from cluster.interface import NodeReport, NodeState
from runtime.wire import common_pb2, master_pb2
from tabletop.status_command import capacity, print_chunks, what_is_left, what_is_waited_for


def server(name: str, *, silence: float = 0.5, alive: bool = True) -> master_pb2.ServerStatus:
    return master_pb2.ServerStatus(
        location=common_pb2.Location(server=name),
        alive=alive,
        seconds_since_heartbeat=silence,
        disk_total_bytes=100,
        disk_free_bytes=40,
        chunk_count=7,
    )


def report(name: str, state: NodeState = NodeState.SERVING) -> NodeReport:
    return NodeReport(name, "chunkserver", state)


def test_one_disk_counts_once_however_many_servers_share_it():
    servers = [server("cs1"), server("cs2"), server("cs3"), server("cs4", alive=False)]
    assert capacity(servers, {"cs1": 7, "cs2": 7, "cs3": 8, "cs4": 9}) == (200, 80, 2)
    assert capacity(servers, {}) == (300, 120, 3)


def test_a_server_that_was_killed_a_moment_ago_is_told_with_the_seconds_left():
    found = master_pb2.ClusterStatus(servers=[server("cs1", silence=2.1), server("cs2")], dead_after_seconds=5)
    reports = [report("cs1", NodeState.DEAD), report("cs2")]
    (sentence,) = what_is_waited_for(found, reports)
    assert sentence == (
        "cs1 has been silent for 2.1 s and may come back; in 3 s the master gives it up and has its 7 chunks copied "
        "from elsewhere"
    )
    assert what_is_left(found, reports) == [sentence], "it is not healed while the master has not noticed"


def test_a_healthy_cluster_waits_for_nothing():
    found = master_pb2.ClusterStatus(servers=[server("cs1"), server("cs2", alive=False)], dead_after_seconds=5)
    reports = [report("cs1"), report("cs2", NodeState.DEAD)]
    assert what_is_waited_for(found, reports) == what_is_left(found, reports) == []


def test_too_few_servers_for_the_goal_are_told():
    found = master_pb2.ClusterStatus(servers=[server("cs1")], under_replicated_chunks=2, replication_goal=3)
    (sentence,) = what_is_waited_for(found, [report("cs1")])
    assert "1 live chunkserver cannot hold 3 copies" in sentence


def chunk(path: str, *servers: str, waits_for: str = "") -> master_pb2.ChunkStatus:
    places = [common_pb2.Location(server=name) for name in servers]
    return master_pb2.ChunkStatus(
        path=path,
        replication_goal=2,
        waits_for=waits_for,
        chunk=common_pb2.ChunkLocations(handle=42, version=3, length=10, replicas=places),
    )


def test_no_line_of_a_chunk_is_longer_than_its_own_path_needs(capsys: pytest.CaptureFixture[str]):
    print_chunks([chunk("/" + "x" * 500, "cs1", "cs2"), chunk("/a", "cs1", waits_for="a copy is being made")])
    _, long, short = capsys.readouterr().out.splitlines()
    assert long.endswith("x" * 500)
    assert short.endswith("cs1 (1 of 2)  0      /a  (a copy is being made)") and len(short) < 100
