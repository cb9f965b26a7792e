"""Doing a drill: starting it, looking at what the cluster says, judging, stopping.

All of it is done while the student's folder is held (`state.py`). A cluster that a drill has started is left running
between commands, and is found again by its name.
"""

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass

from cluster.fault_log import read_faults
from cluster.real import RealCluster
from labs.drills.catalogue import drill_of
from labs.drills.drill import FACTS, FILES, REVEALED, Answered, Drill, Facts, Judgement, Live, judge
from labs.drills.evidence import Evidence, kept
from labs.drills.questions import Answer, Kind
from labs.handing_in.classes import Card, card_from, draw_for
from labs.state import Attempt, Desk, State
from labs.worker import run_apart
from runtime.errors import Conflict, InvalidRequest, NotFound, TabletopError, TimedOut, Unavailable

CLUSTER_PREFIX = "drill-"
LOOK_SECONDS = 60.0
LARGEST_OWN_FILE = 64 * 1024
MOST_ANSWERS = 50
"""Of one attempt: after that nobody is guessing by reason any more, and the file stays small."""


@dataclass(frozen=True, slots=True)
class Started:
    """What `start` has done."""

    attempt: Attempt
    is_new: bool
    note: str


def card_of(state: State) -> Card | None:
    """The student's card; None for who works alone."""
    return card_from(state.card, "the card in your folder") if state.card else None


async def start(desk: Desk, state: State, name: str, *, again: bool) -> Started:
    """Start a drill, or go on with one that was started. Raises Conflict while another one runs."""
    drill = drill_of(name)
    running = state.running()
    if running is not None and running.drill != name:
        raise Conflict(
            f"drill {running.drill} runs since {_clock(running.started)}: end it with `tabletop drill stop`, "
            f"then start {name}; its answers are kept"
        )
    before = state.attempts.get(name)
    if before is not None and not again:
        note = await _go_on(desk, drill, before)
        before.is_running = True
        return Started(before, False, note)
    number = 1 if before is None else before.number + 1
    card = card_of(state)
    draw = draw_for(card.key, name, number) if card else secrets.randbits(32)
    attempt = Attempt(name, number, time.time(), draw)
    if isinstance(drill.stage, Live):
        attempt.cluster = CLUSTER_PREFIX + name
        attempt.facts = await _start_cluster(desk, drill.stage, attempt, is_ours=before is not None)
    else:
        _give_files(desk, name, await _run(drill, attempt, FILES))
    state.attempts[name] = attempt
    return Started(attempt, True, "")


async def _go_on(desk: Desk, drill: Drill, attempt: Attempt) -> str:
    """Bring the cluster up if it is down as a whole; what the student broke stays broken."""
    if not attempt.cluster:
        return "it was started before; its files are where they were"
    cluster = RealCluster(attempt.cluster, home=desk.home)
    try:
        if not cluster.folder.exists():
            raise Conflict(
                f"cluster {attempt.cluster} of drill {attempt.drill} is gone; `tabletop drill start {attempt.drill} "
                "--again` begins a new attempt"
            )
        if not cluster.is_down():
            return f"it runs since {_clock(attempt.started)}"
        await cluster.start(cluster.settings)
        return "its cluster was down, and is up again, with its files"
    finally:
        await cluster.close()


async def _start_cluster(desk: Desk, stage: Live, attempt: Attempt, *, is_ours: bool) -> Facts:
    cluster = RealCluster(attempt.cluster, home=desk.home)
    if cluster.folder.exists() or cluster.folder.has_nodes():
        if not is_ours:
            raise Conflict(
                f"there is a cluster {attempt.cluster} already, which no drill has started, or a start that was "
                f"interrupted; `tabletop down --cluster {attempt.cluster} --purge` removes it"
            )
        await cluster.stop(purge=True)
    try:
        await cluster.start(stage.settings)
        await cluster.client().make_directory("/drill")
        return await stage.prepare(cluster)
    except BaseException:
        await cluster.stop(purge=True)
        raise
    finally:
        await cluster.close()


async def stop(desk: Desk, state: State) -> Attempt:
    """End the drill that runs: its cluster's processes and files go, answers and evidence stay. What the cluster says
    at the end is looked up first, if it still says anything."""
    attempt = state.chosen("")
    if attempt.cluster:
        with contextlib.suppress(TabletopError):
            await look(desk, attempt)
        await RealCluster(attempt.cluster, home=desk.home).stop(purge=True)
    attempt.is_running = False
    return attempt


