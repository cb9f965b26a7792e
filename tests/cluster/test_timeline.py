"""`tabletop timeline` of real processes: what was done to a cluster is in the page, while it runs and afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from cluster.timeline.model import BarKind
from tests.cluster.command_line import Desk
from tests.unit.timeline_rules import check_shiviz

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("timeline") / "home")
    try:
        desk.run("up", "--chunkservers", "3", "--replicas", "2", "--chunk-size", "64K")
        yield desk
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)


def test_a_kill_a_pause_and_a_rotten_block_are_marked(desk: Desk, tmp_path: Path):
    source, page, log = tmp_path / "notes.txt", tmp_path / "run.html", tmp_path / "run.log"
    source.write_text("bytes")
    desk.run("fs", "put", str(source), "/notes.txt")
    desk.run("fault", "corrupt", "/notes.txt")
    desk.run("fault", "pause", "cs2")
    desk.run("fault", "resume", "cs2")
    desk.run("fault", "kill", "cs3")
    desk.run("timeline", "--out", str(page))
    desk.run("up")
    desk.run("down")
    desk.run("timeline", "--out", str(page))
    desk.run("timeline", "--format", "shiviz", "--out", str(log))
    data = json.loads(page.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0])
    assert data["lanes"] == ["faults", "master", "cs1", "cs2", "cs3"]
    bars = [
        (data["lanes"][lane], BarKind(kind), data["texts"][text].partition(": ")[2])
        for lane, kind, text in zip(*(data["bars"][name] for name in ("lane", "kind", "text")), strict=True)
    ]
    down = [(lane, why) for lane, kind, why in bars if kind is BarKind.DOWN]
    assert ("cs3", "killed") in down
    assert {lane for lane, why in down if why == "stopped in good order"} == {"master", "cs1", "cs2", "cs3"}
    assert [lane for lane, kind, _ in bars if kind is BarKind.PAUSED] == ["cs2"]
    assert any(kind is BarKind.LEASE for _, kind, _ in bars)
    texts = data["texts"]
    assert "killed cs3" in texts and any(text.startswith("flipped ") for text in texts)
    assert "file /notes.txt" in data["subjects"] and len(data["arrows"]["time"]) > 3
    assert len(check_shiviz(log.read_text())) == len(data["moments"]["time"])
