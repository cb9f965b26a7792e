"""A few seconds of torture: real processes, real signals, every byte compared, nothing left behind."""

import signal
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.command_line import Desk, eventually

pytestmark = pytest.mark.cluster

SHORT = ("--minutes", "0.06", "--lease-seconds", "2", "--chunkservers", "4", "--chunk-bytes", "128K", "--seed", "1")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return Desk(tmp_path / "home")


@pytest.mark.parametrize("durability", ["replicated", "fsync"])
def test_nothing_acknowledged_is_lost_and_nothing_is_left(desk: Desk, tmp_path: Path, durability: str):
    printed = desk.run("torture", *SHORT, "--durability", durability)
    assert "Nothing acknowledged was lost." in printed
    assert "acknowledged changes" in printed
    assert "faults: none" not in printed
    assert list(tmp_path.glob("tabletop-torture-*")) == []


def test_no_acknowledged_row_is_lost_while_tablet_servers_die(desk: Desk, tmp_path: Path):
    printed = desk.run("torture", "--tables", *SHORT)
    assert "Nothing acknowledged was lost." in printed
    assert "faults: none" not in printed
    assert " rows in " in printed or " row in " in printed
    assert list(tmp_path.glob("tabletop-torture-*")) == []


def test_an_interrupted_run_leaves_no_process_and_no_file(desk: Desk, tmp_path: Path):
    running = desk.start("torture", "--minutes", "10", "--chunkservers", "3", "--seed", "1")
    eventually(partial(has_files, tmp_path), "its clients have written")
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=60)
    assert running.returncode == 130, printed
    assert list(tmp_path.glob("tabletop-torture-*")) == []


def has_files(folder: Path) -> bool:
    return any(path.stat().st_size > 5000 for path in folder.glob("tabletop-torture-*/history.jsonl"))


def test_what_makes_no_sense_starts_nothing(desk: Desk, tmp_path: Path):
    assert "expected more than 0" in desk.run("torture", "--minutes", "0", expect=2)
    assert "durability 'sometimes'" in desk.run("torture", "--durability", "sometimes", expect=2)
    assert "expected between" in desk.run("torture", "--lease-seconds", "0", expect=2)
    assert list(tmp_path.glob("tabletop-torture-*")) == []
