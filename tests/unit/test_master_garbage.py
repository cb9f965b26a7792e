"""What is due to be forgotten."""

from master.garbage import is_due
from master.paths import hidden_name


def test_a_hidden_name_is_due_when_its_grace_period_is_over() -> None:
    hidden = hidden_name("/home/a", 5_000_000)
    assert not is_due(hidden, now_microseconds=5_000_000, grace_seconds=1.0)
    assert is_due(hidden, now_microseconds=6_000_000, grace_seconds=1.0)
    assert is_due(hidden, now_microseconds=5_000_000, grace_seconds=0.0)
