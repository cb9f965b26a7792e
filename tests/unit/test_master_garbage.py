"""What is due to be forgotten."""

from master.garbage import is_due, is_temporary
from master.paths import hidden_name


def test_a_hidden_name_is_due_when_its_grace_period_is_over() -> None:
    hidden = hidden_name("/home/a", 5_000_000)
    assert not is_due(hidden, now_microseconds=5_000_000, grace_seconds=1.0)
    assert is_due(hidden, now_microseconds=6_000_000, grace_seconds=1.0)
    assert is_due(hidden, now_microseconds=5_000_000, grace_seconds=0.0)


def test_only_the_last_part_of_a_path_makes_it_temporary() -> None:
    assert is_temporary("/.writing-1") and is_temporary("/a/b/.writing-1")
    assert not is_temporary("/.writing-1/a") and not is_temporary("/a.writing-1") and not is_temporary("/")
