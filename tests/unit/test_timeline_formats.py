"""A timeline as a page, for Perfetto and for ShiViz: each by the rules of its format; and files that are whole."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from chunkserver.events import ChunkCloned, LeaseEnded, LeaseReceived
from cluster.fault_log import NodeKilled
from cluster.timeline import writing
from cluster.timeline.building import timeline_of_records
from cluster.timeline.formats import Format, write_timeline
from cluster.timeline.model import Arrow, ArrowKind, Finding, Timeline
from cluster.timeline.page import columns, page_of
from cluster.timeline.perfetto import perfetto_of
from cluster.timeline.shiviz import shiviz_of
from cluster.timeline.writing import write_whole
from master.events import CloneFinished, CloneStarted, FileCreated, LeaseGranted
from runtime.errors import InvalidRequest, NoSpace
from runtime.events import NodeStarted, Record
from tests.unit.timeline_rules import check_shiviz, check_trace_events

HOSTILE = "</script><script>alert(1)</script>\u2028 @data@ \\ \" ' &amp; \n {brace} ü"


@pytest.fixture
def timeline() -> Timeline:
    told = [
        (0, "master", NodeStarted("master"), ""),
        (1, "cs1", NodeStarted("chunkserver"), ""),
        (2, "cs2", NodeStarted("chunkserver"), ""),
        (10, "master", FileCreated(f"/{HOSTILE}", 3), "client.1"),
        (11, "cs1", LeaseReceived(42, 1, 60.0, ()), "client.1"),
        (11, "master", LeaseGranted(42, 1, "cs1", ()), "client.1"),
        (12, "cs1", LeaseReceived(43, 1, 60.0, ()), "client.1"),
        (14, "master", CloneStarted(9, "cs1", "cs2"), ""),
        (14, "cs2", ChunkCloned(9, 1, 10, "cs1"), ""),
        (14, "master", CloneFinished(9, "cs2", 3, 3), ""),
        (20, "cs1", LeaseEnded(42, 1, "it was not extended"), ""),
        (25, "faults", NodeKilled("cs1"), ""),
    ]
    records = [Record(number, 1000 + time, node, why, event) for number, (time, node, event, why) in enumerate(told, 1)]
    found = timeline_of_records(HOSTILE, records, ["a fact"])
    found.arrows.append(Arrow(1030, None, 1, 2, ArrowKind.CALL, "Chunkserver/Write request, lost", "x", True, ()))
    found.findings.append(Finding("contents: a byte is wrong", 1015))
    found.findings.append(Finding("endless", None))
    found.check_invariants()
    return found


def test_a_page_holds_all_of_the_model_and_nothing_in_it_ends_the_data(timeline: Timeline):
    page = "".join(page_of(timeline))
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data) == json.loads(json.dumps(columns(timeline)))
    found = json.loads(data)
    assert found["title"] == HOSTILE and found["begin"] == 1000 and found["end"] == 30
    assert [found["lanes"][lane] for lane in found["moments"]["lane"]][:3] == ["master", "cs1", "cs2"]
    assert sum(found["moments"]["time"]) == 25 and found["arrows"]["span"][-1] == -1
    assert found["findings"] == [{"text": "contents: a byte is wrong", "time": 15}, {"text": "endless", "time": None}]


def test_a_page_needs_nothing_from_elsewhere(timeline: Timeline):
    page = "".join(page_of(timeline))
    assert "default-src 'none'" in page
    # A link for people is none that the page follows; there is none either.
    assert (
        re.findall(r"(?:src|href)\s*=|url\(|import\s|fetch\(|XMLHttpRequest|https?://", page.split('id="data"')[0])
        == []
    )
    assert "fetch(" not in page and "XMLHttpRequest" not in page and "WebSocket" not in page
    assert "alert(1)</script>" not in page


def test_the_trace_follows_the_rules_of_the_trace_event_format(timeline: Timeline):
    events = check_trace_events("".join(perfetto_of(timeline)))
    names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {"faults", "master", "cs1", "cs2"}
    count = {phase: sum(event["ph"] == phase for event in events) for phase in "iXbesf"}
    arrived = sum(arrow.arrived is not None for arrow in timeline.arrows)
    assert count["i"] == len(timeline.moments) + 1
    assert count["s"] == count["f"] == arrived and count["b"] == count["e"] == 2
    assert count["X"] == len(timeline.arrows) + arrived + 1


def test_the_log_is_one_that_shiviz_takes(timeline: Timeline):
    found = check_shiviz("".join(shiviz_of(timeline)))
    assert len(found) == len(timeline.moments)
    (cloned,) = [clock for event, _, clock in found if "ChunkCloned" in event]
    assert cloned["master"] == 4, "the master's order came before the copy"


def test_an_empty_timeline_can_be_written_as_everything():
    empty = Timeline("nothing", [])
    assert "".join(page_of(empty)) and check_trace_events("".join(perfetto_of(empty))) == []
    assert check_shiviz("".join(shiviz_of(empty))) == []


@pytest.mark.parametrize("form", list(Format))
def test_a_file_is_written_as_a_whole(form: Format, timeline: Timeline, tmp_path: Path):
    path = tmp_path / "run.out"
    path.write_text("old")
    assert write_timeline(timeline, path, form) == path.stat().st_size > 100
    assert os.listdir(tmp_path) == ["run.out"]


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "run.html"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(NoSpace, match=r"run\.html"):
        write_whole(path, ["new"])
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["run.html"]


def test_who_stops_half_way_leaves_nothing(tmp_path: Path):
    def parts():
        yield "half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "run.html", parts())
    assert os.listdir(tmp_path) == []


def test_a_folder_and_a_path_in_none_are_refused(tmp_path: Path):
    with pytest.raises(InvalidRequest, match="is a folder"):
        write_whole(tmp_path, ["x"])
    with pytest.raises(InvalidRequest, match="there is no folder"):
        write_whole(tmp_path / "missing" / "run.html", ["x"])
