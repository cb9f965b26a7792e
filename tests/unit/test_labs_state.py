"""A student's folder: two commands at once, damage, what is kept."""

from pathlib import Path

import pytest

from labs.drills.questions import Answer
from labs.state import Attempt, Desk
from runtime.errors import Conflict, IncompatibleFormat, NotFound


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_is_noted_is_read_back(desk: Desk):
    attempt = Attempt("rot", 2, 12.5, 7, "drill-rot", hints=[1.0], answers=[Answer("reader", "an error", 3.0)])
    with desk.locked() as state:
        state.attempts["rot"] = attempt
    assert desk.read().attempts == {"rot": attempt}
    assert desk.read().chosen("") == attempt and desk.read().running() == attempt


def test_after_an_error_nothing_is_noted(desk: Desk):
    with pytest.raises(RuntimeError), desk.locked() as state:
        state.attempts["rot"] = Attempt("rot", 1, 1.0, 1)
        raise RuntimeError
    assert desk.read().attempts == {}


def test_two_commands_at_once_do_not_overtake_each_other(desk: Desk):
    with desk.locked() as state:
        state.attempts["rot"] = Attempt("rot", 1, 1.0, 1)
        with pytest.raises(Conflict, match="another `tabletop drill`"), Desk(desk.home).locked(patience_seconds=0.1):
            pass
    with Desk(desk.home).locked() as state:
        assert list(state.attempts) == ["rot"]


def test_a_damaged_file_is_one_message_that_says_what_to_do(desk: Desk):
    with desk.locked():
        pass
    for text in (
        "",
        "{}",
        "[]",
        '{"format": 9, "card": {}, "attempts": {}}',
        '{"format":1,"card":{},"attempts":{"a":{}}}',
    ):
        (desk.path / "state.json").write_text(text)
        with pytest.raises(IncompatibleFormat, match="remove it"):
            desk.read()


def test_a_drill_that_does_not_run_or_was_never_started_is_named(desk: Desk):
    with pytest.raises(NotFound, match="no drill runs"):
        desk.read().chosen("")
    with pytest.raises(NotFound, match="never started"):
        desk.read().chosen("rot")


def test_the_folder_belongs_to_the_student_alone_and_is_no_cluster(desk: Desk):
    from cluster.folder import cluster_names

    with desk.locked():
        pass
    assert desk.path.stat().st_mode & 0o077 == 0
    assert cluster_names(desk.home) == []
