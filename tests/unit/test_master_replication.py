"""Clone plans, as pure functions (the paper's rules are in tests/paper/test_gfs_4_3_replication.py)."""

from master.balance.placement import Candidate
from master.balance.replication import CloneOrder, Limits, Need, plan_replication
from master.balance.standing import MISPLACED

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


def test_a_misplaced_chunk_is_not_copied_within_its_rack_while_the_better_place_is_busy() -> None:
    servers = [Candidate(f"cs{number}", "ab"[number == 4], 100, 90, 0.0) for number in range(1, 5)]
    misplaced = Need(1, 2, ("cs1", "cs2"), False, False, leaving=("cs1",), urgency=MISPLACED)
    [order] = plan_replication([misplaced], servers, running=(), limits=Limits(8, 1), needed_bytes=1)
    assert order.destination == "cs4"
    busy = (CloneOrder(9, "cs4", "cs3"),)
    assert plan_replication([misplaced], servers[:4], running=busy, limits=Limits(8, 1), needed_bytes=1) == []
    closed = plan_replication([misplaced], servers, running=(), limits=Limits(), needed_bytes=1, closed=["cs4"])
    assert closed == []


def test_a_server_must_have_room_for_what_is_copied_and_the_reserve() -> None:
    large = Need(1, 3, ("cs1",), False, False, length=85)
    assert plan_replication([large], SERVERS, running=(), limits=Limits(), needed_bytes=10) == []
    assert plan_replication([large], SERVERS, running=(), limits=Limits(), needed_bytes=5)
