"""What operators type, on a cluster of real processes: trash, policies, fsck, safe mode, report."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster import processes
from tabletop.application import app
from tests.cluster.command_line import WAIT_SECONDS, Desk

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("operators") / "home")
    settings = ("--chunkservers", "3", "--replicas", "2", "--chunk-size", "64K", "--heartbeat-seconds", "0.3")
    try:
        found.run("up", *settings, "--lease-seconds", "2")
        yield found
        found.run("down", "--purge")
        assert found.programs() == []
    finally:
        processes.end_processes(found.programs(), grace_seconds=0.0)


def put(desk: Desk, tmp_path: Path, path: str) -> bytes:
    content = bytes(range(256)) * 1000  # Four chunks.
    (tmp_path / "file").write_bytes(content)
    desk.run("fs", "put", "-f", str(tmp_path / "file"), path)
    return content


def test_what_was_deleted_is_listed_restored_and_emptied(desk: Desk, tmp_path: Path):
    folder = "/" + "/".join(["a folder with a long name " * 6] * 3)
    desk.run("fs", "mkdir", "-p", folder)
    put(desk, tmp_path, f"{folder}/file")
    printed = desk.run("fs", "rm", f"{folder}/file")
    assert f"tabletop fs trash restore '{folder}/file'" in printed and "for 3 d" in printed
    [kept] = json.loads(desk.run("fs", "trash", "ls", "--json"))
    assert (kept["path"], kept["files"], kept["length"]) == (f"{folder}/file", 1, 256_000)
    assert "restored" in desk.run("fs", "trash", "restore", f"{folder}/file")
    put(desk, tmp_path, "/other")
    desk.run("fs", "rm", "/other")
    put(desk, tmp_path, "/other")
    assert "already a file" in desk.run("fs", "trash", "restore", "/other", expect=1)
    desk.run("fs", "trash", "restore", "/other", "--to", "/moved")
    desk.run("fs", "rm", "/moved", "/other")
    assert "repeat the command with --yes" in desk.run("fs", "trash", "empty", expect=2)
    assert "0 deleted files" in desk.run("fs", "trash", "empty", "--older-than", "1h", "--yes")
    assert "2 deleted files" in desk.run("fs", "trash", "empty", "--yes")
    assert "can be had back" in desk.run("fs", "trash", "ls")


def test_a_directory_chooses_goal_and_trash_time_for_files_to_come(desk: Desk, tmp_path: Path):
    desk.run("fs", "mkdir", "-p", "/scratch/deep")
    assert "not kept, as it says itself" in desk.run("fs", "trash", "policy", "/scratch", "0")
    assert "new files get 1 replica, as it says itself" in desk.run("fs", "setrep", "--new-files", "1", "/scratch")
    put(desk, tmp_path, "/scratch/deep/file")
    [file] = json.loads(desk.run("fs", "stat", "--json", "/scratch/deep/file"))
    assert file["replication_goal"] == 1
    printed = desk.run("fs", "stat", "/scratch/deep")
    assert "1 replica, as /scratch says" in printed and "not kept, as /scratch says" in printed
    assert desk.run("fs", "ls", "-d", "/scratch").split()[:2] == ["d", "1"]
    assert "keeps no deleted files is gone" in desk.run("fs", "rm", "/scratch/deep/file")
    assert json.loads(desk.run("fs", "trash", "ls", "--json", "/scratch")) == []
    assert "kept for 3 d" in desk.run("fs", "trash", "policy", "/scratch", "inherit")


def test_in_safe_mode_nothing_is_renamed_and_files_are_read(desk: Desk, tmp_path: Path):
    content = put(desk, tmp_path, "/kept")
    assert "safe mode is on: an operator has entered it" in desk.run("admin", "safemode", "enter")
    assert "safemode leave" in desk.run("fs", "mv", "/kept", "/lost", expect=1)
    desk.run("fs", "get", "-f", "/kept", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == content
    report = json.loads(desk.run("admin", "report", "--json"))
    assert report["safe_mode"]["by_hand"] and [server["state"] for server in report["chunkservers"]] == ["live"] * 3
    assert "Safe mode:" in desk.run("admin", "report") and "by hand" not in desk.run("status")
    assert "safe mode is off" in desk.run("admin", "safemode", "leave")
    assert "safe mode is off" in desk.run("admin", "safemode")
    desk.run("fs", "mv", "/kept", "/kept2")


def test_fsck_tells_how_well_files_are_stored_and_ends_with_a_code_that_says_it(desk: Desk, tmp_path: Path):
    put(desk, tmp_path, "/checked")
    desk.run("wait", "healed")
    printed = desk.run("fs", "fsck", "/checked", "--blocks", "--verify")
    assert printed.count("is healthy: 2 of 2 replicas") == 4 and "all alike" in printed
    first = json.loads(desk.run("fs", "fsck", "/checked", "--json", "--blocks"))["chunks"][0]["current"][0]
    desk.run("admin", "safemode", "enter")  # So that nothing is copied meanwhile.
    desk.run("fault", "kill", first)
    printed = until(desk, 5, "below goal")
    assert f"{first} unreachable; the master is in safe mode" in printed and "fewer copies than wanted" in printed
    for name in {"cs1", "cs2", "cs3"} - {first}:
        desk.run("fault", "kill", name)
    printed = until(desk, 1, "none of 4 is left")
    assert printed.count("is unreachable: 0 of 2 replicas (none)") == 4 and "nothing is known to be lost" in printed
    for name in ("cs1", "cs2", "cs3"):
        desk.run("fault", "restart", name)
    desk.run("admin", "safemode", "leave")
    desk.run("wait", "healed")
    assert "is healthy" in desk.run("fs", "fsck", "/checked")


def until(desk: Desk, code: int, state: str) -> str:
    """What fsck says of the file as soon as it ends with this code and, for 1, finds no replica at all."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        done = CliRunner().invoke(app, ["fs", "fsck", "/checked"], env=desk.environment)
        printed = done.stdout + done.stderr
        if done.exit_code == code and (code != 1 or printed.count("(none)") == 4):
            return printed
    raise AssertionError(f"{state}: {printed}")


