"""The judge of leases, versions and epochs: records of runs in which something is wrong."""

from chunkserver.events import LeaseEnded, LeaseReceived
from cluster.swarm.leases import judge_leases, wrong_epochs
from master.events import LeaseGranted, LeaseRevoked, MasterTookOver
from runtime.events import Event, NodeStarted, Record


def told(*events: tuple[float, str, Event]) -> list[tuple[float, Record]]:
    return [
        (time, Record(number, int(time * 1e6), node, "", event)) for number, (time, node, event) in enumerate(events)
    ]


def granted(version: int, primary: str) -> LeaseGranted:
    return LeaseGranted(handle=7, version=version, primary=primary, secondaries=("cs8", "cs9"))


def received(version: int, seconds: float = 10.0) -> LeaseReceived:
    return LeaseReceived(handle=7, version=version, seconds=seconds, secondaries=("cs8", "cs9"))


def test_one_lease_after_the_other_is_as_it_should_be():
    records = told(
        (0.0, "master", granted(1, "cs1")),
        (0.1, "cs1", received(1)),
        (5.0, "master", granted(1, "cs1")),  # a renewal, with other secondaries
        (12.0, "master", granted(2, "cs2")),
        (12.1, "cs2", received(2)),
    )
    assert list(judge_leases(records)) == []


def test_a_version_that_is_granted_to_two_servers_is_a_violation():
    records = told((0.0, "master", granted(1, "cs1")), (20.0, "master", granted(1, "cs2")))
    [text] = judge_leases(records)
    assert "granted cs2" in text and "cs1 had it under version 1" in text


def test_a_version_that_goes_back_is_a_violation():
    records = told((0.0, "master", granted(3, "cs1")), (20.0, "master", granted(2, "cs1")))
    assert len(list(judge_leases(records))) == 1


def test_two_primaries_at_one_moment_are_a_violation():
    records = told((0.0, "cs1", received(1)), (4.0, "cs2", received(2)))
    [text] = judge_leases(records)
    assert "cs2 became primary" in text and "cs1 was primary under version 1" in text and "5.8 s more" in text


def test_two_primaries_of_one_version_are_a_violation_whenever_that_was():
    records = told((0.0, "cs1", received(1)), (60.0, "cs2", received(1)))
    assert len(list(judge_leases(records))) == 1


def test_a_lease_that_was_over_early_leaves_room_for_another():
    for ending in (
        (3.0, "cs1", LeaseEnded(7, 1, "the master revoked it")),
        (3.0, "master", LeaseRevoked(7, "cs1", "its file changes its name")),
        (3.0, "cs1", NodeStarted("chunkserver")),
    ):
        assert list(judge_leases(told((0.0, "cs1", received(1)), ending, (4.0, "cs2", received(2))))) == []


def test_clocks_that_run_wrong_shorten_what_is_held_against_anybody():
    records = told((0.0, "cs1", received(1)), (8.5, "cs2", received(2)))
    assert len(list(judge_leases(records))) == 1
    assert list(judge_leases(records, clock_error=0.2)) == []


def test_epochs_rise():
    good = told((0.0, "master", MasterTookOver(1, 0, "")), (9.0, "master2", MasterTookOver(2, 5, "master")))
    assert list(wrong_epochs(good)) == []
    [text] = wrong_epochs(told((0.0, "master", MasterTookOver(2, 0, "")), (9.0, "master2", MasterTookOver(2, 5, ""))))
    assert "master2 acts under epoch 2, after master under epoch 2" in text
