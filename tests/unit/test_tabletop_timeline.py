"""`tabletop timeline`, over the folder of a cluster that does not run."""

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chunkserver.events import LeaseReceived
from cluster.fault_log import NodeKilled, note_fault
from cluster.folder import ClusterFolder, ClusterRecord
from cluster.settings import ClusterSettings
from master.events import LeaseGranted
from runtime.events import EventLog, NodeStarted
from runtime.real.event_file import FileSink
from tabletop.application import app
from tests.unit.timeline_rules import check_shiviz, check_trace_events

SECOND = 1_000_000
NOW = time.time_ns() // 1000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABLETOP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = ClusterFolder("desk", tmp_path / "home")
    folder.path.mkdir(parents=True)
    folder.write_record(ClusterRecord("desk", "127.0.0.1:20001", ClusterSettings(chunkservers=2, replicas=2)))
    for name in ("master", "cs1", "cs2"):
        folder.node(name).path.mkdir(parents=True)
    return folder.path


@pytest.fixture
def told(home: Path) -> Path:
    folder = ClusterFolder("desk")
    ages = {"cs1": 7200, "master": 10}
    logs = {
        name: EventLog(name, FileSink(folder.node(name).events), lambda name=name: NOW - ages[name] * SECOND)
        for name in ages
    }
    logs["cs1"].emit(NodeStarted("chunkserver"))
    ages["cs1"] = 12
    logs["cs1"].emit(LeaseReceived(0x2A, 3, 60.0, ("cs2",)))
    logs["master"].received(logs["cs1"].sent())
    logs["master"].emit(LeaseGranted(0x2A, 3, "cs1", ("cs2",)))
    note_fault(folder.path, NodeKilled("cs2"))
    return home


def drawn(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["timeline", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def data_of(path: str) -> dict:
    page = Path(path).read_text(encoding="utf-8")
    return json.loads(page.split('id="data">')[1].split("</script>")[0])


def test_a_page_of_all_nodes_and_of_what_was_done_to_them(told: Path):
    assert "timeline-desk.html: 4 events on 3 lanes, 1 arrow" in drawn()
    data = data_of("timeline-desk.html")
    assert data["lanes"] == ["faults", "master", "cs1"]
    assert "killed cs2" in data["texts"] and "chunk 0x2a" in data["subjects"]


def test_the_other_formats(told: Path):
    drawn("--format", "perfetto", "--out", "run.json")
    assert check_trace_events(Path("run.json").read_text())
    drawn("--format", "shiviz")
    assert len(check_shiviz(Path("timeline-desk.log").read_text())) == 4


def test_only_what_happened_since(told: Path):
    assert "3 events" in drawn("--since", "10m")
    assert "nothing was recorded since 2h" not in drawn("--since", "3h")
    assert "'yesterday' is no moment" in drawn("--since", "yesterday", code=2)


def test_nothing_since_then_says_when_the_last_event_was(home: Path):
    sink = FileSink(ClusterFolder("desk").node("master").events)
    EventLog("master", sink, lambda: NOW - 86400 * SECOND).emit(LeaseGranted(0x2A, 3, "cs1", ("cs2",)))
    assert "nothing was recorded since 5m; the last event is of 20" in drawn("--since", "5m", code=1)
    assert not Path("timeline-desk.html").exists()


def test_no_cluster_and_no_events_are_said_clearly(home: Path):
    assert "have recorded nothing yet" in drawn(code=1)
    assert "no cluster 'other'" in drawn("--cluster", "other", code=3)
    assert list(Path().glob("*.html")) == []


def test_damaged_lines_are_left_out_and_told_of_also_in_the_page(told: Path):
    with (told / "nodes" / "cs1" / "events.jsonl").open("a") as file:
        file.write('{"lamport": 7, "wall": 1}\nrubbish\n')
    assert "left out 2 damaged lines of cs1" in drawn()
    assert "2 damaged lines left out" in data_of("timeline-desk.html")["facts"]


def test_a_file_of_a_later_format_is_refused_and_events_of_a_later_version_are_shown(told: Path):
    circumstances = f'"lamport": 9, "wall": {NOW}, "node": "cs2", "cause": ""'
    later = f'{{{circumstances}, "kind": "FromTheFuture", "colour": "red"}}\n'
    (told / "nodes" / "cs2" / "events.jsonl").write_text(later)
    drawn()
    assert 'FromTheFuture {"colour": "red"}' in data_of("timeline-desk.html")["texts"]
    for node in ("master", "cs1", "cs2"):
        (told / "nodes" / node / "events.jsonl").write_text('{"format": 2, "events": []}\n')
    before = Path("timeline-desk.html").read_bytes()
    assert "this version of Tabletop can read none" in drawn(code=1)
    assert Path("timeline-desk.html").read_bytes() == before


def test_a_place_that_cannot_be_written_to_is_said(told: Path):
    assert "there is no folder missing" in drawn("--out", "missing/run.html", code=2)
    assert "is a folder" in drawn("--out", str(told), code=2)
