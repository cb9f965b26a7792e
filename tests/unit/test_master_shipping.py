"""Who is in sync: the plan alone. What the acting master does by it is told in tests/sim/test_masters.py."""

import dataclasses

from master.failover.shipping import SeenShadow, plan_in_sync

LEVEL = SeenShadow("master2", True, True, True, False, False, acknowledged=50, silent_seconds=0.1)


def planned(*shadows: SeenShadow, oldest_waiting: int = 0, waiting_seconds: float = 0.0) -> tuple[str, ...]:
    return plan_in_sync(
        shadows, confirmed=50, oldest_waiting=oldest_waiting, waiting_seconds=waiting_seconds, patience=1.0
    )


def changed(**changes: object) -> SeenShadow:
    return dataclasses.replace(LEVEL, **changes)


def test_a_shadow_stays_in_sync_as_long_as_it_answers():
    assert planned(LEVEL) == ("master2",)
    assert planned(changed(is_level=False)) == ("master2",), "its stream begins anew, and it may be quick"
    assert planned(changed(silent_seconds=0.9)) == ("master2",)


def test_a_shadow_that_is_silent_or_has_lost_records_is_taken_out():
    assert planned(changed(silent_seconds=1.1)) == ()
    assert planned(changed(has_lost=True)) == ()


def test_a_shadow_at_whose_address_nobody_listens_is_taken_out_sooner():
    assert planned(changed(silent_seconds=0.3)) == ("master2",)
    assert planned(changed(silent_seconds=0.3, is_gone=True)) == ()


def test_a_shadow_that_answers_and_holds_a_record_up_for_too_long_is_taken_out():
    assert planned(LEVEL, oldest_waiting=51, waiting_seconds=0.9) == ("master2",)
    assert planned(LEVEL, oldest_waiting=51, waiting_seconds=1.1) == ()
    assert planned(LEVEL, oldest_waiting=50, waiting_seconds=1.1) == ("master2",), "another one holds it up"


def test_a_shadow_is_taken_in_when_it_is_waited_for_and_has_all_that_is_confirmed():
    outside = changed(is_in_charter=False)
    assert planned(outside) == ("master2",)
    assert planned(dataclasses.replace(outside, acknowledged=49)) == ()
    assert planned(dataclasses.replace(outside, is_level=False)) == ()
    assert planned(dataclasses.replace(outside, is_required=False)) == ()
