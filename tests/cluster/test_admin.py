"""`tabletop admin scrub` and `compare`, and `tabletop fs setrep`, on a cluster of real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("admin") / "home")
    try:
        desk.run("up", "--chunkservers", "3", "--replicas", "2", "--chunk-size", "64K", "--heartbeat-seconds", "0.3")
        yield desk
        desk.run("down", "--purge")
        assert desk.programs() == []
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)


@pytest.fixture
def desk(running: Desk, tmp_path: Path) -> Desk:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)  # Four chunks.
    running.run("fs", "put", "-f", str(tmp_path / "file"), "/file")
    return running


def rows(printed: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.startswith("cs")}


def test_a_scrub_reads_every_replica_and_says_how_much(desk: Desk):
    found = rows(desk.run("admin", "scrub"))
    assert list(found) == ["cs1", "cs2", "cs3"]
    assert sum(int(row[0]) for row in found.values()) == 4 * 2
    assert sum(int(row[1].replace(",", "")) for row in found.values()) == 256_000 * 2
    assert all(row[2:] == ["0", "0", "0"] for row in found.values())
    assert list(rows(desk.run("admin", "scrub", "--chunkserver", "cs2"))) == ["cs2"]


def test_what_a_scrub_finds_is_told_and_replaced(desk: Desk):
    assert "compared 4 chunks, 8 replicas, 500 KB: all alike" in desk.run("admin", "compare", "/file")
    desk.run("fault", "corrupt", "/file", "--chunk", "2")
    printed = desk.run("admin", "scrub", expect=1)
    assert "chunk 2 (0x" in printed and "of /file has 1 damaged block" in printed
    assert "1 replica is damaged; the master replaces each that has a good copy elsewhere" in printed
    desk.run("wait", "healed")
    assert "all alike" in desk.run("admin", "compare")
    desk.run("admin", "scrub")


def test_a_comparison_finds_damage_too(desk: Desk):
    desk.run("fault", "corrupt", "/file", "--chunk", "0")
    printed = desk.run("admin", "compare", "/file", expect=1)
    assert "chunk 0 (0x" in printed and "has 1 damaged block, and will be replaced" in printed
    assert "1 chunk is not as it should be" in printed
    desk.run("wait", "healed")


def test_a_server_that_is_down_or_unknown_is_refused_or_left_out(desk: Desk):
    assert "no chunkserver 'cs9' in cluster 'desk'; there are: cs1, cs2, cs3" in desk.run(
        "admin", "scrub", "--chunkserver", "cs9", expect=1
    )
    desk.run("fault", "kill", "cs3")
    desk.run("wait", "healed")
    assert "`tabletop fault restart cs3`" in desk.run("admin", "scrub", "--chunkserver", "cs3", expect=3)
    printed = desk.run("admin", "scrub", expect=1)
    assert "left out cs3, which the master counts as dead" in printed and list(rows(printed)) == ["cs1", "cs2"]
    desk.run("up")


def test_files_get_more_and_fewer_replicas(desk: Desk):
    printed = desk.run("fs", "setrep", "3", "/file", "-w")
    assert "/file: 3 replicas, it had 2" in printed and "every chunk has as many replicas as it should" in printed
    assert "compared 4 chunks, 12 replicas" in desk.run("admin", "compare", "/file")
    assert "/file: 3 replicas, as before" in desk.run("fs", "setrep", "3", "/file")
    desk.run("fault", "restart", "master")
    desk.run("fs", "touch", "/empty-file")
    printed = desk.run("fs", "setrep", "-R", "-w", "2", "/")
    assert "/: 2 files, 2 replicas each, 1 changed" in printed
    assert "compared 4 chunks, 8 replicas" in desk.run("admin", "compare", "/file")
    printed = desk.run("fs", "setrep", "4", "/file", expect=1)
    assert "should have 4 replicas, but only 3 chunkservers ever registered" in printed
    desk.run("fault", "kill", "cs1")
    desk.run("wait", "healed")
    printed = desk.run("fs", "setrep", "3", "/file", "-w", "--timeout", "2", expect=1)
    assert "4 chunks to go: 2 live chunkservers cannot hold 3 copies; it goes on without this command" in printed
    desk.run("up")
    desk.run("fs", "setrep", "3", "/file", "-w")


def test_an_empty_directory_and_a_missing_path(desk: Desk):
    desk.run("fs", "mkdir", "-p", "/empty")
    assert "compared 0 chunks, 0 replicas, 0 B: all alike" in desk.run("admin", "compare", "/empty")
    assert "there is no '/none'" in desk.run("admin", "compare", "/none", expect=1)
