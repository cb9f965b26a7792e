"""The judge of orders refuses leases on single replicas that came too soon, and removals that came too late."""

from chunkserver.events import RemovalBegun
from cluster.swarm.orders import Records, late_removals, lone_grants
from master.events import LeaseGranted, LoneReplicaHeldBack, RemovalDecided, ReplicaLost
from runtime.events import Event, Record


def told(*events: tuple[float, Event]) -> Records:
    return [(time, Record(0, int(time * 1e6), "cs1", "", event)) for time, event in events]


GRANT = LeaseGranted(handle=7, version=4, primary="cs1", secondaries=())
LEFT_OUT = ReplicaLost(handle=7, server="cs2", reason="left out of version 4")


def test_a_lease_on_a_single_replica_is_refused_if_another_was_left_out_at_once():
    assert len(list(lone_grants(told((1.0, LEFT_OUT), (1.0, GRANT))))) == 1


def test_a_lease_on_a_single_replica_is_right_after_a_wait_or_if_nobody_was_left_out():
    held_back = LoneReplicaHeldBack(handle=7, servers=("cs1",))
    assert list(lone_grants(told((1.0, held_back), (7.0, LEFT_OUT), (7.0, GRANT)))) == []
    older = ReplicaLost(handle=7, server="cs2", reason="left out of version 3")
    assert list(lone_grants(told((1.0, older), (7.0, GRANT)))) == []
    two = LeaseGranted(handle=7, version=4, primary="cs1", secondaries=("cs3",))
    assert list(lone_grants(told((1.0, LEFT_OUT), (1.0, two)))) == []


def test_a_removal_is_refused_if_its_order_is_over():
    decided = RemovalDecided(handle=7, count=1, kept=("cs2", "cs3"))
    begun = RemovalBegun(handle=7, version=3)
    assert len(list(late_removals(told((1.0, decided), (9.0, begun)), {7}, 6.0))) == 1
    assert list(late_removals(told((1.0, decided), (6.0, begun)), {7}, 6.0)) == []
    assert list(late_removals(told((1.0, decided), (9.0, begun)), {8}, 6.0)) == []
    again = (8.0, decided)
    assert list(late_removals(told((1.0, decided), again, (9.0, begun)), {7}, 6.0)) == []
