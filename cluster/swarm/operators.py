"""What operators do in the swarm: the trash, policies, safe mode, and checks of the whole (GFS 4.3 to 5.2).

Clients restore what they have deleted, to its place or another one; that is a change of names like any other, and the
judge of names has it. Beside it, these judges look at what the servers recorded:

trash       nothing that was deleted is forgotten before its time, by the true clock, unless somebody said so; and a
            directory's word about that time holds for what is deleted below it from then on
safe mode   while the master is in safe mode, nothing is copied or removed; while an operator keeps it there, no name
            changes either
fsck        a chunk is called lost only if no server has a replica of its version; and at the end, when everything is
            at rest, the check finds every chunk healthy, on exactly the servers that have it
"""

import random
from collections.abc import Iterable, Iterator
from typing import Any

from cluster.faultplan import Fault
from cluster.swarm.history import Answer, History, Kind
from cluster.swarm.insight import CAUSE, Insight
from cluster.swarm.plan import JUDGE, PlannedOperation, Setup
from gfs.client import Client
from gfs.health import Health, by_file
from master.events import (
    ChunkCreated,
    CloneStarted,
    EntryRenamed,
    FileCreated,
    FileDeleted,
    FileReclaimed,
    FileReplaced,
    LogReplayed,
    MasterStoodDown,
    RemovalDecided,
    RemovalOrdered,
    SafeModeEntered,
    SafeModeLeft,
    SnapshotTaken,
)
from master.namespace.hidden_names import deletion_of, root_of
from runtime.errors import TabletopError
from runtime.events import Record

WITH_OPERATORS = 0.4
"""The share of seeds in which operators are at work."""
WITH_KEPT_DIRECTORY = 0.2
KEPT = "/kept"
CHUNKS_A_PAGE = 3
_NAMES = (FileCreated, FileDeleted, EntryRenamed, FileReclaimed, ChunkCreated, FileReplaced, SnapshotTaken)
_ORDERS = (CloneStarted, RemovalDecided, RemovalOrdered)

Records = list[tuple[float, Record]]


# Drawing


