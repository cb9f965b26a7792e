"""Compactions: what to merge, and the merging (BT 5.4).

The problem. Each minor compaction adds an SSTable; with their number grows the work of every read. Merging bounds the
number, but writes everything again: *write amplification*. How to trade one for the other is a policy.

The idea. A plan is a pure function of the files' sizes, so that policies can be compared in a small simulator and
tested without a disk. Whatever the policy, a plan takes *neighbours in age*, as `merge.py` needs; and if it takes the
oldest file along, nothing is left that a deletion could hide, so deletions are dropped.

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

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from runtime.errors import InvalidRequest
from tablet.merge import EMPTY, Chunk, collect_chunk, merge_chunks
from tablet.schema import Schema
from tablet.sources import MergeCursor, TableSource
from tablet.sstable_reader import SSTable
from tablet.sstable_writer import SSTableWriter

_SIMILAR = 2.0
"""How much larger than the mean of the newer ones a file may be and still count as of their size."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a policy knows about an SSTable."""

    name: str
    number: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """`fan_in`: how many files to merge at a time. `max_tables`: how many may stand before any merge will do."""

    fan_in: int = 4
    max_tables: int = 12


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


def plan_major(tables: Sequence[TableSize]) -> CompactionPlan | None:
    """Merge all files into exactly one, without deletions or deleted data (BT 5.4)."""
    return _plan(tables, 0, len(tables), "major") if tables else None


POLICIES: dict[str, Policy] = {"size_tiered": size_tiered, "leveling": leveling, "everything": everything}


def policy_named(name: str) -> Policy:
    """A policy by its name. Raises InvalidRequest with the names there are."""
    if name not in POLICIES:
        raise InvalidRequest(f"there is no compaction policy {name!r}; choose one of {', '.join(POLICIES)}")
    return POLICIES[name]


async def apply_compaction(
    tables: Sequence[SSTable],
    writer: SSTableWriter,
    *,
    schema: Schema,
    now: int,
    drop_markers: bool,
    bounds: tuple[bytes, bytes],
    breathe: Callable[[], Awaitable[None]],
) -> None:
    """Merge `tables` (newest first) into `writer`, a slice of some hundred kilobytes at a time. The blocks do not go
    through the cache, which belongs to the readers."""
    start, end = bounds
    cursor = MergeCursor([TableSource(table, start=start, end=end, cached=False) for table in tables], merge_chunks)
    while (chunk := await cursor.next()) is not EMPTY:
        await write_slice(chunk, writer, schema=schema, now=now, drop_markers=drop_markers)
        await breathe()


async def write_slice(chunk: Chunk, writer: SSTableWriter, *, schema: Schema, now: int, drop_markers: bool) -> None:
    """One slice of a flush or a compaction: collect the garbage, cut blocks, write them."""
    writer.add(collect_chunk(chunk, schema, now, drop_markers=drop_markers))
    await writer.drain()


def _plan(tables: Sequence[TableSize], start: int, end: int, reason: str) -> CompactionPlan:
    chosen = tables[start:end]
    return CompactionPlan(
        numbers=tuple(table.number for table in chosen),
        names=tuple(table.name for table in chosen),
        read_bytes=sum(table.file_bytes for table in chosen),
        drops_deletions=end == len(tables),
        reason=reason,
    )
