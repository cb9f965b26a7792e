"""The lease table as a state machine."""

import random

import pytest

from master.chunks.leases import TRANSITIONS, LeaseState, LeaseTable


def held(until: float = 60.0) -> LeaseTable:
    leases = LeaseTable()
    leases.begin(1)
    leases.grant(1, version=2, primary="cs1", secondaries=("cs2", "cs3"), until=until)
    return leases


def test_a_lease_ends_at_its_time_and_is_then_forgotten() -> None:
    leases = held()
    assert leases.holder(1, 59.0) is not None and leases.holder(1, 60.0) is None
    assert [lease.handle for lease in leases.expire(60.0)] == [1]
    assert leases.state(1) is LeaseState.ABSENT
    leases.check_invariants()


def test_only_the_primary_at_the_right_version_can_extend() -> None:
    leases = held()
    assert not leases.extend(1, "cs2", 2, 90.0)
    assert not leases.extend(1, "cs1", 1, 90.0)
    assert leases.extend(1, "cs1", 2, 90.0)
    assert not leases.expire(60.0) and leases.holder(1, 80.0) is not None
    assert leases.expire(90.0)


def test_a_lease_under_revocation_is_neither_shown_nor_extended_but_still_blocks() -> None:
    leases = held()
    leases.begin_revoke(1)
    assert leases.holder(1, 0.0) is None and not leases.extend(1, "cs1", 2, 90.0)
    assert leases.blocked_until(1, 0.0) == 60.0
    leases.end(1)
    assert leases.blocked_until(1, 5.0) == 5.0


def test_an_unanswered_revocation_leaves_the_lease_to_run_out() -> None:
    leases = held()
    leases.begin_revoke(1)
    leases.fail_revoke(1)
    leases.check_invariants()
    assert leases.holder(1, 59.0) is not None
    assert [lease.handle for lease in leases.expire(61.0)] == [1]


def test_a_new_incarnation_ends_all_leases_of_its_server() -> None:
    leases = held()
    leases.begin(2)
    leases.grant(2, version=5, primary="cs2", secondaries=(), until=60.0)
    assert [lease.handle for lease in leases.end_those_of("cs1")] == [1]
    assert leases.counts(0.0) == {"cs2": 1}


def test_no_transition_outside_the_table_is_possible() -> None:
    leases = LeaseTable()
    with pytest.raises(AssertionError):
        leases.grant(1, version=1, primary="cs1", secondaries=(), until=1.0)
    leases.begin(1)
    with pytest.raises(AssertionError):
        leases.begin(1)
    assert set(TRANSITIONS) == set(LeaseState)
    assert LeaseState.HELD not in TRANSITIONS[LeaseState.ABSENT]


def test_random_histories_keep_the_invariants() -> None:
    chance, leases, now = random.Random(2), LeaseTable(), 0.0
    for step in range(5000):
        now += chance.random()
        handle = chance.randrange(8)
        state = leases.state(handle)
        if state is LeaseState.ABSENT:
            leases.begin(handle)
        elif state is LeaseState.GRANTING and chance.random() < 0.8:
            leases.grant(handle, version=step + 1, primary=f"cs{step % 3}", secondaries=(), until=now + 9)
        elif state is LeaseState.GRANTING:
            leases.end(handle)
        elif state is LeaseState.HELD and chance.random() < 0.5:
            leases.extend(handle, f"cs{step % 3}", step, now + 9)
        elif state is LeaseState.HELD:
            leases.begin_revoke(handle)
        else:
            chance.choice([leases.end, leases.fail_revoke])(handle)
        if chance.random() < 0.05:
            leases.end_those_of(f"cs{step % 3}")
        leases.expire(now)
        leases.check_invariants()
