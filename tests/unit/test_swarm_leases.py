"""The judge of leases, versions and epochs: records of runs in which something is wrong."""

from chunkserver.events import LeaseReceived
from cluster.swarm.leases import judge_leases, wrong_epochs
from master.events import LeaseGranted, MasterTookOver
from runtime.events import Event, Record


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


def test_two_primaries_of_one_version_are_a_violation_whenever_that_was():
    records = told((0.0, "cs1", received(1)), (60.0, "cs2", received(1)))
    [text] = judge_leases(records)
    assert "cs2 became primary" in text and "as cs1 had at 0.000 s" in text


def test_a_primary_that_was_given_up_may_believe_in_its_lease_while_the_next_one_acts():
    assert list(judge_leases(told((0.0, "cs1", received(1)), (4.0, "cs2", received(2))))) == []


def test_epochs_rise():
    good = told((0.0, "master", MasterTookOver(1, 0, "")), (9.0, "master2", MasterTookOver(2, 5, "master")))
    assert list(wrong_epochs(good)) == []
    [text] = wrong_epochs(told((0.0, "master", MasterTookOver(2, 0, "")), (9.0, "master2", MasterTookOver(2, 5, ""))))
    assert "master2 acts under epoch 2, after master under epoch 2" in text
