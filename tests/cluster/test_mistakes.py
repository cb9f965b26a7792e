"""What people type wrong, and what they are told: one message, an exit code, and nothing half-done.

Each row is a command, its exit code, and words of its message. One cluster serves them all; the rows at the end are
about a cluster that is down.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster

MISTAKES = [
    ("upp", 2, "No such command 'upp'"),
    ("ls /", 2, "`tabletop fs ls` is one"),
    ("kill cs1", 2, "`tabletop fault kill` is one"),
    ("fs lss /", 2, "No such command 'lss'"),
    ("status -x", 2, "No such option"),
    ("status extra", 2, "unexpected extra argument"),
    ("fs ls docs", 2, "'docs' is not an absolute path; begin it with /"),
    ("fs ls /nothing", 1, "there is no '/nothing'"),
    ("fs ls '/none*'", 1, "no file or directory fits '/none*'"),
    ("fs cat", 2, "Missing argument"),
    ("fs cat /", 1, "is a directory, expected a file"),
    ("fs get / -", 1, "standard output takes files only"),
    ("fs get /nothing .", 1, "there is no '/nothing'"),
    ("fs get /f local", 1, "there is already a local 'local'"),
    ("fs get /f nowhere/x", 1, "no local folder"),
    ("fs get /f /dev/fd/x", 1, "tabletop: /dev/fd/x: "),
    ("fs put local", 2, "expected at least two"),
    ("fs put nothing /x", 1, "no local file or folder 'nothing'"),
    ("fs put local local", 2, "begin it with /"),
    ("fs put local /no/such/place", 1, "there is no directory '/no/such'"),
    ("fs put local /no/", 1, "no directory '/no/'"),
    ("fs put local /f/x", 1, "'/f' is a file"),
    ("fs put local /f", 1, "there is already a file '/f'"),
    ("fs put folder /f", 1, "there is already a file '/f'"),
    ("fs put -f folder /f", 1, "a file '/f' where a folder is to be put"),
    ("fs put local folder /f", 1, "'/f' is not a directory, and 2 things"),
    ("fs put /dev/null /x", 2, "neither a file nor a folder"),
    ("fs put --replicas 9 local /x", 1, "should have 9 replicas"),
    ("fs put --replicas -1 local /x", 2, "greater than or equal to 0"),
    ("fs put --replicas many local /x", 2, "valid integer"),
    ("fs mkdir /d", 1, "there is already a directory '/d'"),
    ("fs mkdir /f/x", 1, "'/f' is a file"),
    ("fs mkdir /no/such", 1, "/no"),
    ("fs mkdir /a/../b", 2, "contains '..'"),
    ("fs mkdir //", 2, "empty part"),
    ("fs touch /d", 1, "there is already a directory '/d'"),
    ("fs rm /nothing", 1, "there is no '/nothing'"),
    ("fs rm /d", 1, "use `tabletop fs rm -r`"),
    ("fs rm -r /", 2, "'/' cannot be deleted"),
    ("fs mv /nothing /z", 1, "there is no '/nothing'"),
    ("fs mv /d /d/in", 2, "cannot move into itself"),
    ("fs mv /f", 2, "expected at least two"),
    ("fs cp /d /d/in", 2, "into itself"),
    ("fs cp /nothing /z", 1, "there is no '/nothing'"),
    ("fs head /d", 1, "'/d' is a directory"),
    ("fs head -c -1 /f", 2, "greater than or equal to 0"),
    ("fs checksum /d", 1, "is a directory, expected a file"),
    ("fs setrep 0 /f", 2, "a file has at least one replica"),
    ("fs setrep many /f", 2, "valid integer"),
    ("fs setrep 2 /f", 1, "should have 2 replicas, but only 1 chunkservers ever registered"),
    ("fs setrep 1 /nothing", 1, "there is no '/nothing'"),
    ("admin compare /nothing", 1, "there is no '/nothing'"),
    ("admin scrub --chunkserver cs9", 1, "no chunkserver 'cs9'"),
    ("fs test -d /f", 1, ""),
    ("fs test /nothing", 1, ""),
    ("fault kill cs9", 1, "no node 'cs9' in cluster 'desk'; there are: master, cs1"),
    ("fault restart", 2, "name a node"),
    ("fault corrupt /nothing", 1, "there is no '/nothing'"),
    ("fault corrupt /d", 1, "'/d' is a directory"),
    ("fault corrupt /f --chunk 7", 1, "has no chunk 7"),
    ("fault corrupt /f --block 7", 2, "has no block 7"),
    ("fault corrupt /f --server cs9", 1, "cs9 has no replica"),
    ("up --chunkservers 3", 1, "was made with other settings: chunkservers 1, not 3"),
    ("up --cluster new --chunk-size 1000", 2, "expected a multiple of 65536"),
    ("up --cluster new --chunk-size big", 2, "size 'big'"),
    ("up --cluster new --durability maybe", 2, "expected 'replicated' or 'fsync'"),
    ("up --cluster new --lease-seconds 0.1", 2, "at least two heartbeats"),
    ("up --cluster new --heartbeat-seconds -1", 2, "expected between 0 and 60"),
    ("up --cluster new --replicas 0", 2, "expected 1 or more"),
    ("up --cluster new --chunkservers 2 --replicas 3", 2, "3 replicas need at least 3 chunkservers"),
    ("up --cluster new --chunkservers 500", 2, "expected between 1 and 100"),
    ("up --cluster 9lives", 2, "cluster name '9lives'"),
    ("up --cluster new --port 99999", 2, "less than or equal to 65535"),
    ("status --cluster nope", 3, "there are: desk"),
    ("log", 2, "name a node"),
    ("log cs9", 1, "no node 'cs9'"),
    ("log master --chunk abc", 2, "no chunk handle"),
    ("log master -n 0", 2, "greater than or equal to 1"),
    ("admit 0x99 cs1", 1, "there is no chunk 0x99"),
    ("wait done", 2, "expected 'healed'"),
    ("add master", 2, "expected 'chunkserver'"),
    ("tablet inspect /nowhere", 1, "there is no folder '/nowhere'"),
]

WHILE_DOWN = [
    ("fs ls /", "cluster 'desk' is down; start it with `tabletop up`"),
    ("fs put local /x", "is down; start it"),
    ("status", "is down; start it"),
    ("wait healed", "is down; start it"),
    ("fault kill cs1", "is down; start it"),
    ("add chunkserver", "is down; start it"),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("mistakes") / "home")
    try:
        desk.run("up", "--chunkservers", "1", "--replicas", "1", "--chunk-size", "256K", "--port", "0")
        desk.run("fs", "mkdir", "/d/")
        desk.run("fs", "put", __file__, "/f")
        yield desk
        desk.run("down", "--all", "--purge")
        assert desk.programs() == [] and desk.files() == []
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)


@pytest.fixture
def desk(running: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local").write_text("some bytes")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("more bytes")
    return running


@pytest.mark.parametrize(("typed", "code", "words"), MISTAKES, ids=[typed for typed, _, _ in MISTAKES])
def test_a_mistake_is_told_in_words_and_changes_nothing(desk: Desk, typed: str, code: int, words: str):
    printed = desk.run(*shlex.split(typed), expect=code)
    assert words in printed
    assert "Traceback" not in printed and "grpc" not in printed.lower()
    listed = desk.run("fs", "ls", "-R", "/").splitlines()
    assert [line.split()[-1] for line in listed[1:]] == ["/d", "/f"]
    assert sorted(path.name for path in desk.home.iterdir()) == ["desk"]


def test_a_hint_is_about_the_cluster_that_the_mistake_was_about(desk: Desk):
    assert "`tabletop fs rm -r`" in desk.run("fs", "rm", "/d", expect=1)
    desk.run("up", "--cluster", "second", "--chunkservers", "1", "--replicas", "1")
    try:
        desk.run("fs", "mkdir", "/d", "--cluster", "second")
        assert "`tabletop fs rm -r --cluster second`" in desk.run("fs", "rm", "/d", "--cluster", "second", expect=1)
    finally:
        desk.run("down", "--purge", "--cluster", "second")


def test_what_is_left_out_of_a_folder_is_told_and_ends_in_1(desk: Desk, tmp_path: Path):
    (tmp_path / "folder" / "link").symlink_to(tmp_path)
    printed = desk.run("fs", "put", "folder", "/partly", expect=1)
    assert "stored 1 file" in printed and "left out link" in printed
    desk.run("fs", "rm", "-r", "--skip-trash", "/partly")


def test_a_node_that_was_killed_is_started_by_up(desk: Desk):
    desk.run("fault", "kill", "cs1")
    assert "started cs1" in desk.run("up")
    assert "nothing was changed" in desk.run("up")


def test_while_the_cluster_is_down_every_command_says_so_at_once(desk: Desk):
    desk.run("down")
    for typed, words in WHILE_DOWN:
        assert words in desk.run(*shlex.split(typed), expect=3), typed
    desk.run("up")
    assert desk.run("fs", "head", "-c", "3", "/f") == '"""'
