"""A run of a swarm as a timeline: its records, all its messages, what clients asked for, and what judges object to."""

import math
from typing import Any

from cluster.swarm.insight import CAUSE
from cluster.swarm.story import summary
from cluster.timeline.building import timeline_of_simulation
from cluster.timeline.model import Bar, BarKind, Finding, Timeline, Tone
from cluster.timeline.subjects import chunk, file
from runtime.simulated.world import EPOCH_MICROSECONDS

MICROSECONDS = 1_000_000


def timeline_of(result: Any, replay: str) -> Timeline:
    """The timeline of a result of any swarm. `replay` is the command that runs it again."""
    concerned = {number: verdict.judge for verdict in result.verdicts for number in verdict.operations}
    end = result.virtual_seconds
    findings = [Finding(f"{one.judge}: {one.text}", time_of(one.operations, result)) for one in result.verdicts]
    bars = [(one.client, bar_of(one, end, concerned)) for one in result.history.operations]
    title = f"Seed {result.plan.seed} of the swarm" + (f": {result.verdicts[0].judge}" if result.verdicts else "")
    return timeline_of_simulation(
        title,
        [record for _, record in result.records],
        result.traffic,
        epoch=EPOCH_MICROSECONDS,
        bars=bars,
        findings=findings,
        facts=[summary(result.plan), f"again: {replay}"],
    )


def bar_of(operation: Any, end: float, concerned: dict[int, str]) -> Bar:
    """What a client asked for, from the question to the answer; `concerned` are those that judges object to."""
    responded = min(operation.responded, max(end, operation.invoked))
    tone = Tone.VIOLATION if operation.number in concerned else Tone.PLAIN
    return Bar(
        _microseconds(operation.invoked),
        _microseconds(responded),
        0,
        BarKind.OPERATION,
        operation.told().removeprefix(f"{operation.client}: ")[:300],
        tone,
        f"{CAUSE}{operation.number}",
        _subjects(operation),
        is_open=math.isinf(operation.responded),
    )


def _subjects(operation: Any) -> tuple[str, ...]:
    paths = [getattr(operation, name, "") for name in ("path", "target")]
    found = [file(path) for path in paths if path]
    if handle := getattr(operation, "chunk", 0):
        found.append(chunk(handle))
    if tablet := getattr(operation, "tablet", ""):
        found.append(f"tablet {tablet}")
    return tuple(dict.fromkeys(found))


def time_of(operations: tuple[int, ...], result: Any) -> int | None:
    """When the last of the operations that a judge objects to was answered, or asked."""
    found = [one for one in result.history.operations if one.number in operations]
    times = [one.invoked if math.isinf(one.responded) else one.responded for one in found]
    return _microseconds(max(times)) if times else None


def _microseconds(seconds: float) -> int:
    return EPOCH_MICROSECONDS + int(seconds * MICROSECONDS)