def test_stories_are_told_also_of_a_cluster_that_is_down(desk: Desk, tmp_path: Path):
    put(desk, tmp_path, "/storied")
    desk.run("fs", "mv", "/storied", "/renamed")
    [chunk, *_] = json.loads(desk.run("fs", "stat", "--json", "/renamed"))[0]["chunks"]
    desk.run("down")
    printed = desk.run("story", "file", "/renamed")
    assert "created chunk" in printed and "renamed /storied to /renamed" in printed
    assert "It is /renamed now. It had 4 chunks" in printed
    assert printed.splitlines()[0] == desk.run("story", "file", "/storied").splitlines()[0]
    printed = desk.run("story", "chunk", chunk["handle"])
    assert "granted" in printed and f"chunk {chunk['handle']} has version" in printed
    assert "has recorded anything of chunk 0xdead" in desk.run("story", "chunk", "0xdead", expect=1)
    assert "has recorded anything of a file '/none'" in desk.run("story", "file", "/none", expect=1)
    desk.run("up")


def test_every_node_serves_metrics_to_whoever_shows_the_token(desk: Desk, tmp_path: Path):
    put(desk, tmp_path, "/measured")
    printed = desk.run("metrics", "master")
    assert re.search(r'^tabletop_rpc_seconds_count\{method="tabletop.Master/\w+"\} [1-9]', printed, re.MULTILINE)
    assert re.search(r"^tabletop_log_syncs_total [1-9]", printed, re.MULTILINE)
    assert re.search(r'^tabletop_heartbeat_age_seconds\{server="cs3"\} 0\.', printed, re.MULTILINE)
    assert 'tabletop_chunks_by_state{state="at goal"}' in printed
    whole = desk.run("metrics")
    written = re.findall(r"^tabletop_bytes_written_total ([0-9.e+]+)", whole, re.MULTILINE)
    assert len(written) == 3 and sum(map(float, written)) >= 2 * 256_000
    targets = json.loads(desk.run("metrics", "--targets"))
    addresses = [target["targets"][0] for target in targets]
    assert len(set(addresses)) == 4 and all(address in desk.run("ps") for address in addresses)
    for path, token, code in (("/metrics", "wrong", 401), ("/metrics", "", 401), ("/other", None, 404)):
        given = (desk.home / "desk" / "token").read_text().strip() if token is None else token
        request = urllib.request.Request(f"http://{addresses[0]}{path}", headers={"Authorization": f"Bearer {given}"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        caught.value.close()
        assert caught.value.code == code
    assert "no node 'cs9'" in desk.run("metrics", "cs9", expect=1)
