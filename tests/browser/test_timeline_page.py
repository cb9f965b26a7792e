"""The page of a timeline, in a real browser: what is drawn, what keys do, and that it fetches nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkserver.events import CorruptionFound, LeaseEnded, LeaseReceived
from cluster.fault_log import NodeKilled
from cluster.timeline.building import timeline_of_records
from cluster.timeline.formats import Format, write_timeline
from cluster.timeline.model import Arrow, ArrowKind, Finding, Timeline
from master.events import ChunkCreated, FileCreated, LeaseGranted
from runtime.events import Event, NodeStarted, Record
from tests.browser.chromium import Chromium, Page, needs_chromium
from tests.browser.large_runs import large_run

pytestmark = needs_chromium
SECOND = 1_000_000


def small_run() -> Timeline:
    told: list[tuple[float, str, Event, str]] = [
        (0, "master", NodeStarted("master"), ""),
        (0, "cs1", NodeStarted("chunkserver"), ""),
        (1, "master", FileCreated("/<b>a</b>", 3), "client.1"),
        (1, "master", ChunkCreated(42, "/<b>a</b>", 0, ("cs1",)), "client.1"),
        (2, "cs1", LeaseReceived(42, 1, 60.0, ()), "client.1"),
        (2.001, "master", LeaseGranted(42, 1, "cs1", ()), "client.1"),
        (3, "cs1", LeaseReceived(43, 1, 60.0, ()), ""),
        (4, "cs1", CorruptionFound(42, 0, "a read", "CRC32C differs"), ""),
        (5, "cs1", LeaseEnded(42, 1, "it was not extended"), ""),
        (6, "faults", NodeKilled("cs1"), ""),
        (9, "cs1", NodeStarted("chunkserver"), ""),
    ]
    records = [
        Record(number, int(time * SECOND), node, cause, event)
        for number, (time, node, event, cause) in enumerate(told, 1)
    ]
    timeline = timeline_of_records("A small run", records)
    lost = Arrow(7 * SECOND, None, 1, 2, ArrowKind.CALL, "Chunkserver/Apply request, lost", "", True, ("chunk 0x2a",))
    beat = Arrow(7 * SECOND, 7 * SECOND + 500, 2, 1, ArrowKind.HEARTBEAT, "Heartbeat request", "", False, ())
    timeline.arrows += [lost, beat]
    timeline.findings = [Finding("contents: a byte is wrong", 4 * SECOND)]
    timeline.check_invariants()
    return timeline


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running


@pytest.fixture
def page(browser: Chromium, tmp_path: Path) -> Iterator[Page]:
    path = tmp_path / "run.html"
    write_timeline(small_run(), path, Format.HTML)
    opened = browser.open(path)
    yield opened
    assert opened.complaints == []
    assert opened.fetched == [path.as_uri()]


def chosen(page: Page) -> str:
    return str(page.evaluate("document.querySelector('#chosen .what')?.textContent ?? ''"))


def story(page: Page) -> list[str]:
    return list(page.evaluate("[...document.querySelectorAll('#story span')].map(one => one.textContent)"))


def painted(page: Page, x: str, y: str, part: str = "16") -> list[int]:
    """The darkest colour around a place of the lanes."""
    return list(
        page.evaluate(
            f"""(() => {{ timeline.drawNow();
            const copy = document.createElement('canvas');
            copy.width = copy.height = {part};
            const paint = copy.getContext('2d');
            paint.drawImage(document.getElementById('lanes'), -(({x}) - {part} / 2), -(({y}) - {part} / 2));
            const data = paint.getImageData(0, 0, {part}, {part}).data;
            let best = [255, 255, 255];
            for (let i = 0; i < data.length; i += 4)
              if (data[i + 3] > 128 && data[i] + data[i + 1] + data[i + 2] < best[0] + best[1] + best[2])
                best = [...data.slice(i, i + 3)];
            return best; }})()"""
        )
    )


def test_everything_is_told_and_drawn(page: Page):
    assert page.evaluate("document.title") == "A small run"
    assert len(story(page)) == 11 and "created /<b>a</b> with replication goal 3" in story(page)
    red, _, blue = painted(page, "timeline.x(6e6)", "timeline.y(0)")
    assert blue > red, "the fault is violet"
    red, _, blue = painted(page, "timeline.x(4e6)", "timeline.y(2)")
    assert red > blue, "the damage is brown"
    assert max(painted(page, "timeline.x(5.5e6)", "timeline.y(1) - 30", "4")) > 200, "nothing is where nothing happened"


def test_keys_step_through_time_and_to_what_went_wrong(page: Page):
    page.press("ArrowRight")
    page.press("f")
    page.settle()
    assert chosen(page).startswith("chunk 0x2a is damaged in block 0")
    page.press("ArrowRight")
    assert chosen(page).startswith("is no longer primary for chunk 0x2a")
    page.press("ArrowLeft", "ArrowLeft")
    assert chosen(page).startswith("is primary for chunk 0x2b")
    page.press("v")
    assert "damaged" in chosen(page)
    assert "leases: cs1: 0x2a v1, cs1: 0x2b v1" in page.evaluate("document.getElementById('now').textContent")
    page.press("f")
    assert chosen(page) == "killed cs1"
    assert "down: cs1; leases: none" in page.evaluate("document.getElementById('now').textContent")


def test_only_the_story_of_a_chunk_or_of_a_file(page: Page):
    page.press("f", "Enter")
    assert len(story(page)) == 5 and all("0x2a" in line for line in story(page))
    assert page.evaluate("timeline.shown.arrows.length") == 3
    assert page.evaluate("document.getElementById('everything').hidden") is False
    page.press("Escape")
    assert len(story(page)) == 11
    page.evaluate("timeline.only({subject: timeline.run.subjects.indexOf('file /<b>a</b>')})")
    assert len(story(page)) == 6, "the file's own events, and those of its chunk"
    page.press("Escape", "ArrowRight", "ArrowRight", "c")
    assert page.evaluate("timeline.shown.steps.length") in (4, 11)


def test_search_finds_words_and_nodes(page: Page):
    page.press("/")
    page.tell("Input.insertText", text="0x2b")
    page.evaluate("new Promise(done => setTimeout(done, 300))")
    assert story(page) == ["is primary for chunk 0x2b, version 1, for 60.0 s; the others are none"]
    page.press("Escape")
    assert len(story(page)) == 11


def test_the_mouse_chooses_zooms_and_moves(page: Page):
    left, top = page.evaluate("(box => [box.left, box.top])(document.getElementById('lanes').getBoundingClientRect())")
    x, y = page.evaluate("[timeline.x(6e6), timeline.y(0)]")
    page.click(left + x, top + y)
    assert chosen(page) == "killed cs1"
    before = page.evaluate("timeline.view.end - timeline.view.begin")
    page.wheel(left + x, top + y, -300)
    page.evaluate("new Promise(done => setTimeout(done, 100))")
    page.settle()
    assert page.evaluate("timeline.view.end - timeline.view.begin") < before / 1.3
    assert abs(page.evaluate("timeline.x(6e6)") - x) < 3, "what is at the pointer stays there"
    page.press("0")
    page.settle()
    assert page.evaluate("timeline.view.end - timeline.view.begin") >= before


def test_a_bar_and_an_arrow_can_be_chosen_and_kinds_be_hidden(page: Page):
    left, top = page.evaluate("(box => [box.left, box.top])(document.getElementById('lanes').getBoundingClientRect())")
    x, y = page.evaluate("[timeline.x(7.8e6), timeline.y(2) - 4]")
    page.click(left + x, top + y)
    assert chosen(page) == "cs1 is down: killed"
    assert page.evaluate("timeline.shown.arrows.length") == 3, "heartbeats are hidden at first"
    page.press("h")
    assert page.evaluate("timeline.shown.arrows.length") == 4
    page.evaluate("document.querySelector('[data-kind=\"bars 2\"]').click()")
    assert page.evaluate("Array.from(timeline.shown.bars).some(i => timeline.bars.kind[i] === 2)") is False


def test_a_hundred_thousand_events_are_loaded_and_drawn(browser: Chromium, tmp_path: Path):
    path = tmp_path / "large.html"
    timeline = large_run(100_000)
    write_timeline(timeline, path, Format.HTML)
    page = browser.open(path)
    assert page.evaluate("timeline.moments.count") == len(timeline.moments) >= 100_000
    page.press("+", "+", "ArrowRight", "f", "-", "0")
    page.settle()
    assert chosen(page).startswith("killed cs")
    assert page.evaluate("timeline.frames.length") > 1
    assert page.complaints == []


def test_a_run_without_events_is_a_page_too(browser: Chromium, tmp_path: Path):
    path = tmp_path / "empty.html"
    write_timeline(Timeline("Nothing", []), path, Format.HTML)
    page = browser.open(path)
    page.press("ArrowRight", "f", "v", "+", "0", "End", "Home", "Enter", "c")
    page.settle()
    assert page.complaints == [] and "Nothing fits." in page.evaluate("document.getElementById('story').textContent")
