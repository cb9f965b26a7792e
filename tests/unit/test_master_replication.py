"""Clone plans, as pure functions (the paper's rules are in tests/paper/test_gfs_4_3_replication.py)."""

from master.placement import Candidate
from master.replication import CloneOrder, Limits, Need, plan_replication

SERVERS = [Candidate(f"cs{number}", "", 100, 90, 0.0) for number in range(1, 6)]


def need(handle: int, *replicas: str, goal: int = 3) -> Need:
    return Need(handle, goal, replicas, False, False)


def test_a_chunk_without_any_replica_cannot_be_cloned() -> None:
    assert plan_replication([need(1)], SERVERS, running=(), limits=Limits(), needed_bytes=1) == []


def test_a_chunk_that_is_being_cloned_is_left_alone() -> None:
    running = (CloneOrder(1, "cs1", "cs2"),)
    assert plan_replication([need(1, "cs1")], SERVERS, running=running, limits=Limits(), needed_bytes=1) == []


def test_source_and_destination_share_the_load() -> None:
    needs = [need(handle, "cs1", "cs2") for handle in range(1, 4)]
    orders = plan_replication(needs, SERVERS, running=(), limits=Limits(8, 2), needed_bytes=1)
    assert [order.source for order in orders] == ["cs1", "cs2", "cs1"]
    assert all(order.destination in ("cs3", "cs4", "cs5") for order in orders)


def test_a_full_cluster_gets_no_orders() -> None:
    full = [Candidate(f"cs{number}", "", 100, 0, 0.0) for number in range(1, 6)]
    assert plan_replication([need(1, "cs1")], full, running=(), limits=Limits(), needed_bytes=1) == []
