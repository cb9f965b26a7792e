"""Leases as the primary counts them, and the order of serial numbers: pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkserver.mutation.leases import LeaseTable, Secondary
from chunkserver.mutation.serial_order import Applied, SerialOrder, Turn
from runtime.errors import Conflict, NotPrimary, StaleVersion

OTHERS = (Secondary("cs2", "h:2"),)


def granted(**changes) -> LeaseTable:
    leases = LeaseTable()
    leases.begin_version(7, 2)
    leases.grant(7, **{"version": 2, "secondaries": OTHERS, "seconds": 60.0, "now": 100.0, **changes})
    return leases


def test_a_lease_ends_at_its_end_and_not_a_moment_later():
    leases = granted()
    assert leases.current(7, version=2, now=159.999).secondaries == OTHERS
    with pytest.raises(NotPrimary):
        leases.current(7, version=2, now=160.0)


def test_a_lease_is_for_one_version():
    with pytest.raises(StaleVersion):
        granted().current(7, version=3, now=101.0)


def test_the_same_grant_again_does_not_move_the_end():
    leases = granted()
    leases.grant(7, version=2, secondaries=OTHERS, seconds=60.0, now=130.0)
    with pytest.raises(NotPrimary):
        leases.current(7, version=2, now=161.0)


def test_serials_go_on_when_a_lease_is_renewed_and_begin_again_under_a_new_version():
    leases = granted()
    lease = leases.current(7, version=2, now=101.0)
    assert [leases.next_serial(lease, 101.0) for _ in range(3)] == [1, 2, 3]
    leases.grant(7, version=2, secondaries=(), seconds=60.0, now=130.0, is_renewal=True)
    lease = leases.current(7, version=2, now=180.0)
    assert (leases.next_serial(lease, 180.0), lease.secondaries) == (4, ())
    leases.begin_version(7, 3)
    lease = leases.grant(7, version=3, secondaries=OTHERS, seconds=60.0, now=190.0)
    assert leases.next_serial(lease, 190.0) == 1


@pytest.mark.parametrize("is_renewal", [False, True])
def test_a_grant_of_a_version_that_may_have_been_used_is_refused(is_renewal):
    leases = granted()
    leases.end(7, through_version=2)
    leases.begin_version(9, 2)
    leases.note_use(9, 2)  # Another primary's mutation came here as to a secondary.
    for handle in (7, 8, 9):
        with pytest.raises(Conflict):
            leases.grant(handle, version=2, secondaries=OTHERS, seconds=60.0, now=110.0, is_renewal=is_renewal)


def test_a_version_that_was_raised_here_may_be_granted_later_and_an_older_mutation_does_not_use_it_up():
    leases = LeaseTable()
    leases.begin_version(7, 3)
    leases.note_use(7, 2)
    assert leases.grant(7, version=3, secondaries=(), seconds=60.0, now=100.0, is_renewal=True).version == 3


def test_a_revocation_does_not_end_the_lease_of_a_newer_version():
    leases = granted()
    assert leases.end(7, through_version=1) is None
    assert leases.current(7, version=2, now=101.0)


def test_the_reach_counts_what_is_in_flight():
    leases = granted()
    lease = leases.current(7, version=2, now=100.0)
    assert lease.reach(10) == 10
    serial = leases.next_serial(lease, 100.0, end=50)
    leases.next_serial(lease, 100.0, end=30)
    assert lease.reach(10) == 50
    leases.decided(lease, serial)
    assert lease.reach(10) == 30


def test_an_extension_never_shortens_and_never_revives():
    leases = granted()
    assert leases.extend(7, version=2, until=150.0)
    assert leases.current(7, version=2, now=159.0)
    assert leases.extend(7, version=2, until=200.0)
    assert leases.current(7, version=2, now=199.0)
    assert not leases.extend(7, version=1, until=300.0)
    leases.end(7, through_version=2)
    assert not leases.extend(7, version=2, until=300.0)
    with pytest.raises(NotPrimary):
        leases.current(7, version=2, now=101.0)


def test_only_leases_in_use_ask_for_an_extension():
    leases = granted()
    lease = leases.current(7, version=2, now=100.0)
    assert leases.to_extend(140.0, 1.0) == []
    leases.decided(lease, leases.next_serial(lease, 139.0))
    assert leases.to_extend(140.0, 1.0) == [lease]
    leases.end(7, through_version=2)
    assert leases.to_extend(140.0, 1.0) == []


def test_what_is_settled_stops_before_the_first_mutation_in_flight():
    leases = granted()
    lease = leases.current(7, version=2, now=100.0)
    for _ in range(4):
        leases.next_serial(lease, 100.0)
    assert lease.settled_through == 0
    leases.decided(lease, 2)
    assert lease.settled_through == 0
    leases.decided(lease, 1)
    assert lease.settled_through == 2
    leases.decided(lease, 4)
    leases.decided(lease, 3)
    assert lease.settled_through == 4
    leases.check_invariants()


@given(st.permutations(range(1, 8)))
def test_serials_are_applied_in_order_whatever_order_they_come_in(coming):
    order, applied, waiting = SerialOrder(1), [], []
    for serial in coming:
        waiting.append(serial)
        while ready := [one for one in waiting if order.judge(one) is Turn.NOW]:
            waiting.remove(ready[0])
            order.went_past(ready[0], Applied(0, 1, 0, ready[0]))
            applied.append(ready[0])
        order.check_invariants()
    assert applied == list(range(1, 8))
    assert all(order.judge(serial) is Turn.LATE for serial in coming)


def test_the_right_to_append_ends_for_good_under_one_version_and_writes_go_on():
    leases = granted()
    assert not leases.end_appends(7, through_version=1), "an order about an older lease"
    assert not leases.end_appends(8, through_version=2)
    assert leases.end_appends(7, through_version=2) and not leases.end_appends(7, through_version=2)
    leases.grant(7, version=2, secondaries=(), seconds=60.0, now=130.0, is_renewal=True)
    assert leases.current(7, version=2, now=140.0).file_goes_on
    leases.begin_version(7, 3)
    assert not leases.grant(7, version=3, secondaries=OTHERS, seconds=60.0, now=190.0).file_goes_on
    leases.begin_version(7, 4)
    assert leases.grant(7, version=4, secondaries=OTHERS, seconds=60.0, now=190.0, file_goes_on=True).file_goes_on
