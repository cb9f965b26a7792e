"""What a client believes of its session (Chubby 2.8)."""

from lockservice.client.lease import TRANSITIONS, LocalLease
from lockservice.interface import SessionState
from lockservice.settings import LockServiceSettings

SAFE, JEOPARDY, EXPIRED = SessionState


def lease(asked: float = 0.0, held: float = 0.0, share: float = 1.0) -> LocalLease:
    found = LocalLease()
    assert found.extend(now=asked, asked=asked, held=held, lease=10.0, grace=5.0, share=share)
    return found


def test_safe_then_in_jeopardy_then_over():
    found = lease()
    states = [found.state(now) for now in (0.0, 9.99, 10.0, 14.99, 15.0)]
    assert states == [SAFE, SAFE, JEOPARDY, JEOPARDY, EXPIRED]
    assert [found.next_change(now) for now in (0.0, 10.0)] == [10.0, 15.0]


def test_an_answer_in_jeopardy_makes_it_safe_again():
    found = lease()
    assert found.extend(now=14.0, asked=13.0, held=0.0, lease=10.0, grace=5.0, share=1.0)
    assert found.state(14.0) is SAFE and found.state(23.0) is JEOPARDY


def test_an_answer_after_the_end_changes_nothing():
    found = lease()
    assert not found.extend(now=15.0, asked=14.9, held=0.0, lease=10.0, grace=5.0, share=1.0)
    assert found.state(15.0) is EXPIRED and found.state(0.0) is EXPIRED


def test_the_ends_move_forward_only():
    found = lease(asked=5.0)
    found.extend(now=6.0, asked=0.0, held=0.0, lease=10.0, grace=5.0, share=1.0)  # An answer that was long under way.
    assert found.state(14.99) is SAFE


def test_the_time_for_which_the_service_held_the_call_counts():
    found = lease(held=5.0)
    assert found.state(14.99) is SAFE and found.state(15.0) is JEOPARDY


def test_clocks_that_differ_are_taken_off():
    found = lease(held=10.0, share=0.5)
    assert found.state(9.99) is SAFE and found.state(10.0) is JEOPARDY and found.state(12.5) is EXPIRED


def test_whatever_the_two_clocks_do_within_their_bound_the_client_ends_first():
    settings = LockServiceSettings(lease_seconds=10.0, grace_seconds=5.0, clock_drift=0.1)
    for service_rate in (0.9, 1.0, 1.1):
        for client_rate in (0.9, 1.0, 1.1):
            held, flight = 7.0, 0.0  # True seconds; an answer that flies longer only ends the session earlier here.
            found = LocalLease()
            found.extend(
                now=0.0,
                asked=0.0,
                held=held * service_rate,
                lease=settings.lease_seconds,
                grace=settings.grace_seconds,
                share=settings.share_for_clients,
            )
            over_here = found.ends_at / client_rate
            over_there = held + flight + settings.session_seconds / service_rate
            assert over_here <= over_there + 1e-9


def test_a_session_that_ended_has_no_way_back():
    found = lease()
    found.end()
    assert found.state(0.0) is EXPIRED and TRANSITIONS[EXPIRED] == ()
