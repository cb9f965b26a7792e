"""Bad input, as a user meets it: one clear message, an exit code, and nothing half-done."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("bad-input") / "home")
    try:
        desk.run("up", "--chunkservers", "1", "--replicas", "1", "--chunk-size", "256K")
        yield desk
        desk.run("down", "--purge")
        assert desk.programs() == []
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"some bytes")
    return path


def names(desk: Desk) -> list[str]:
    return [line.split()[-1] for line in desk.run("fs", "ls", "-R", "/").splitlines() if " /" in line]


def test_a_missing_source_stores_nothing(desk: Desk):
    before = names(desk)
    assert "no local file or folder 'nothing-here'" in desk.run("fs", "put", "nothing-here", "/x", expect=1)
    assert names(desk) == before


def test_an_existing_target_is_kept_unless_forced(desk: Desk, file: Path):
    desk.run("fs", "put", str(file), "/twice")
    file.write_bytes(b"other bytes")
    assert "there is already a file '/twice'" in desk.run("fs", "put", str(file), "/twice", expect=1)
    assert desk.run("fs", "cat", "/twice") == "some bytes"
    desk.run("fs", "put", "-f", str(file), "/twice")
    assert desk.run("fs", "cat", "/twice") == "other bytes"


def test_a_path_without_a_parent_has_no_place(desk: Desk, file: Path):
    printed = desk.run("fs", "put", str(file), "/no/such/place", expect=1)
    assert "there is no directory '/no/such'" in printed


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/../b", "contains '..'"),
        ("/" + "x" * 5000, "has 5001 bytes, a path may have"),
        ("relative", "begin it with /"),
        ("//", "empty part"),
    ],
)
def test_a_path_that_is_none_is_refused(desk: Desk, path: str, words: str):
    assert words in desk.run("fs", "mkdir", path, expect=2)


def test_a_directory_is_deleted_only_on_request(desk: Desk):
    desk.run("fs", "mkdir", "/full")
    desk.run("fs", "mkdir", "/full/inner")
    assert "use `tabletop fs rm -r`" in desk.run("fs", "rm", "/full", expect=1)
    assert "/full/inner" in names(desk)
    desk.run("fs", "rm", "-r", "/full")
    assert "/full" not in names(desk)


def test_fewer_servers_than_replicas_are_refused_before_anything_starts(desk: Desk):
    printed = desk.run("up", "--cluster", "small", "--chunkservers", "2", "--replicas", "3", expect=2)
    assert "3 replicas need at least 3 chunkservers" in printed
    assert not (desk.home / "small").exists()


def test_a_port_in_use_is_named(desk: Desk):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = ("up", "--cluster", "other", "--chunkservers", "1", "--replicas", "1", "--port", str(port))
        assert f"127.0.0.1:{port}: the port is in use" in desk.run(*arguments, expect=1)
    assert not (desk.home / "other").exists()


def test_another_cluster_is_answered_with_the_ones_there_are(desk: Desk):
    assert "no cluster 'desc'" in desk.run("status", "--cluster", "desc", expect=3)
    assert "there are: desk" in desk.run("fs", "ls", "/", "--cluster", "desc", expect=3)


def test_other_settings_for_a_cluster_that_exists_are_refused(desk: Desk):
    printed = desk.run("up", "--replicas", "2", "--chunkservers", "2", expect=1)
    assert "was made with other settings: chunkservers 1, not 2, replicas 1, not 2" in printed


@pytest.mark.parametrize(
    ("token", "words"), [("0" * 32, "token"), ("", "token"), (None, "the token of cluster 'desk'")]
)
def test_a_wrong_or_missing_token_is_refused(desk: Desk, token: str | None, words: str):
    path = desk.home / "desk" / "token"
    good = path.read_text()
    try:
        path.unlink() if token is None else path.write_text(token)
        for command in (("fs", "ls", "/"), ("ps",), ("status",), ("fault", "corrupt", "/file")):
            assert words in desk.run(*command, expect=1)
    finally:
        path.write_text(good)
    desk.run("fs", "ls", "/")


def test_a_state_folder_of_another_version_is_refused_by_every_command(desk: Desk):
    path = desk.home / "desk" / "cluster.json"
    good = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(good), "format": 2}))
        for command in (("up",), ("status",), ("fs", "ls", "/")):
            assert "is of format 2, this version of Tabletop reads format 1" in desk.run(*command, expect=1)
    finally:
        path.write_text(good)


def test_an_unknown_node_is_answered_with_the_ones_there_are(desk: Desk):
    assert "no node 'cs9' in cluster 'desk'; there are: master, cs1" in desk.run("fault", "kill", "cs9", expect=1)


def test_what_makes_no_sense_is_a_usage_error(desk: Desk):
    desk.run("fs", "put", "only-one", expect=2)
    desk.run("fly", expect=2)
