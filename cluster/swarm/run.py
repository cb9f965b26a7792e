"""One seed, from its begin to its verdict.

trouble      three clients work, faults strike; every virtual second every server's invariants are checked
healing      all faults end, clients finish their work, in most seeds every node is restarted; if the faults are to
             last, what can be at its goal under them, and be appended to, is judged first
rest         the cluster must come to rest within a stated time; in half of the seeds every chunk is then written
             once more, and it must come to rest again
judgement    all files are read once more, the log is replayed, and the judges look at everything
"""

import asyncio
import random
import time
from dataclasses import dataclass, field

from cluster.swarm import endings, orders, placements
from cluster.swarm.appends import appended_files
from cluster.swarm.copies import root_of
from cluster.swarm.full_masters import FullMasterWatch
from cluster.swarm.history import Answer, History, Kind, Seen
from cluster.swarm.leases import judge_leases, wrong_epochs
from cluster.swarm.listed_snapshots import with_lists
from cluster.swarm.losses import Grant, Losses
from cluster.swarm.marks import marks_of
from cluster.swarm.masters import LOOK_SECONDS, WITH_MASTERS, who_would_answer, with_masters
from cluster.swarm.mischief import draw_faults
from cluster.swarm.names import PASSING
from cluster.swarm.narrow_faults import with_narrow_faults
from cluster.swarm.operators import enters_safe_mode, judge_check, judge_safe_mode, judge_trash, with_operators
from cluster.swarm.plan import JUDGE, Plan, PlannedOperation
from cluster.swarm.player import Player
from cluster.swarm.snapshot_work import with_snapshots
from cluster.swarm.stage import Stage
from cluster.swarm.steps import Facts, file_histories
from cluster.swarm.stories import STORIES
from cluster.swarm.sweep import WALL_SECONDS
from cluster.swarm.verdicts import Verdict, judge_history
from cluster.swarm.workload import (
    CLIENTS,
    draw_operations,
    draw_setup,
    with_appends,
    with_company,
    with_giving_up,
    with_goals,
    with_host,
    with_next_chunks,
)
from gfs.events import AppendRetried, MasterAskedAgain, WriteRetried
from runtime.events import Record, TaskFailed
from runtime.guard import HandlerFailed
from runtime.simulated.loop import SimulationDeadlock, SimulationStuck
from runtime.simulated.traffic import Traffic

# When everything is healed, clients may need this long to come to the end of what they are doing.
FINISH_SECONDS = 900.0
# The share of seeds in which no server is restarted before the end is judged.
WITHOUT_RESTART = 0.4
# The share of seeds in which every chunk is written once more: whatever a replica has missed must show by then.
STIRRED = 0.5
STIRRED_BYTES = 16
# Who pauses between tries, longer and longer, makes so many at most before the patience is over.
MOST_TRIES = 300


@dataclass(slots=True)
class Result:
    """What came of one run."""

    plan: Plan
    verdicts: list[Verdict] = field(default_factory=list)
    is_undecided: bool = False
    history: History = field(default_factory=History)
    records: list[tuple[float, Record]] = field(default_factory=list)
    handles: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)  # (file, index) -> chunks
    struck: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    virtual_seconds: float = 0.0
    tried: int = 0
    traffic: Traffic | None = None

    @property
    def failed(self) -> bool:
        """Whether a judge found something."""
        return bool(self.verdicts)


def draw_plan(seed: int, *, share_with_masters: float = WITH_MASTERS) -> Plan:
    """The plan of a seed. `share_with_masters`: of all seeds, those that have several masters."""
    chance = random.Random(f"swarm {seed}")
    setup = with_host(random.Random(f"host {seed}"), draw_setup(chance))
    operations, paths = draw_operations(chance, setup)
    operations = with_company(random.Random(f"company {seed}"), setup, operations, paths)
    operations = with_goals(random.Random(f"goals {seed}"), setup, operations, paths)
    operations = with_giving_up(random.Random(f"gives up {seed}"), operations)
    operations = with_appends(random.Random(f"appends {seed}"), setup, operations)
    operations = with_snapshots(random.Random(f"snapshots {seed}"), setup, operations, paths)
    operations = with_operators(random.Random(f"operators {seed}"), setup, operations, paths)
    operations = with_next_chunks(random.Random(f"next chunks {seed}"), operations)
    operations = with_lists(random.Random(f"listed snapshots {seed}"), operations)
    faults = draw_faults(chance, setup, paths)
    for story in STORIES:
        setup, operations, faults = story(seed, setup, operations, faults)
    setup, operations, faults = with_masters(seed, setup, operations, faults, share=share_with_masters)
    faults = with_narrow_faults(seed, setup, faults, paths)
    return Plan(seed, setup, operations, faults)


