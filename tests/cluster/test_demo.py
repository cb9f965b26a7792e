"""The main job with real processes, on a small tree."""

from pathlib import Path

import pytest

from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster

SMALL = ("--chunk-size", "256K", "--lease-seconds", "2", "--chunkservers", "4")


def test_every_claim_of_the_demonstration_holds_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    desk = Desk(tmp_path)
    printed = desk.run("demo", "--from", str(Path(__file__).resolve().parents[2] / "gfs"), *SMALL)
    assert "claims held" in printed
    assert "NO" not in printed.split()
    assert desk.programs() == []
    assert desk.files() == []


def test_a_source_that_is_missing_or_too_small_starts_nothing(tmp_path: Path):
    desk = Desk(tmp_path)
    assert "no local file or folder" in desk.run("demo", "--from", str(tmp_path / "nowhere"), expect=1)
    assert "expected at least 65536" in desk.run("demo", "--from", str(tmp_path), expect=2)
