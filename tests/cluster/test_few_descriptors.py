"""A terminal that lets a program have 256 files open, as on macOS: the limit is raised, and what is open is bounded."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster

FILES = 400
"""Each is a chunk of its own: two files on the server."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "home")
    yield desk
    processes.end_processes(desk.programs(), grace_seconds=0.0)


def run_limited(desk: Desk, limit: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command from a shell with this limit."""
    shell = ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh", *desk.command(*arguments)]
    return subprocess.run(
        shell, env={**os.environ, **desk.environment}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("limit", ["-Sn 256", f"-n {processes.NEEDED_DESCRIPTORS}"])
def test_a_low_limit_stops_no_put_of_many_files(desk: Desk, tmp_path: Path, limit: str):
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    for number in range(FILES):
        (source / f"file-{number}").write_text(f"content of {number}")
    for arguments in (
        ("up", "--chunkservers", "1", "--replicas", "1", "--chunk-size", "64K"),
        ("fs", "put", str(source), "/files"),
        ("fs", "get", "/files", str(copy)),
    ):
        done = run_limited(desk, limit, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in copy.iterdir()) == sorted(path.name for path in source.iterdir())
    assert all((copy / path.name).read_bytes() == path.read_bytes() for path in source.iterdir())
    desk.run("down", "--purge")


def test_a_hard_limit_that_is_too_low_is_refused_before_anything_starts(desk: Desk):
    done = run_limited(desk, "-n 300", "up")
    assert done.returncode == 1
    assert "a process may have only 300 files open here, a chunkserver needs 512" in done.stderr
    assert desk.programs() == [] and desk.files() == []
