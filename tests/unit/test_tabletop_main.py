"""Where the command line begins, and how it ends before it has begun."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest
from typer.testing import CliRunner

import tablet.engine
from tabletop import compaction_simulator, console, tablet_commands
from tabletop.application import app

ROOT = Path(__file__).resolve().parents[2]


def test_python_dash_m_tabletop_is_the_command():
    done = subprocess.run([sys.executable, "-m", "tabletop", "version"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("tabletop ")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tablet of one SSTable."""
    with tablet.engine.open(tmp_path / "tablet") as table:
        table.create_family("page")
        table.put("row", "page:title", "title")
        table.flush()
    return tmp_path / "tablet"


def command(arguments: Sequence[object], output: int | IO[bytes]) -> "subprocess.CompletedProcess[bytes]":
    words = [sys.executable, "-m", "tabletop", *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_full_disk_under_the_output_is_one_message(folder: Path, option: tuple[str, ...]):
    with open("/dev/full", "wb") as full:
        done = command(("tablet", "inspect", folder, *option), full)
    assert (done.returncode, done.stderr) == (1, b"tabletop: standard output: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_bytes_is_named_too(monkeypatch: pytest.MonkeyPatch):
    with open("/dev/full", "w", encoding="ascii") as full:
        monkeypatch.setattr("sys.stdout", full)
        console.print_bytes(b"some bytes")
        with pytest.raises(OSError, match="No space left on device: 'standard output'"):
            console.flush_bytes()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # So that it can be closed.


def test_output_that_nobody_reads_any_more_ends_a_command_in_silence(folder: Path):
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = command(("tablet", "inspect", folder), write_end)
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


def interrupting(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_ctrl_c_outside_of_the_work_itself_is_told_too(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tablet_commands, "perform", interrupting)  # Before the work begins,
    monkeypatch.setattr(compaction_simulator, "check", interrupting)  # or while the command line is looked at.
    for arguments in (("inspect", str(folder)), ("simulate",)):
        result = CliRunner().invoke(app, ["tablet", *arguments])
        assert (result.exit_code, result.stdout, result.stderr) == (130, "", "tabletop: interrupted\n")


def test_a_long_computation_stops_at_a_ctrl_c(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compaction_simulator, "simulate", interrupting)
    result = CliRunner().invoke(app, ["tablet", "simulate"])
    assert (result.exit_code, result.stderr) == (130, "tabletop: interrupted\n")