def run_plan(plan: Plan, *, watched: bool = False) -> Result:
    """Run a plan in a simulation of its own, and judge it. `watched`: keep all messages; the run is the same."""
    result = Result(plan)
    begun = time.process_time()
    stage = Stage(plan)
    if watched:
        result.traffic = Traffic(stage.simulation, stage.sink.records)
    try:
        run = _Run(plan, stage, result)
        try:
            stage.simulation.run(run.play(), wall_seconds=WALL_SECONDS)
        except (SimulationDeadlock, SimulationStuck) as error:
            result.verdicts.append(Verdict("standstill", f"{type(error).__name__}: {error}"))
        run.finish()
    finally:
        result.virtual_seconds = stage.now
        stage.simulation.close()
        result.cpu_seconds = time.process_time() - begun
    return result


class _Run:
    def __init__(self, plan: Plan, stage: Stage, result: Result) -> None:
        self._plan = plan
        self._stage = stage
        self._result = result
        self._history = result.history
        self._players = {name: Player(name, stage, self._history) for name in (*CLIENTS, JUDGE)}
        self._broken: dict[str, None] = {}

    async def play(self) -> None:
        """The whole run."""
        stage, loop = self._stage, asyncio.get_running_loop()
        await stage.cluster.start()
        watch = loop.create_task(self._watch(), name="watch invariants")
        if self._plan.setup.masters > 1:
            watch_masters = loop.create_task(self._watch_masters(), name="watch who acts")
        stage.begin_faults()
        players = [loop.create_task(self._play_client(name), name=f"play {name}") for name in (*CLIENTS, JUDGE)]
        await asyncio.sleep(self._plan.setup.trouble_seconds)
        if self._plan.setup.lasting:
            await self._finish_work(players)
            self._result.verdicts += await placements.judge_lasting(stage)
            await self._append_everywhere()
        await stage.heal()
        await self._finish_work(players)
        await self._restart_everything()
        if enters_safe_mode(self._plan.operations):
            judge = Player(JUDGE, stage, self._history)
            await judge.perform(PlannedOperation(JUDGE, 0.0, Kind.LEAVE_SAFE_MODE), is_final=True)
        undefined = self._undefined_chunks()
        self._result.verdicts += await endings.come_to_rest(stage, undefined)
        if not self._result.verdicts and random.Random(f"stir {self._plan.seed}").random() < STIRRED:
            written = await self._write_everywhere()
            self._result.verdicts += await endings.come_to_rest(stage, undefined - written)
        await self._read_everything()
        if not self._result.verdicts:
            wrong = await judge_check(
                stage.cluster.client(stage.cluster.client_names().index(JUDGE) + 1), stage.insight
            )
            self._result.verdicts += [Verdict("fsck", text) for text in wrong]
        self._result.verdicts += endings.judge_aside(stage, stage.sink.records)
        self._result.verdicts += await endings.judge_replay(stage)
        watches = [watch] if self._plan.setup.masters == 1 else [watch, watch_masters]
        for task in watches:
            task.cancel()
        await asyncio.wait(watches)

    async def _play_client(self, name: str) -> None:
        await self._players[name].play([planned for planned in self._plan.operations if planned.client == name])

    async def _finish_work(self, players: list[asyncio.Task[None]]) -> None:
        _, unfinished = await asyncio.wait(players, timeout=FINISH_SECONDS)
        for task in unfinished:
            self._stage.complain(f"{task.get_name()} did not come to its end")
            task.cancel()
        for task in players:
            if task.done() and not task.cancelled():
                task.result()

    async def _restart_everything(self) -> None:
        """Restart every node, one after the other, half of them in good order. In some seeds nobody is: a start puts
        things in order that the running servers may have left lying about."""
        stage = self._stage
        chance = random.Random(f"restart {self._plan.seed}")
        if chance.random() < WITHOUT_RESTART:
            return
        nodes = stage.server_names()
        chance.shuffle(nodes)
        for node in nodes:
            await stage.restart(node, in_good_order=chance.random() < 0.5)
            await asyncio.sleep(chance.choice([0.0, 0.2, 3.0]))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for node in self._stage.server_names():
                complaint = self._stage.insight.check_invariants(node)
                if complaint and complaint not in self._broken:
                    self._broken[complaint] = None
                    self._result.verdicts.append(Verdict("invariants", f"at {self._stage.now:.0f} s: {complaint}"))

    async def _watch_masters(self) -> None:
        """At no moment would two masters answer, and none stays that cannot log (GFS 5.1.3)."""
        full = FullMasterWatch(self._stage.cluster)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if (complaint := full.look()) and "full master" not in self._broken:
                self._broken["full master"] = None
                self._result.verdicts.append(Verdict("full master", f"at {self._stage.now:.3f} s: {complaint}"))
            acting = who_would_answer(self._stage.cluster)
            if len(acting) > 1 and "two masters" not in self._broken:
                self._broken["two masters"] = None
                text = f"at {self._stage.now:.3f} s: {', '.join(acting)} would each answer a client"
                self._result.verdicts.append(Verdict("two masters", text))

    def _undefined_chunks(self) -> set[int]:
        """Chunks that hold, perhaps, a part of a write that failed, or whose client died: in doubt. Of files of records
        all chunks: a try that failed leaves its part for good, though the next one succeeds."""
        files = {
            operation.number if operation.kind is Kind.WRITE_FILE else operation.file
            for operation in self._history.operations
            if operation.kind is Kind.RECORD_APPEND or (operation.writes and operation.is_open_ended)
        }
        return {handle for handle, place in self._stage.insight.chunks.items() if place.file in files}

    async def _write_everywhere(self) -> set[int]:
        """Write a few bytes into each chunk of each file: each gets a lease, for which its replicas are compared.
        Returns the chunks. A file of records takes another one instead."""
        judge = Player(JUDGE, self._stage, self._history)
        of_records, size = appended_files(self._history), self._plan.setup.chunk_bytes
        written: set[int] = set()
        for found in await self._files(judge):
            path, length = found.path, found.length
            is_of_records = root_of(found.file) in of_records
            mode = "ab" if is_of_records else "r+b"
            await judge.perform(PlannedOperation(JUDGE, 0.0, Kind.OPEN, path, mode=mode), is_final=True)
            if is_of_records:
                append = PlannedOperation(JUDGE, 0.0, Kind.RECORD_APPEND, count=STIRRED_BYTES)
                await judge.perform(append, is_final=True)
                length = 0
            for begin in range(0, length, size):
                count = min(STIRRED_BYTES, length - begin)
                await judge.perform(PlannedOperation(JUDGE, 0.0, Kind.WRITE, offset=begin, count=count), is_final=True)
            await judge.perform(PlannedOperation(JUDGE, 0.0, Kind.CLOSE), is_final=True)
            written.update(self._stage.insight.handles_of(path)[: -(-length // size)])
        return written

    async def _append_everywhere(self) -> None:
        """Make each file a little longer: whatever is wrong with one server, others have room. But where both that have
        a chunk are struck, it can only be read."""
        judge = Player(JUDGE, self._stage, self._history)
        of_records = appended_files(self._history)
        lost = set(placements.out_of_reach(self._stage))
        for found in await self._files(judge):
            if lost.intersection(self._stage.insight.handles_of(found.path)):
                continue
            kind = Kind.RECORD_APPEND if root_of(found.file) in of_records else Kind.APPEND
            await judge.perform(PlannedOperation(JUDGE, 0.0, Kind.OPEN, found.path, mode="ab"), is_final=True)
            await judge.perform(PlannedOperation(JUDGE, 0.0, kind, count=STIRRED_BYTES), is_final=True)
            await judge.perform(PlannedOperation(JUDGE, 0.0, Kind.CLOSE), is_final=True)

    async def _read_everything(self) -> None:
        judge = Player(JUDGE, self._stage, self._history)
        for found in await self._files(judge):
            await judge.perform(PlannedOperation(JUDGE, 0.0, Kind.READ_FILE, found.path), is_final=True)
            await judge.perform(PlannedOperation(JUDGE, 0.0, Kind.STAT, found.path), is_final=True)

    async def _files(self, judge: Player) -> list[Seen]:
        """All files that were given their final name."""
        found = await judge.perform(PlannedOperation(JUDGE, 0.0, Kind.LIST, "/", recursive=True), is_final=True)
        entries = found.seen if found is not None else ()
        return [seen for seen in entries if not seen.is_directory and PASSING not in seen.path]

    def finish(self) -> None:
        """Judge what was seen."""
        result, stage = self._result, self._stage
        result.struck = stage.struck
        result.records = list(zip(stage.sink.times, stage.sink.records, strict=True))
        self._note_facts()
        facts = self._facts()
        result.handles = facts.handles
        result.verdicts += [Verdict("endless", text) for text in stage.complaints]
        result.verdicts += [Verdict("loop", text) for text in stage.simulation.loop.unhandled]
        for moment, record in result.records:
            if isinstance(record.event, TaskFailed | HandlerFailed):
                last = record.event.trace.strip().splitlines()[-1]
                text = f"at {moment:.3f} s on {record.node}: {type(record.event).__name__}: {last}"
                result.verdicts.append(Verdict("untyped error", text))
        result.verdicts += _judge_tries(result.records)
        result.verdicts += self._judge_orders()
        result.verdicts += [Verdict("two masters", text) for text in wrong_epochs(result.records)]
        result.verdicts += [Verdict("leases", text) for text in judge_leases(result.records)]
        result.verdicts += self._judge_operators()
        for operation in self._history.operations:
            if operation.is_final and operation.answer is not Answer.VALUE:
                result.verdicts.append(Verdict("final reads", operation.told(), (operation.number,)))
        result.verdicts += endings.judge_records(stage, file_histories(self._history, facts), facts)
        judgement = judge_history(self._history, facts)
        result.verdicts += judgement.verdicts
        result.is_undecided, result.tried = judgement.is_undecided, judgement.tried
        result.marks = marks_of(result.records, self._history, stage.simulation.reached)

    def _judge_orders(self) -> list[Verdict]:
        plan, stage, records = self._plan, self._stage, self._result.records
        goals = [planned.count for planned in plan.operations if planned.kind is Kind.SET_REPLICATION]
        texts = [] if 1 in goals else list(orders.lone_grants(records))
        if not any(kind.startswith("Clock") for kind in stage.struck):
            seconds = stage.insight.removal_seconds()
            texts += orders.late_removals(records, stage.insight.known_chunks(), seconds)
        return [Verdict("orders", text) for text in texts]

    def _judge_operators(self) -> list[Verdict]:
        records, grace = self._result.records, self._plan.setup.trash_grace_seconds
        found = [Verdict("safe mode", text) for text in judge_safe_mode(records)]
        if "WallOffset" not in self._stage.struck:
            found += [Verdict("trash", text) for text in judge_trash(self._history, records, grace, judge=JUDGE)]
        found += [
            Verdict("fsck", f"{one.told()}: {text}", (one.number,))
            for one in self._history.operations
            for text in one.findings
        ]
        return found

    def _note_facts(self) -> None:
        """Write into the history what records tell of operations: whether one created a file."""
        for number in self._stage.insight.created:
            self._history.operation(number).created = True
        for number in self._stage.insight.restored:
            self._history.operation(number).restored = self._stage.insight.restored_by(number)
        for number, count in self._stage.insight.admitted.items():
            self._history.operation(number).admitted = count
        for operation in self._history.operations:
            if operation.kind in (Kind.CREATE, Kind.WRITE_FILE):
                operation.file = operation.number

    def _facts(self) -> Facts:
        setup, stage = self._plan.setup, self._stage
        grants = [
            Grant(moment, event.handle, (event.primary, *event.secondaries)) for moment, event in stage.insight.grants
        ]
        return Facts(
            chunk_bytes=setup.chunk_bytes,
            write_piece_bytes=setup.write_piece_bytes,
            location_seconds=setup.location_seconds,
            handles=stage.insight.handles(),
            losses=Losses(setup.durability, grants, stage.cuts, stage.hindrances),
            replicas=setup.replicas,
            copies=tuple(stage.insight.copies.values()),
        )


def _judge_tries(records: list[tuple[float, Record]]) -> list[Verdict]:
    """Whether somebody tried again and again without a pause."""
    counts: dict[str, int] = {}
    for _, record in records:
        if isinstance(record.event, WriteRetried | AppendRetried | MasterAskedAgain):
            counts[record.cause] = counts.get(record.cause, 0) + 1
    most = max(counts, key=lambda cause: counts[cause], default="")
    if counts.get(most, 0) <= MOST_TRIES:
        return []
    return [Verdict("endless", f"{most} was tried {counts[most]} times")]
