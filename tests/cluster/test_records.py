"""`tabletop fs append` and `tabletop fs tail --records`, as a user meets them; eight programs that append at once."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gfs
from cluster import processes
from gfs.records import RecordReader
from tests.cluster.command_line import Desk, eventually
from tests.cluster.test_following import ends_with, next_line

pytestmark = pytest.mark.cluster

CHUNK_BYTES = 64 * 1024

APPENDER = """
import sys, gfs
from gfs.records import RecordWriter
name, count = sys.argv[1], int(sys.argv[2])
async def append(client):
    writer = RecordWriter(client, "/shared")
    for number in range(count):
        await writer.append(b"%s %d %s" % (name.encode(), number, b"." * (400 * (number % 7))))
with gfs.connect("desk", state=sys.argv[3]) as fs:
    fs.run(append)
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("records") / "home")
    try:
        desk.run("up", "--chunkservers", "3", "--chunk-size", "64K", "--lease-seconds", "4")
        yield desk
        desk.run("down", "--purge")
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)


@pytest.fixture
def fs(desk: Desk) -> Iterator[gfs.FileSystem]:
    with gfs.connect("desk", state=str(desk.home)) as fs:
        yield fs


def piped(desk: Desk, data: bytes, *arguments: str) -> str:
    done = subprocess.run(
        desk.command(*arguments), input=data, env={**os.environ, **desk.environment}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_lines_of_a_file_and_of_the_input_are_records_and_are_printed_once_each(desk: Desk, tmp_path: Path):
    (tmp_path / "lines").write_bytes(b"one\n\nthree\nno end of line")
    assert "appended 4 records to /lines, the last one at " in desk.run(
        "fs", "append", "/lines", str(tmp_path / "lines")
    )
    assert "appended 2 records" in piped(desk, b"five\nsix\n", "fs", "append", "/lines")
    assert desk.run("fs", "tail", "--records", "/lines") == "one\n\nthree\nno end of line\nfive\nsix\n"
    assert desk.run("fs", "tail", "--records", "-n", "2", "/lines") == "five\nsix\n"
    assert "appended 0 records" in piped(desk, b"", "fs", "append", "/lines")


def test_with_whole_a_file_is_one_record(desk: Desk, tmp_path: Path):
    (tmp_path / "whole").write_bytes(b"a\nb\n")
    assert "appended 1 record " in desk.run("fs", "append", "--whole", "/whole", str(tmp_path / "whole"))
    assert desk.run("fs", "tail", "--records", "/whole") == "a\nb\n\n"


def test_a_line_that_is_too_long_ends_the_command_and_says_what_was_appended(desk: Desk, tmp_path: Path):
    (tmp_path / "long").write_bytes(b"short\n" + b"x" * CHUNK_BYTES)
    printed = desk.run("fs", "append", "/long", str(tmp_path / "long"), expect=2)
    assert "expected 16356 at most" in printed and "1 record before this one had been appended" in printed
    assert desk.run("fs", "tail", "--records", "/long") == "short\n"


def test_what_is_no_file_takes_no_records(desk: Desk, tmp_path: Path):
    assert "No such file" in desk.run("fs", "append", "/log", str(tmp_path / "missing"), expect=1)
    (tmp_path / "lines").write_bytes(b"one\n")
    desk.run("fs", "mkdir", "/folder")
    assert "is a directory" in desk.run("fs", "append", "/folder", str(tmp_path / "lines"), expect=1)


def test_the_last_records_are_looked_for_in_as_many_chunks_as_it_takes(desk: Desk, tmp_path: Path):
    (tmp_path / "many").write_bytes(b"".join(b"%d %s\n" % (number, b"." * 9_000) for number in range(30)))
    desk.run("fs", "append", "/many", str(tmp_path / "many"))
    printed = desk.run("fs", "tail", "--records", "-n", "20", "/many")
    assert [line.split()[0] for line in printed.splitlines()] == [str(number) for number in range(10, 30)]


def test_every_other_command_reads_padding_as_zeros(desk: Desk, fs: gfs.FileSystem, tmp_path: Path):
    fs.create("/padded")
    first, second = b"f" * 16_000, b"s" * 16_384
    offsets = [fs.record_append("/padded", record) for record in (*[first] * 3, second, second)]
    assert offsets == [0, 16_000, 32_000, 48_000, CHUNK_BYTES]
    content = first * 3 + second + bytes(CHUNK_BYTES - 64_384) + second
    desk.run("fs", "get", "/padded", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == content == piped(desk, b"", "fs", "cat", "/padded").encode()
    assert f"{len(content)} " in desk.run("fs", "ls", "/padded")
    assert hashlib.sha256(content).hexdigest() in desk.run("fs", "checksum", "/padded")


def test_records_that_are_appended_are_printed_until_ctrl_c(desk: Desk):
    piped(desk, b"first\n", "fs", "append", "/followed")
    following = desk.start("fs", "tail", "--records", "-f", "/followed")
    assert next_line(following) == "first\n"
    piped(desk, b"second\n" + b"x" * 16_000 + b"\n", "fs", "append", "/followed")
    assert next_line(following) == "second\n" and next_line(following) == "x" * 16_000 + "\n"
    following.send_signal(signal.SIGINT)
    assert "interrupted" in ends_with(following, 130)


def test_an_append_that_waits_for_its_input_ends_at_ctrl_c(desk: Desk):
    waiting = subprocess.Popen(
        desk.command("fs", "append", "/waiting"),
        env={**os.environ, **desk.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert waiting.stdin is not None
    waiting.stdin.write(b"one\n")
    waiting.stdin.flush()
    with gfs.connect("desk", state=str(desk.home)) as fs:
        eventually(lambda: fs.exists("/waiting") and fs.stat("/waiting").length > 0, "the first line is appended")
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(timeout=30) == 130


def test_a_plain_program_appends_and_reads_records(desk: Desk, fs: gfs.FileSystem):
    fs.create("/plain")
    appended = [fs.append_record("/plain", b"%d" % number * 4000) for number in range(9)]
    assert [record.payload for record in fs.records("/plain")] == [b"%d" % number * 4000 for number in range(9)]
    assert [record.offset for record in fs.records("/plain", position=appended[7].offset)] == [
        one.offset for one in appended[7:]
    ]
    raw = fs.record_append("/plain", b"no frame")
    with fs.open("/plain", "ab") as file:
        assert file.record_append(b"either") == raw + 8
    assert len(list(fs.records("/plain"))) == 9


def test_eight_programs_append_to_one_file_while_a_chunkserver_is_killed(desk: Desk, fs: gfs.FileSystem):
    """The paper's contract on real processes: each acknowledged record is read once, in the order of its writer."""
    fs.create("/shared")
    names, count = [f"w{number}" for number in range(8)], 60
    appenders = [
        subprocess.Popen([sys.executable, "-c", APPENDER, name, str(count), str(desk.home)], stderr=subprocess.PIPE)
        for name in names
    ]
    desk.run("fault", "kill", "cs2")
    desk.run("fault", "restart", "cs2")
    for appender in appenders:
        _, complaint = appender.communicate(timeout=120)
        assert appender.returncode == 0, complaint.decode()

    async def read(client: gfs.Client) -> list[bytes]:
        return [record.payload async for record in RecordReader(client, "/shared").records()]

    found = [payload.split()[:2] for payload in fs.run(read)]
    for name in names:
        assert [int(number) for who, number in found if who == name.encode()] == list(range(count))
    assert len(found) == len(names) * count
    assert fs.stat("/shared").length > 2 * CHUNK_BYTES