def with_operators(
    chance: random.Random, setup: Setup, operations: tuple[PlannedOperation, ...], paths: list[str]
) -> tuple[PlannedOperation, ...]:
    """In some seeds operators are at work. Drawn apart from all else, so that the other seeds are what they would be
    without."""
    if chance.random() >= WITH_OPERATORS:
        return operations
    found = list(operations)
    for _ in range(chance.randint(2, 10)):
        _insert(chance, found, _deleted_and_restored(chance, paths))
    directories = sorted({path.rpartition("/")[0] or "/" for path in paths})
    grace = int(setup.trash_grace_seconds)
    for _ in range(chance.randint(0, 4)):
        seconds = chance.choice([-1, 0, grace // 2, 2 * grace + 5])
        _insert(chance, found, [(Kind.SET_POLICY, chance.choice(directories), "", seconds)])
    for _ in range(chance.randint(0, 2)):
        _insert(chance, found, [(Kind.EMPTY_TRASH, chance.choice(["/", *directories]), "", chance.choice([0, 5]))])
    for _ in range(chance.choice([0, 0, 1, 2])):
        enter, leave = (Kind.ENTER_SAFE_MODE, "", "", 0), (Kind.LEAVE_SAFE_MODE, "", "", 0)
        _insert(chance, found, [enter, leave], pauses=(0.0, chance.choice([1.0, 4.0, 9.0])))
    for _ in range(chance.randint(1, 4)):
        _insert(chance, found, [(Kind.FSCK, "/", "", 0)])
    return tuple(found)


def with_kept_directory(
    seed: int, setup: Setup, operations: tuple[PlannedOperation, ...], faults: tuple[Fault, ...]
) -> tuple[Setup, tuple[PlannedOperation, ...], tuple[Fault, ...]]:
    """A story: one client has a directory that nobody else touches, says for how long it keeps deleted files, and
    deletes and restores some."""
    chance = random.Random(f"kept {seed}")
    if chance.random() >= WITH_KEPT_DIRECTORY:
        return setup, operations, faults
    grace = int(setup.trash_grace_seconds)
    work = [PlannedOperation(JUDGE, 1.0, Kind.MAKE_DIRECTORY, f"{KEPT}/deep", parents=True)]
    for number in range(chance.randint(2, 6)):
        path = f"{chance.choice([KEPT, f'{KEPT}/deep'])}/{number}"
        seconds = chance.choice([-1, 0, grace // 2 + 1, 2 * grace + 10])
        work += [
            PlannedOperation(JUDGE, 0.0, Kind.SET_POLICY, KEPT, count=seconds),
            PlannedOperation(JUDGE, 0.0, Kind.WRITE_FILE, path, count=chance.randint(1, 5000)),
            PlannedOperation(JUDGE, chance.choice([0.0, 2.0]), Kind.DELETE, path),
        ]
        if chance.random() < 0.6:
            work.append(PlannedOperation(JUDGE, chance.choice([0.0, 3.0, 12.0]), Kind.RESTORE, path))
            work.append(PlannedOperation(JUDGE, 0.0, Kind.READ_FILE, path))
        if chance.random() < 0.3:
            work.append(PlannedOperation(JUDGE, 0.0, Kind.RENAME, f"{KEPT}/deep", f"{KEPT}/deeper"))
            work.append(PlannedOperation(JUDGE, 0.0, Kind.RENAME, f"{KEPT}/deeper", f"{KEPT}/deep"))
    return setup, operations + tuple(work), faults


_Step = tuple[Kind, str, str, int]


def _deleted_and_restored(chance: random.Random, paths: list[str]) -> list[_Step]:
    path = chance.choice(paths)
    target = chance.choice(paths) if chance.random() < 0.3 else ""
    restore = (Kind.RESTORE, path, target, 0)
    return [restore] if chance.random() < 0.3 else [(Kind.DELETE, path, "", 0), restore]


def _insert(
    chance: random.Random, found: list[PlannedOperation], steps: list[_Step], pauses: tuple[float, ...] = ()
) -> None:
    """Put operations somewhere into the work of one client."""
    place = chance.randrange(1, len(found))
    client = found[place].client
    for number, (kind, path, target, count) in enumerate(steps):
        pause = pauses[number] if pauses else chance.choice([0.0, 0.1, 1.0, 4.0])
        found.insert(place + number, PlannedOperation(client, pause, kind, path, target, count=count))


# Doing


async def check_everything(client: Client, insight: Insight) -> tuple[str, ...]:
    """Have all files checked, as `tabletop fs fsck` does; what is wrong about the verdicts."""
    wrong: list[str] = []
    async for page in client.operators.status_pages("/", chunks=CHUNKS_A_PAGE):
        is_starting = page.safe_mode.is_on and not page.safe_mode.by_hand
        for file in by_file(page.chunks, is_starting=is_starting):
            for chunk, health in file.chunks:
                if health is not Health.LOST:
                    continue
                where = chunk.chunk
                holders = insight.sound_holders(where.handle, where.version)
                if holders:
                    wrong.append(f"chunk {where.handle:#x} was called lost, and {', '.join(holders)} had it")
    return tuple(wrong)


# Judging


def judge_trash(history: History, records: Records, grace_seconds: float, *, judge: str) -> Iterator[str]:
    """Whether everything deleted was kept for its time, and for the time that its directory had said. For runs in which
    no clock is set.

    The master that forgets a name looks at its own clock, and the one that gave it looked at another, if the masters
    changed. So the time may be shorter by as much as the two clocks, which may drift, are apart.
    """
    deleted: dict[str, tuple[float, float, str]] = {}
    names: dict[str, str] = {}  # what an operation was kept as
    for moment, record in records:
        event = record.event
        if isinstance(event, FileDeleted | FileReplaced):
            # The time counts from when it was decided. With several masters it is told when all in sync have it.
            waited = max(0, record.wall_microseconds - deletion_of(event.hidden).stamp) / 1e6
            deleted[root_of(event.hidden)] = moment - waited, _ahead(moment, record), event.path
            names.setdefault(record.cause, event.hidden)
        elif isinstance(event, FileReclaimed) and not record.cause and event.path.startswith("/.deleted/"):
            when, ahead, path = deleted.get(root_of(event.path), (moment, 0.0, ""))
            apart = abs(_ahead(moment, record) - ahead)
            told = deletion_of(event.path).kept_seconds
            kept = grace_seconds if told is None else float(told)
            if path and moment - when < kept - apart - 0.1:
                yield (
                    f"at {moment:.3f} s: {event.path}, deleted as {path} {moment - when:.1f} s before, was forgotten; "
                    f"expected to be kept for {kept:g} s"
                )
    yield from _judge_word(history, names, judge)


def _ahead(moment: float, record: Record) -> float:
    """How far the clock of a record's node is ahead of the true time, up to a constant; seconds."""
    return record.wall_microseconds / 1e6 - moment


def _judge_word(history: History, names: dict[str, str], judge: str) -> Iterator[str]:
    """What one client says of a directory that is its own, and what becomes of its deletions there."""
    said: int | None = None
    for operation in history.operations:
        if operation.client != judge or not operation.path.startswith(KEPT):
            continue
        is_done = operation.answer is Answer.VALUE
        if operation.kind is Kind.SET_POLICY:
            said = operation.count if is_done and operation.count >= 0 else None
        elif operation.kind is Kind.DELETE and is_done and said is not None:
            hidden = names.get(f"{CAUSE}{operation.number}")
            found = deletion_of(hidden).kept_seconds if hidden else 0
            if hidden and found != said:
                yield f"{operation.told()}: kept for {found} s, its directory says {said} s"


def judge_safe_mode(records: Records) -> Iterator[str]:
    """Whether nothing was done that safe mode forbids, by any master."""
    starting: dict[str, bool] = {}
    by_hand: dict[str, bool] = {}
    for moment, record in records:
        event, node = record.event, record.node
        if not node.startswith("master"):
            continue
        is_by_hand = by_hand.get(node, False)
        if isinstance(event, LogReplayed | MasterStoodDown):
            starting[node], by_hand[node] = True, False
        elif isinstance(event, SafeModeEntered):
            by_hand[node] = True
        elif isinstance(event, SafeModeLeft):
            starting[node], by_hand[node] = False, is_by_hand and not event.by_hand
        elif (is_by_hand and isinstance(event, _NAMES)) or (
            (starting.get(node) or is_by_hand) and isinstance(event, _ORDERS)
        ):
            why = "an operator keeps the master" if is_by_hand else "the master has just started and is"
            yield f"at {moment:.3f} s: {type(event).__name__} though {why} in safe mode"


async def judge_check(client: Client, insight: Insight) -> list[str]:
    """Whether a check at rest finds every chunk, and finds it at its goal or above, on the servers that have it."""
    core: Any = insight.core()
    found: dict[int, tuple[Health, tuple[str, ...]]] = {}
    try:
        async for page in client.operators.status_pages("/", chunks=CHUNKS_A_PAGE):
            for file in by_file(page.chunks):
                for chunk, health in file.chunks:
                    found[chunk.chunk.handle] = health, tuple(replica.server for replica in chunk.chunk.replicas)
    except TabletopError as error:
        return [f"the check failed: {error.message}"]
    expected = dict.fromkeys(core.state.chunks.handles()) if core is not None else {}
    wrong = [f"chunk {handle:#x} was not found by the check" for handle in expected if handle not in found]
    for handle, (health, servers) in found.items():
        if handle not in expected:
            continue  # Forgotten since.
        holders = insight.sound_holders(handle, core.state.chunks.version(handle))
        # A chunk that is being moved has a copy more for a while, and one that is to go counts no more.
        if health not in (Health.HEALTHY, Health.ABOVE_GOAL) or not set(servers) <= set(holders):
            wrong.append(
                f"the check calls chunk {handle:#x} {health.value}, on {', '.join(servers) or 'nobody'}; its disks: "
                f"{', '.join(holders) or 'nobody'}"
            )
    return wrong


def enters_safe_mode(operations: Iterable[PlannedOperation]) -> bool:
    """Whether an operator may leave the cluster in safe mode."""
    return any(planned.kind is Kind.ENTER_SAFE_MODE for planned in operations)
