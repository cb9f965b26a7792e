"""`tabletop log`, over the folder of a cluster that does not run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chunkserver.events import ChunkCloned, LeaseReceived
from cluster.folder import ClusterFolder, ClusterRecord
from cluster.settings import ClusterSettings
from master.events import LeaseGranted
from runtime.events import EventLog
from runtime.real.event_file import FileSink
from tabletop.application import app

SECOND = 1_000_000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABLETOP_HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    folder = ClusterFolder("desk", tmp_path)
    folder.path.mkdir()
    folder.write_record(ClusterRecord("desk", "127.0.0.1:20001", ClusterSettings(chunkservers=2, replicas=2)))
    master, cs1 = (log_of(folder, name, wall) for name, wall in (("master", 9 * SECOND), ("cs1", 1 * SECOND)))
    master.emit(LeaseGranted(0x2A, 3, "cs1", ("cs2",)))
    cs1.received(master.sent())
    cs1.emit(LeaseReceived(0x2A, 3, 60.0, ("cs2",)))
    cs1.emit(ChunkCloned(0x2AB, 1, 100, "cs2"))
    return tmp_path


def log_of(folder: ClusterFolder, node: str, wall: int) -> EventLog:
    folder.node(node).path.mkdir(parents=True)
    return EventLog(node, FileSink(folder.node(node).events), wall_microseconds=lambda: wall)


def printed(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["log", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def test_what_a_chunkserver_recorded_is_in_words(home: Path):
    assert printed("cs1").splitlines() == [
        "00:00:01.000 cs1      is primary for chunk 0x2a, version 3, for 60.0 s; the others are cs2",
        "00:00:01.000 cs1      copied chunk 0x2ab, version 1, 100 bytes, from cs2",
    ]


def test_all_nodes_are_merged_so_that_causes_come_first_though_the_clocks_disagree(home: Path):
    assert [line.split()[1] for line in printed("--all").splitlines()] == ["master", "cs1", "cs1"]


def test_a_chunk_is_found_by_its_handle_and_no_longer_handle_is(home: Path):
    assert len(printed("--all", "--chunk", "0x2a").splitlines()) == 2
    assert printed("cs1", "--chunk", "683").split()[2:4] == ["copied", "chunk"]


def test_the_last_lines_and_those_with_a_text_can_be_asked_for(home: Path):
    assert len(printed("cs1", "-n", "1").splitlines()) == 1
    assert len(printed("--all", "--containing", "is primary").splitlines()) == 1


def test_json_is_one_record_a_line(home: Path):
    assert [json.loads(line)["kind"] for line in printed("cs1", "--json").splitlines()] == [
        "LeaseReceived",
        "ChunkCloned",
    ]


def test_damaged_lines_are_left_out_and_told_of(home: Path):
    with (home / "desk" / "nodes" / "cs1" / "events.jsonl").open("a") as file:
        file.write('{"lamport": 7, "wall": 1}\n{"lamport": 8}\n')
    done = CliRunner().invoke(app, ["log", "cs1"])
    assert len(done.stdout.splitlines()) == 2 and "left out 2 damaged lines of cs1" in done.stderr


def test_neither_a_node_nor_all_or_both_make_no_sense(home: Path):
    assert "name a node" in printed(code=2)
    assert "name a node" in printed("master", "--all", code=2)
    assert "no chunk handle" in printed("master", "--chunk", "twelve", code=2)
    assert "no node 'cs9'" in printed("cs9", code=1)
