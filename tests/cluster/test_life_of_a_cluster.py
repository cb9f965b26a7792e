"""A cluster of processes from the outside: started, broken, mended, ended."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk, eventually

pytestmark = pytest.mark.cluster

QUICK = ("--chunk-size", "256K", "--lease-seconds", "2", "--heartbeat-seconds", "0.3")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "home")
    yield desk
    processes.end_processes(desk.programs(), grace_seconds=0.0)


def test_a_file_survives_the_loss_of_two_servers_one_after_the_other(desk: Desk, tmp_path: Path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(3_000_000))
    assert "serves" in desk.run("up", "--chunkservers", "5", *QUICK)
    assert "nothing was changed" in desk.run("up")
    desk.run("fs", "put", str(source), "/file")
    for victim in ("cs1", "cs2"):
        desk.run("fault", "kill", victim)
        eventually(partial(is_healed, desk, victim), f"the chunks of {victim} are elsewhere")
    desk.run("fs", "get", "/file", str(copy))
    assert copy.read_bytes() == source.read_bytes()
    assert "dead" in desk.run("ps")
    desk.run("down", "--purge")
    assert desk.programs() == []
    assert desk.files() == []


def is_healed(desk: Desk, dead: str) -> bool:
    master = desk.status()["master"]
    alive = {server["location"]["server"]: server["alive"] for server in master["servers"]}
    return not alive[dead] and int(master["under_replicated_chunks"]) == int(master["missing_chunks"]) == 0


def test_an_interrupted_start_leaves_no_process_and_no_file(desk: Desk):
    starting = desk.start("up", "--chunkservers", "3")
    eventually(desk.programs, "the first node's program runs")
    starting.send_signal(signal.SIGINT)
    printed, _ = starting.communicate(timeout=60)
    assert starting.returncode == 130, printed
    assert "interrupted" in printed
    assert desk.programs() == []
    assert desk.files() == []


def test_a_cluster_that_has_lost_its_record_loses_nothing_else(desk: Desk, tmp_path: Path):
    """What its nodes were told is enough to start it again. A start that fails removes nothing."""
    source, copy, folder = tmp_path / "source", tmp_path / "copy", desk.home / "desk"
    source.write_bytes(os.urandom(1_000_000))
    desk.run("up", "--chunkservers", "3", "--durability", "fsync", *QUICK)
    desk.run("fs", "put", str(source), "/file")
    record = folder / "cluster.json"
    content = record.read_bytes()
    record.unlink()
    assert "kill" in desk.run("up", expect=1), "its nodes run"
    record.write_bytes(content)
    desk.run("down")
    record.unlink()
    identity = folder / "nodes" / "cs1" / "data" / "identity"
    kept = identity.read_bytes()
    identity.write_bytes(b"rotten")
    assert "identity" in desk.run("up", expect=1)
    identity.write_bytes(kept)
    assert desk.programs() == []
    record.unlink()
    assert "other settings" in desk.run("up", "--chunk-size", "1M", expect=1)
    record.unlink()
    desk.run("up")
    assert record.read_bytes() == content
    desk.run("fs", "get", "/file", str(copy))
    assert copy.read_bytes() == source.read_bytes()
    desk.run("down", "--purge")
    assert desk.files() == []


def test_what_the_nodes_do_not_know_is_not_guessed(desk: Desk, tmp_path: Path):
    """Without the configuration of the master nobody knows what cluster.json said but the master's log, which refuses
    another size of chunks."""
    source, copy, folder = tmp_path / "source", tmp_path / "copy", desk.home / "desk"
    source.write_bytes(os.urandom(1_000_000))
    desk.run("up", "--chunkservers", "3", *QUICK)
    desk.run("fs", "put", str(source), "/file")
    desk.run("down")
    for lost in (folder / "cluster.json", folder / "nodes" / "master" / "config.json"):
        lost.unlink()
    assert "chunks of" in desk.run("up", "--chunkservers", "3", expect=1)
    (folder / "nodes" / "master" / "config.json").unlink()
    desk.run("up", "--chunkservers", "3", *QUICK)
    desk.run("fs", "get", "/file", str(copy))
    assert copy.read_bytes() == source.read_bytes()


def test_nodes_that_belong_to_a_program_end_with_it_however_it_ends(desk: Desk, tmp_path: Path):
    owner = desk.start("demo", "--from", str(Path(__file__).resolve().parent.parent), "--chunkservers", "4")
    found: list[processes.ProcessIdentity] = []

    def started() -> bool:
        found[:] = programs_of(owner.pid)
        return len(found) >= 2

    eventually(started, "the demonstration's nodes run")
    owner.kill()
    owner.communicate()
    eventually(
        lambda: all(processes.state_of(each) is processes.ProcessState.GONE for each in found), "its nodes are gone"
    )


def programs_of(parent: int) -> list[processes.ProcessIdentity]:
    import psutil

    children = psutil.Process(parent).children()
    return [processes.ProcessIdentity(child.pid, child.create_time()) for child in children]


def test_damage_in_the_middle_of_the_log_is_refused_and_at_its_tail_dropped_and_said(desk: Desk):
    desk.run("up", "--chunkservers", "1", "--replicas", "1")
    for number in range(5):
        desk.run("fs", "mkdir", f"/directory-{number}")
    desk.run("down")
    log = max((desk.home / "desk" / "nodes" / "master" / "data" / "log").glob("*.log"))
    good = log.read_bytes()

    mark = log.parent.parent / "durable"
    log.write_bytes(good[:-3])
    assert "durable says that record" in " ".join(desk.run("up", expect=1).split())
    mark.unlink()  # As a loss of power would: then it may be a write that was cut off.
    desk.run("up")
    assert "dropped the last" in desk.run("status")
    assert "/directory-3" in desk.run("fs", "ls", "/")
    desk.run("down")

    middle = len(good) // 2
    log.write_bytes(good[:middle] + bytes([good[middle] ^ 0xFF]) + good[middle + 1 :])
    printed = desk.run("up", expect=1)
    assert "master did not start" in printed
    assert log.name in printed
    assert desk.programs() == []


def test_nodes_whose_folder_was_removed_end_themselves(desk: Desk):
    desk.run("up", "--chunkservers", "1", "--replicas", "1", *QUICK)
    programs = desk.programs()
    assert len(programs) == 2
    shutil.rmtree(desk.home)
    eventually(
        lambda: all(processes.state_of(program) is processes.ProcessState.GONE for program in programs),
        "the nodes have ended",
    )


def test_without_its_master_every_command_ends_at_once_and_says_what_starts_it(desk: Desk, tmp_path: Path):
    (tmp_path / "file").write_text("some bytes")
    desk.run("up", "--chunkservers", "1", "--replicas", "1", *QUICK)
    desk.run("fault", "kill", "master")
    began = time.monotonic()
    words = "the master of cluster 'desk' is not running; start it again with `tabletop fault restart master`"
    for command in (
        ("fs", "ls", "/"),
        ("fs", "put", str(tmp_path / "file"), "/f"),
        ("fs", "get", "/f", "f"),
        ("admit", "1", "cs1"),
    ):
        assert words in desk.run(*command, expect=3), command
    assert words in desk.run("fault", "corrupt", "/f", expect=3)
    assert time.monotonic() - began < 10.0, "none of them waited for an answer"
    desk.run("fault", "restart", "master")
    desk.run("fs", "put", str(tmp_path / "file"), "/f")
    desk.run("down", "--purge")


def test_a_cluster_grows_and_a_hang_of_the_master_is_told_while_it_lasts(desk: Desk, tmp_path: Path):
    desk.run("up", "--chunkservers", "1", "--replicas", "1", *QUICK)
    assert desk.run("add", "chunkserver", "--count", "2") == "added cs2, cs3 to cluster desk\n"
    assert len(desk.status()["master"]["servers"]) == 3
    desk.run("down")
    assert "3 chunkservers" in desk.run("up")
    desk.run("fault", "pause", "master")
    listing = desk.start("fs", "ls", "/")
    assert listing.stdout is not None
    assert "still trying after" in listing.stdout.readline()
    assert "master is paused; mend it with `tabletop fault resume master`" in listing.stdout.readline()
    desk.run("fault", "resume", "master")
    assert listing.wait(60) == 0
    desk.run("down", "--purge")
