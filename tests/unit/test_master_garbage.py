"""What is due to be forgotten."""

from master.maintenance.garbage import Sightings, is_due
from master.namespace.hidden_names import hidden_name


def test_a_hidden_name_is_due_when_its_grace_period_is_over() -> None:
    hidden = hidden_name("/home/a", 5_000_000)
    assert not is_due(hidden, now_microseconds=5_000_000, grace_seconds=1.0)
    assert is_due(hidden, now_microseconds=6_000_000, grace_seconds=1.0)
    assert is_due(hidden, now_microseconds=5_000_000, grace_seconds=0.0)


def test_what_was_seen_for_a_grace_period_is_due_whatever_its_stamp_says() -> None:
    sightings = Sightings(grace_seconds=100.0)
    moments = [(float(second), 1000 + second // 10) for second in range(300)]
    seen = [sightings.seen_through(now, last) for now, last in moments]
    assert seen[:100] == [0] * 100
    for second in range(100, 300):
        assert 1000 + (second - 102) // 10 <= seen[second] <= 1000 + (second - 100) // 10
    assert Sightings(grace_seconds=0.0).seen_through(0.0, 7) == 7
