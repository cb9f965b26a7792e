"""Policies: which SSTables to merge, and when (BT 5.4).

The problem. Each minor compaction adds an SSTable; with their number grows the work of every read. Merging bounds the
number, but writes everything again: *write amplification*. How to trade one for the other is a policy.

The idea. A plan is a pure function of the files' sizes, so that policies can be compared in a small simulator and
tested without a disk. Whatever the policy, a plan takes *neighbours in age*, as `merge.py` needs; and if it takes the
oldest file along, nothing is left that a deletion could hide, so deletions are dropped. Files that could not be read
(`quarantine.py`) are planned around: they part their neighbours into runs, each of which is merged by itself.

    size_tiered   merge `fan_in` neighbours of about one size: each row is rewritten log(fan_in)(n) times; the default
    leveling      keep every run `fan_in` times larger than the next newer one: fewer files to read, more rewriting
    everything    merge all, as soon as there are `fan_in`: one file to read, most rewriting

>>> sizes = [TableSize(f"{n}.sst", n, megabytes << 20) for n, megabytes in ((9, 8), (8, 8), (7, 9), (6, 8), (1, 64))]
>>> size_tiered(sizes, PolicySettings()).numbers
(9, 8, 7, 6)
>>> leveling(sizes, PolicySettings()).numbers
(9, 8, 7, 6, 1)

The paper's merging compaction also takes the memtable along. Ours does not: the memtable is flushed by itself.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace

from runtime.errors import InvalidRequest
from tablet.engine.maintenance.quarantine import runs_between
from tablet.engine.world.options import PolicySettings

_SIMILAR = 2.0
"""How much larger than the mean of the newer ones a file may be and still count as of their size."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a policy knows about an SSTable. `garbage_seconds`: for how long it has held something that a compaction
    might remove: a deletion, a family that was dropped, a cell that is too old."""

    name: str
    number: int
    file_bytes: int
    garbage_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """Merge these neighbours (newest first) into one. `drops_deletions`: the oldest file is among them."""

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    read_bytes: int
    drops_deletions: bool
    reason: str


Policy = Callable[[Sequence[TableSize], PolicySettings], CompactionPlan | None]


def size_tiered(tables: Sequence[TableSize], settings: PolicySettings) -> CompactionPlan | None:
    """Merge the newest `fan_in` or more neighbours of about one size."""
    for start in range(len(tables)):
        end, total = start, 0
        while end < len(tables) and (end == start or tables[end].file_bytes <= _SIMILAR * total / (end - start)):
            total += tables[end].file_bytes
            end += 1
        if end - start >= settings.fan_in:
            return _plan(tables, start, end, f"{end - start} of about one size")
    return too_many(tables, settings)


def leveling(tables: Sequence[TableSize], settings: PolicySettings) -> CompactionPlan | None:
    """Merge the newest file that is not `fan_in` times smaller than its elder with it, and so on down."""
    for start in range(len(tables) - 1):
        end, total = start + 1, tables[start].file_bytes
        while end < len(tables) and tables[end].file_bytes < settings.fan_in * total:
            total += tables[end].file_bytes
            end += 1
        if end - start >= 2:
            return _plan(tables, start, end, f"not {settings.fan_in} times larger from run to run")
    return too_many(tables, settings)


def everything(tables: Sequence[TableSize], settings: PolicySettings) -> CompactionPlan | None:
    """Merge all files into one as soon as there are `fan_in`."""
    if len(tables) < settings.fan_in:
        return None
    return _plan(tables, 0, len(tables), f"{len(tables)} files")


def too_many(tables: Sequence[TableSize], settings: PolicySettings) -> CompactionPlan | None:
    """If there are more than `max_tables`, the cheapest merge of neighbours that brings them back to that number."""
    width = len(tables) - settings.max_tables + 1
    if width < 2:
        return None
    sizes = [table.file_bytes for table in tables]
    start = min(range(len(tables) - width + 1), key=lambda place: sum(sizes[place : place + width]))
    return _plan(tables, start, start + width, f"more than {settings.max_tables} files")


def plan_around(
    tables: Sequence[TableSize], left_out: Container[int], policy: Policy, settings: PolicySettings
) -> CompactionPlan | None:
    """What the policy would merge in one of the runs between the files that are left out. Only a plan with the oldest
    file of all drops deletions: what others hide may stand in a file that is left out, or in an older one.

    >>> sizes = [TableSize(f"{n}.sst", n, 1 << 20) for n in (9, 8, 7, 6, 5, 4)]
    >>> plan = plan_around(sizes, {7}, everything, PolicySettings(fan_in=2))
    >>> plan.numbers, plan.drops_deletions
    ((9, 8), False)
    """
    for run in runs_between(tables, left_out):
        plan = policy(run, settings)
        if plan is not None:
            return replace(plan, drops_deletions=plan.numbers[-1] == tables[-1].number)
    return None


def plan_cleaning(tables: Sequence[TableSize], left_out: Container[int], after_seconds: float) -> CompactionPlan | None:
    """Merge the newest file that has held garbage for too long with all that are older: then what its deletions hide
    goes too, and so do they. Nothing, if one of these files cannot be read.

    >>> sizes = [TableSize("3.sst", 3, 10), TableSize("2.sst", 2, 10, 7200.0), TableSize("1.sst", 1, 10)]
    >>> plan_cleaning(sizes, (), 3600.0).numbers, plan_cleaning(sizes, (), 86_400.0), plan_cleaning(sizes, (1,), 3600.0)
    ((2, 1), None, None)
    """
    for start, table in enumerate(tables):
        if table.garbage_seconds >= after_seconds:
            if any(older.number in left_out for older in tables[start:]):
                return None
            return _plan(tables, start, len(tables), f"garbage for {table.garbage_seconds / 3600:.1f} hours")
    return None


def plan_major(tables: Sequence[TableSize]) -> CompactionPlan | None:
    """Merge all files into exactly one, without deletions or deleted data (BT 5.4)."""
    return _plan(tables, 0, len(tables), "major") if tables else None


POLICIES: dict[str, Policy] = {"size_tiered": size_tiered, "leveling": leveling, "everything": everything}


def policy_named(name: str) -> Policy:
    """A policy by its name. Raises InvalidRequest with the names there are."""
    if name not in POLICIES:
        raise InvalidRequest(f"there is no compaction policy {name!r}; choose one of {', '.join(POLICIES)}")
    return POLICIES[name]


def _plan(tables: Sequence[TableSize], start: int, end: int, reason: str) -> CompactionPlan:
    chosen = tables[start:end]
    return CompactionPlan(
        numbers=tuple(table.number for table in chosen),
        names=tuple(table.name for table in chosen),
        read_bytes=sum(table.file_bytes for table in chosen),
        drops_deletions=end == len(tables),
        reason=reason,
    )
