"""The timeline of a run of the swarm: all messages, and the same run as without them."""

import itertools
import re
from pathlib import Path

from cluster.swarm import command
from cluster.swarm.bugs import planted
from cluster.swarm.pictures import timeline_of
from cluster.swarm.swarms import ENGINE, FILES, LOCKS, TABLES
from cluster.timeline.clocks import vector_clocks
from cluster.timeline.model import ArrowKind, BarKind, Tone
from cluster.timeline.perfetto import perfetto_of
from cluster.timeline.shiviz import shiviz_of
from tests.unit.timeline_rules import check_shiviz, check_trace_events

SEED = 3


def test_a_run_that_is_watched_is_the_same_run_and_every_message_is_an_arrow():
    plan = FILES.draw(SEED)
    plain, watched = FILES.run(plan), FILES.watch(plan)
    assert [record.to_json() for _, record in plain.records] == [record.to_json() for _, record in watched.records]
    timeline = timeline_of(watched, "again")
    timeline.check_invariants()
    assert plain.traffic is None and len(timeline.moments) == len(watched.records)
    sent = {(passage.method, passage.kind) for passage in watched.traffic.passages}
    assert len(timeline.arrows) >= len(watched.traffic.passages) and len(sent) > 20
    by_kind = {kind: [arrow for arrow in timeline.arrows if arrow.kind is kind] for kind in ArrowKind}
    assert by_kind[ArrowKind.CALL] and by_kind[ArrowKind.DATA] and by_kind[ArrowKind.HEARTBEAT]
    assert any("chunk 0x" in subject for arrow in by_kind[ArrowKind.CALL] for subject in arrow.subjects)
    lost = [arrow for arrow in timeline.arrows if arrow.arrived is None]
    assert lost and all(arrow.trouble for arrow in lost)
    kinds = {bar.kind for bar in timeline.bars}
    assert kinds >= {BarKind.DOWN, BarKind.LEASE, BarKind.OPERATION, BarKind.FAULT}


def test_a_run_of_tables_shows_who_served_which_tablet():
    result = TABLES.watch(TABLES.draw(300))
    timeline = timeline_of(result, "again")
    timeline.check_invariants()
    lives = [bar for bar in timeline.bars if bar.kind is BarKind.LIFE]
    tablets = [bar for bar in timeline.bars if bar.kind is BarKind.TABLET]
    assert {timeline.lanes[bar.lane][:2] for bar in (*lives, *tablets)} == {"ts"}
    for bar in tablets:
        around = [one for one in lives if one.lane == bar.lane and one.begin <= bar.begin and bar.end <= one.end]
        assert len(around) == 1, bar.text
    for one, other in itertools.combinations(tablets, 2):
        if (one.lane, one.subjects) == (other.lane, other.subjects):
            assert one.end <= other.begin or other.end <= one.begin, (one.text, other.text)
    loaded = [moment for moment in timeline.moments if moment.kind == "TabletLoaded"]
    assert sorted((one.lane, one.time) for one in loaded) == sorted((bar.lane, bar.begin) for bar in tablets)
    ended = {moment.lane for moment in timeline.moments if moment.kind == "ServerLifeEnded"}
    assert ended and any(not bar.is_open for bar in lives)


def test_a_run_of_locks_is_a_timeline():
    timeline = timeline_of(LOCKS.watch(LOCKS.draw(300)), "again")
    timeline.check_invariants()
    assert timeline.arrows and any(bar.kind is BarKind.OPERATION for bar in timeline.bars)


def test_vector_clocks_of_a_run_agree_with_its_lamport_clocks():
    timeline = timeline_of(FILES.watch(FILES.draw(SEED)), "again")
    clocks = dict(vector_clocks(timeline.steps, len(timeline.lanes)))
    assert len(clocks) == len(timeline.moments)
    lives = dict.fromkeys(timeline.lanes, 0)
    seen: dict[int, tuple[int, int]] = {}
    for place, moment in enumerate(timeline.moments):
        own = clocks[place][moment.lane]
        assert own == seen.get(moment.lane, (0, 0))[0] + 1, "a lane counts its own moments"
        seen[moment.lane] = (own, moment.lamport)
        lives[timeline.lanes[moment.lane]] += 1
    # Within the first lives nothing that is known of has a later Lamport clock than who knows it.
    restarted = {
        moment.lane
        for moment in timeline.moments
        if moment.kind == "NodeStarted" and moment.time > timeline.begin + 10_000_000
    }
    for place, moment in enumerate(timeline.moments[:200]):
        for other, count in enumerate(clocks[place]):
            if count and other != moment.lane and other not in restarted and moment.lane not in restarted:
                known = [one for one in timeline.moments if one.lane == other][count - 1]
                assert known.lamport < moment.lamport


def test_a_run_can_be_exported():
    timeline = timeline_of(FILES.watch(FILES.draw(SEED)), "again")
    assert len(check_shiviz("".join(shiviz_of(timeline)))) == len(timeline.moments)
    check_trace_events("".join(perfetto_of(timeline)))


def test_the_engines_swarm_has_timelines_too():
    timeline = timeline_of(ENGINE.watch(ENGINE.draw(1)), "again")
    timeline.check_invariants()
    assert timeline.moments and any(bar.kind is BarKind.OPERATION for bar in timeline.bars)


def test_what_a_judge_objects_to_is_marked():
    with planted("path-instead-of-file-id"):
        result = FILES.watch(FILES.draw(9200))
    timeline = timeline_of(result, "again")
    assert timeline.findings[0].text.startswith(result.verdicts[0].judge)
    assert any(finding.time is not None for finding in timeline.findings)
    assert any(bar.tone is Tone.VIOLATION for bar in timeline.bars)


def test_the_command_writes_the_file_it_is_asked_for(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    path = tmp_path / "run.html"
    assert command.main(["--replay", str(SEED), "--timeline", str(path)]) == 0
    assert re.search(r"Timeline: .*run\.html, .* MB: \d+ records, \d+ messages", capsys.readouterr().out)
    assert path.stat().st_size > 100_000


def test_nobody_is_down_who_sends_messages():
    timeline = timeline_of(FILES.watch(FILES.draw(SEED)), "again")
    down = [bar for bar in timeline.bars if bar.kind is BarKind.DOWN]
    assert down
    for bar in down:
        sent = [
            arrow for arrow in timeline.arrows if arrow.source == bar.lane and bar.begin + 1000 < arrow.sent < bar.end
        ]
        # A stop in good order, and a start, have messages of their own.
        assert len(sent) <= 2, bar.text
