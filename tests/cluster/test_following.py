"""`tabletop fs tail -f`, as a user meets it: another program appends, replaces, deletes."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

import gfs
from cluster import processes
from tests.cluster.command_line import Desk, eventually

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("following") / "home")
    try:
        desk.run("up", "--chunkservers", "1", "--replicas", "1", "--chunk-size", "64K")
        yield desk
        desk.run("down", "--purge")
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)


@pytest.fixture
def fs(desk: Desk) -> Iterator[gfs.FileSystem]:
    with gfs.connect("desk", state=str(desk.home)) as fs:
        fs.write_file("/diary", b"first line\n", overwrite=True)
        yield fs


def append(fs: gfs.FileSystem, data: bytes) -> None:
    with fs.open("/diary", "ab") as file:
        file.write(data)


def next_line(following: "subprocess.Popen[str]") -> str:
    assert following.stdout is not None
    return following.stdout.readline()


def ends_with(following: "subprocess.Popen[str]", code: int) -> str:
    printed, _ = following.communicate(timeout=30)
    assert following.returncode == code, printed
    return printed


def test_what_is_appended_is_printed_until_ctrl_c(desk: Desk, fs: gfs.FileSystem):
    following = desk.start("fs", "tail", "-f", "/diary")
    assert next_line(following) == "first line\n"
    append(fs, b"second line\n")
    assert next_line(following) == "second line\n"
    append(fs, b"x" * 100_000 + b"\n")
    assert next_line(following) == "x" * 100_000 + "\n", "also across the border of a chunk"
    following.send_signal(signal.SIGINT)
    assert "interrupted" in ends_with(following, 130)


def test_only_the_last_bytes_are_printed_before_what_is_appended(desk: Desk, fs: gfs.FileSystem):
    following = desk.start("fs", "tail", "-f", "-c", "5", "/diary")
    assert next_line(following) == "line\n"
    following.terminate()
    ends_with(following, 143)


def test_a_file_that_is_replaced_ends_the_command_with_what_follows_the_new_one(desk: Desk, fs: gfs.FileSystem):
    following = desk.start("fs", "tail", "-f", "/diary")
    assert next_line(following) == "first line\n"
    fs.write_file("/diary", b"another file", overwrite=True)
    printed = ends_with(following, 1)
    assert "'/diary' is another file now" in printed and "`tabletop fs tail -f /diary` follows the new one" in printed
    assert "another file\n" not in printed


def test_a_file_that_is_deleted_ends_the_command(desk: Desk, fs: gfs.FileSystem):
    following = desk.start("fs", "tail", "-f", "/diary")
    assert next_line(following) == "first line\n"
    fs.delete("/diary")
    assert "'/diary' is there no more: it was deleted or renamed" in ends_with(following, 1)


def test_a_master_that_is_killed_and_started_again_does_not_end_the_command(desk: Desk, fs: gfs.FileSystem):
    following = desk.start("fs", "tail", "-f", "/diary")
    assert next_line(following) == "first line\n"
    desk.run("fault", "kill", "master")
    desk.run("fault", "restart", "master")
    append(fs, b"after the restart\n")
    lines: list[str] = []

    def has_come() -> bool:
        lines.append(next_line(following))
        return lines[-1] == "after the restart\n"

    eventually(has_come, "the command has found the master again")
    following.send_signal(signal.SIGINT)
    ends_with(following, 130)