async def look(desk: Desk, attempt: Attempt) -> Evidence:
    """The evidence of now. A drill that was stopped has what it had at its end. Raises Unavailable while the cluster is
    down, and what a run apart raises."""
    drill = drill_of(attempt.drill)
    if not isinstance(drill.stage, Live):
        found = Evidence(facts=(await _run(drill, attempt, FACTS, _own_file(desk, drill, attempt))).facts)
        attempt.evidence = Evidence(facts=attempt.facts).to_json()
        return found
    cluster = RealCluster(attempt.cluster, home=desk.home)
    if not cluster.folder.exists():
        if not attempt.evidence:
            raise Unavailable(f"cluster {attempt.cluster} is gone; `tabletop drill start {attempt.drill} --again`")
        return Evidence.from_json(attempt.evidence)
    if cluster.is_down():
        raise Unavailable(
            f"cluster {attempt.cluster} of this drill is down; `tabletop drill start {attempt.drill}` brings it up "
            "again",
            definite=True,
        )
    evidence = await _look(cluster, drill.stage, attempt)
    attempt.evidence = evidence.to_json()
    return evidence


async def _look(cluster: RealCluster, stage: Live, attempt: Attempt) -> Evidence:
    facts = dict(attempt.facts)
    try:
        with contextlib.suppress(Unavailable, TimedOut):
            async with asyncio.timeout(LOOK_SECONDS):
                facts |= await stage.look(cluster, attempt.facts)
    except TimeoutError:
        pass
    finally:
        await cluster.close()
    found = cluster.recorded(cluster.settings.node_names()).records + read_faults(cluster.folder.path).records
    return Evidence(kept(found, stage.kinds, attempt.started), facts)


async def _run(drill: Drill, attempt: Attempt, wants: str, facts: Facts | None = None) -> Answered:
    parameters = {"draw": attempt.draw, "wants": wants, **(facts or {})}
    return await asyncio.to_thread(run_apart, drill.name, parameters)


def _own_file(desk: Desk, drill: Drill, attempt: Attempt) -> Facts:
    """The file that the student writes, as it is now; it becomes a part of what is handed in."""
    assert not isinstance(drill.stage, Live)
    name = drill.stage.wants_file
    if not name:
        return {}
    path = desk.path / drill.name / name
    if path.is_file():
        if path.stat().st_size > LARGEST_OWN_FILE:
            raise InvalidRequest(f"{path} has {path.stat().st_size} bytes: expected at most {LARGEST_OWN_FILE}")
        attempt.facts[name] = path.read_text(encoding="utf-8", errors="replace")
    if name not in attempt.facts:
        raise NotFound(f"there is no {path}; `tabletop drill start {drill.name} --again` gives you one to begin with")
    return {name: attempt.facts[name]}


def _give_files(desk: Desk, name: str, found: Answered) -> None:
    folder = desk.path / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file, text in found.files.items():
        (folder / file).write_text(text, encoding="utf-8")


async def check(desk: Desk, attempt: Attempt, given: dict[str, str]) -> Judgement:
    """Note answers, and judge everything by what the cluster says now. Raises InvalidRequest for answers that can be
    none, or come too late: then none of them is noted."""
    drill, now = drill_of(attempt.drill), time.time()
    answers = [Answer(name, drill.page.question(name).read(text), now) for name, text in given.items()]
    evidence = await look(desk, attempt)
    if answers:
        if len(attempt.answers) + len(answers) > MOST_ANSWERS:
            raise InvalidRequest(f"an attempt has at most {MOST_ANSWERS} answers")
        _refuse_settled(judge(drill, evidence, attempt.answers, 0), answers)
        attempt.answers += answers
    judgement = judge(drill, evidence, attempt.answers, len(attempt.hints))
    if answers and not isinstance(drill.stage, Live) and _is_predicted(drill, judgement):
        _give_files(desk, drill.name, await _run(drill, attempt, REVEALED, attempt.facts))
    return judgement


def _is_predicted(drill: Drill, judgement: Judgement) -> bool:
    """Whether all that was to be predicted was: now the run may be shown."""
    predictions = [one for one in judgement.marks if drill.page.question(one.question).kind is Kind.PREDICT]
    return bool(predictions) and all(one.is_settled for one in predictions)


def _refuse_settled(before: Judgement, answers: list[Answer]) -> None:
    settled = {mark.question: mark for mark in before.marks if mark.is_settled}
    for answer in answers:
        if (mark := settled.get(answer.question)) is not None:
            raise InvalidRequest(f"{answer.question} is settled: {mark.answer!r} was {mark.verdict}")


def hint(attempt: Attempt) -> tuple[str, int]:
    """The next hint, and its cost. Raises InvalidRequest when there are no more."""
    hints = drill_of(attempt.drill).page.hints
    if len(attempt.hints) >= len(hints):
        raise InvalidRequest(f"there are no more hints: you have had all {len(hints)}")
    found = hints[len(attempt.hints)]
    attempt.hints.append(time.time())
    return found.text, found.cost


def judged(attempt: Attempt, evidence: Evidence) -> Judgement:
    """An attempt by its evidence."""
    return judge(drill_of(attempt.drill), evidence, attempt.answers, len(attempt.hints))


def _clock(moment: float) -> str:
    return time.strftime("%H:%M", time.localtime(moment))
