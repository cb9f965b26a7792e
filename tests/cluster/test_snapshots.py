"""`tabletop fs snapshot`, as a user meets it, on real processes."""

import json
from collections.abc import Iterator

import pytest

import gfs
from cluster import processes
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster

CHUNK_BYTES = 64 * 1024


@pytest.fixture
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("snapshots") / "home")
    try:
        desk.run("up", "--chunkservers", "3", "--chunk-size", "64K")
        yield desk
        desk.run("down", "--purge")
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)


def test_a_directory_is_copied_at_once_written_on_and_brought_back(desk: Desk) -> None:
    with gfs.connect("desk", state=str(desk.home)) as fs:
        fs.make_directory("/courses")
        content = b"".join(bytes([65 + number]) * CHUNK_BYTES for number in range(3))
        fs.write_file("/courses/notes", content)
        told = desk.run("fs", "snapshot", "/courses", "/monday")
        assert "/monday is /courses as of now (1 file)" in told
        [taken] = json.loads(desk.run("fs", "snapshots", "/courses", "--json"))
        assert (taken["source"], taken["target"], taken["files"]) == ("/courses", "/monday", 1)
        assert taken["shared_chunks"] == 3 and taken["shared_bytes"] == len(content)
        before = [chunk.handle for chunk in fs.locations("/courses/notes")]
        with fs.open("/courses/notes", "r+b") as file:
            file.seek(CHUNK_BYTES + 5)
            file.write(b"tuesday")
        after = [chunk.handle for chunk in fs.locations("/courses/notes")]
        assert [place for place in range(3) if before[place] != after[place]] == [1]
        assert fs.read_file("/monday/notes") == content
        changed = content[: CHUNK_BYTES + 5] + b"tuesday" + content[CHUNK_BYTES + 12 :]
        assert fs.read_file("/courses/notes") == changed
        desk.run("fault", "kill", "master")
        desk.run("fault", "restart", "master")
        desk.run("fs", "rm", "-r", "/courses")
        desk.run("fs", "snapshot", "/monday", "/courses")
        assert [line.split()[-2:] for line in desk.run("fs", "snapshots").splitlines()[1:]] == [
            ["/courses", "/monday"],
            ["/monday", "/courses"],
        ]
        desk.run("fs", "rm", "-r", "/monday")
        assert fs.read_file("/courses/notes") == content
