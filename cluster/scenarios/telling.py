"""What a run of a scenario is told as: a verdict with its evidence, a story, or a timeline."""

from typing import Any

from cluster.fault_log import FAULTS
from cluster.scenarios.judging import concerned
from cluster.scenarios.running import ScenarioResult
from cluster.swarm.pictures import bar_of, time_of
from cluster.swarm.regions import State, counted
from cluster.swarm.story import TELLING
from cluster.timeline.building import timeline_of_records, timeline_of_simulation
from cluster.timeline.model import Finding, Timeline
from runtime.events import Record, sentence
from runtime.simulated.world import EPOCH_MICROSECONDS

LONGEST_STORY = 300
MOST_VERDICTS = 8
MOST_EVIDENCE = 12


def verdict_lines(result: ScenarioResult) -> list[str]:
    """What the judges say, a sentence each, and below each what it rests on."""
    lines: list[str] = []
    told: dict[int, None] = {}
    for verdict in result.verdicts[:MOST_VERDICTS]:
        lines.append(f"✘ {verdict.judge}: {verdict.text}")
        new = [one for one in concerned(result.history, [verdict]) if one.number not in told]
        lines += [f"    {one.invoked:9.3f} s  {one.told()[:300]}" for one in new[:MOST_EVIDENCE]]
        told.update((one.number, None) for one in new)
    more = len(result.verdicts) - MOST_VERDICTS
    return [*lines, *([f"… and {more} more"] if more > 0 else []), *result.remarks]


def summary(result: ScenarioResult) -> str:
    """The size of a run, in one line."""
    regions = [region for found in result.regions.values() for region in found]
    faults = ", ".join(f"{kind} {count}x" if count > 1 else kind for kind, count in result.struck.items()) or "none"
    parts = [
        f"{len(result.history.operations)} operations",
        f"faults: {faults}",
        f"{result.virtual_seconds:.1f} s of the cluster's time",
    ]
    if regions:
        parts.append(f"{len(regions)} region{'s' if len(regions) > 1 else ''}: {counted(regions)}")
    return "; ".join(parts)


def table_1(result: ScenarioResult) -> list[tuple[str, str, str, str, str]]:
    """GFS Table 1 as it came out: file, bytes, promised, found, evidence."""
    return [
        (path, f"{one.begin}-{one.end}", _short(one.promised), _short(one.found), one.evidence)
        for path, found in sorted(result.regions.items())
        for one in found
    ]


def _short(state: State) -> str:
    return "undefined" if state is State.UNDEFINED else state.value


def story(result: Any, replay: str) -> list[str]:
    """A run in lines, in the order of true time: what clients asked, what struck, and what servers recorded."""
    about = {number for verdict in result.verdicts for number in verdict.operations}
    lines = [
        (one.invoked, 1, f"{one.told()} ({one.responded - one.invoked:.3f} s){'  <==' if one.number in about else ''}")
        for one in result.history.operations
    ]
    lines += [(moment, 0, _record(record)) for moment, record in result.records if _tells(record)]
    lines.sort(key=lambda line: line[:2])
    left_out = len(lines) - LONGEST_STORY
    if left_out > 0:
        half = LONGEST_STORY // 2
        lines = [*lines[:half], (lines[half][0], 0, f"… {left_out} lines …"), *lines[-half:]]
    return [
        f"{result.plan.scenario.name}, seed {result.plan.seed}: {summary(result)}",
        "",
        *(f"{number:4d}. {time:9.3f} s  {text}" for number, (time, _, text) in enumerate(lines, 1)),
        "",
        *verdict_lines(result),
        "",
        f"Again: {replay}",
    ]


def _tells(record: Record) -> bool:
    return record.node == FAULTS or type(record.event).__name__ in TELLING


def _record(record: Record) -> str:
    text = sentence(record.event)[:300]
    return f"*** {text}" if record.node == FAULTS else f"    {record.node} {text}"


def timeline(result: ScenarioResult, replay: str) -> Timeline:
    """The run as a picture (cluster/timeline), with what clients asked for, and what judges object to."""
    records = [record for _, record in result.records]
    title = f"{result.plan.scenario.name}, seed {result.plan.seed}"
    title += f": {result.verdicts[0].judge}" if result.verdicts else ""
    facts = [summary(result), f"again: {replay}"]
    if result.traffic is None:
        drawn = timeline_of_records(title, records, facts)
        drawn.findings = [Finding(f"{one.judge}: {one.text}", None) for one in result.verdicts]
        return drawn
    blamed = {number: verdict.judge for verdict in result.verdicts for number in verdict.operations}
    return timeline_of_simulation(
        title,
        records,
        result.traffic,
        epoch=EPOCH_MICROSECONDS,
        bars=[(one.client, bar_of(one, result.virtual_seconds, blamed)) for one in result.history.operations],
        findings=[Finding(f"{one.judge}: {one.text}", time_of(one.operations, result)) for one in result.verdicts],
        facts=facts,
    )
