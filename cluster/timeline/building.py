"""From records to a timeline."""

import re
from collections.abc import Iterable, Mapping, Sequence

from cluster.fault_log import FAULTS
from cluster.roles import MASTER
from cluster.timeline.arrows import inferred_arrows
from cluster.timeline.bars import bars_of
from cluster.timeline.messages import arrows_of
from cluster.timeline.model import Arrow, Bar, Finding, Moment, Step, Timeline
from cluster.timeline.subjects import parts_of, subjects_of
from cluster.timeline.timed import Timed
from cluster.timeline.tones import tone_of
from runtime.events import Record, UnknownEvent, sentence
from runtime.simulated.traffic import Traffic

LONGEST_TEXT = 400


def timeline_of_records(title: str, records: Sequence[Record], facts: Iterable[str] = ()) -> Timeline:
    """The timeline of a real cluster. `records` are in causal order; what joins them is inferred."""
    lanes = _lanes(record.node for record in records)
    timed = [Timed(_time(record), lanes[record.node], record) for record in records]
    joined = inferred_arrows(timed)
    timeline = _drawn(title, lanes, timed, [], [arrow for _, _, arrow in joined])
    timeline.facts = [*facts, *_unknown(records)]
    leaving: dict[int, list[int]] = {}
    arriving: dict[int, list[int]] = {}
    for number, (source, target, _) in enumerate(joined):
        if source > target:
            continue  # The Lamport clocks say otherwise; vector clocks follow them.
        leaving.setdefault(source, []).append(number)
        arriving.setdefault(target, []).append(number)
    places = _places(timed)
    for place, one in enumerate(timed):
        timeline.steps += [Step(one.lane, message=number) for number in arriving.get(place, ())]
        timeline.steps.append(Step(one.lane, moment=places[place]))
        timeline.steps += [Step(one.lane, message=number) for number in leaving.get(place, ())]
    return timeline


def timeline_of_simulation(
    title: str,
    records: Sequence[Record],
    traffic: Traffic | None,
    *,
    epoch: int,
    bars: Sequence[tuple[str, Bar]] = (),
    findings: Sequence[Finding] = (),
    facts: Iterable[str] = (),
) -> Timeline:
    """The timeline of a simulated run. `records` are in order of true time, `epoch` is where that begins, in
    microseconds; `bars` are further ones with the names of their lanes, such as what clients asked for."""
    passages = traffic.passages if traffic is not None else []
    names = [*(record.node for record in records), *(name for name, _ in bars)]
    lanes = _lanes([*names, *(name for one in passages for name in (one.source, one.target))])
    timed = [Timed(_time(record), lanes[record.node], record) for record in records]
    arrows = [arrow for passage in passages for arrow in arrows_of(passage, lanes, epoch)]
    sent: dict[int, list[int]] = {}
    for arrow in arrows:
        sent.setdefault(arrow.source, []).append(arrow.sent)
    timeline = _drawn(title, lanes, timed, [(lanes[name], bar) for name, bar in bars], arrows, sent)
    timeline.is_virtual, timeline.findings, timeline.facts = True, list(findings), list(facts)
    places = _places(timed)
    written = 0
    for step in traffic.steps if traffic is not None else ():
        for place in range(written, step.records):
            timeline.steps.append(Step(timed[place].lane, moment=places[place]))
        written = max(written, step.records)
        passage = step.passage
        node = passage.target if step.is_arrival else passage.source
        timeline.steps.append(Step(lanes[node], message=passage.number))
    timeline.steps += [Step(timed[place].lane, moment=places[place]) for place in range(written, len(timed))]
    return timeline


def _drawn(
    title: str,
    lanes: dict[str, int],
    timed: Sequence[Timed],
    bars: Sequence[tuple[int, Bar]],
    arrows: Sequence[Arrow],
    sent: Mapping[int, Sequence[int]] | None = None,
) -> Timeline:
    by_time = sorted(timed, key=lambda one: one.time)
    ends = [one.time for one in by_time[-1:]] + [bar.end for _, bar in bars]
    ends += [arrow.arrived or arrow.sent for arrow in arrows]
    found = bars_of(by_time, lanes, max(ends, default=0), sent)
    found += [_on(lane, bar) for lane, bar in bars]
    return Timeline(
        title,
        list(lanes),
        [_moment(one) for one in by_time],
        sorted(arrows, key=lambda arrow: arrow.sent),
        sorted(found, key=lambda bar: (bar.begin, bar.lane)),
        parts=parts_of(one.record.event for one in timed),
    )


def _on(lane: int, bar: Bar) -> Bar:
    return Bar(bar.begin, bar.end, lane, bar.kind, bar.text, bar.tone, bar.cause, bar.subjects, bar.is_open)


def _places(timed: Sequence[Timed]) -> list[int]:
    """Where each of the records stands among the moments, which are sorted by time."""
    order = sorted(range(len(timed)), key=lambda place: timed[place].time)
    places = [0] * len(timed)
    for position, place in enumerate(order):
        places[place] = position
    return places


def _moment(one: Timed) -> Moment:
    record = one.record
    return Moment(
        one.time,
        one.lane,
        one.kind,
        _in_words(record),
        tone_of(record.event),
        record.cause,
        record.lamport,
        subjects_of(record.event),
    )


def _in_words(record: Record) -> str:
    try:
        text = sentence(record.event)
    except (ValueError, TypeError):  # A field is not of its type: the line was damaged, or is of another version.
        text = f"{type(record.event).__name__}: {record.event}"
    text = text.strip().replace("\n", " ⏎ ")
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _time(record: Record) -> int:
    return record.wall_microseconds if record.true_microseconds is None else record.true_microseconds


def _unknown(records: Sequence[Record]) -> list[str]:
    kinds = sorted({record.event.kind for record in records if isinstance(record.event, UnknownEvent)})
    if not kinds:
        return []
    return [f"kinds of events that this version of Tabletop does not know, shown as they are: {', '.join(kinds)}"]


def _lanes(nodes: Iterable[str]) -> dict[str, int]:
    """A lane for each node: faults, clients, the master, and the others by their numbers."""
    ranks = {FAULTS: 0, MASTER: 2}

    def rank(node: str) -> tuple[int, list[tuple[int, str]]]:
        parts = [(int(part or 0), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", node)]
        return ranks.get(node, 1 if node.startswith("client") else 3), parts

    return {node: number for number, node in enumerate(sorted(dict.fromkeys(nodes), key=rank))}
