"""The nearest rows of a range: what a scan takes first, for many scans take three rows and are left.

A source (`sources.py`) is for many rows: it remembers where it is, and takes whole blocks. Here nothing is remembered.
Each SSTable and each memtable is asked for its few first rows of the range, and what lies up to the smallest last row
of these is known: no source has another row there. The next question begins after it.

This is a plain function which gives the rows or, where something must be read first, a coroutine that reads it and goes
on (`world/eventual.py`). The memtables are asked at the end, all at one moment: so each row is seen as of that moment.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Coroutine
from typing import Any

from tablet.engine.model.chunks import Chunk
from tablet.engine.sstable.reader import Few
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.merge import merge_chunks
from tablet.engine.tree.sources import restricted, unite_chunks
from tablet.engine.tree.view import Asked
from tablet.engine.world.eventual import Eventual, finished

Nearest = tuple[Chunk, bytes | None]
"""Merged rows, perhaps none, and the row up to which these are all; None: these are all of the range."""


def nearest(asked: Asked, start: bytes, end: bytes, few: int, last: bool) -> Eventual[Nearest]:
    """The first rows with start <= row < end (empty: no bound), or the `last` ones, from at most `few` of each source.
    Raises Corrupted, DiskFailure."""
    found: list[Few] = []
    for table in asked.tables:
        rows = table.few_rows(start, end, few, last)
        if not isinstance(rows, tuple):
            return _nearest_later(asked, start, end, few, last, found, rows)
        found.append(rows)
    return _merged(asked, start, end, few, last, found)


async def _nearest_later(
    asked: Asked,
    start: bytes,
    end: bytes,
    few: int,
    last: bool,
    found: list[Few],
    reading: Coroutine[Any, Any, Few],
) -> Nearest:
    found.append(await reading)
    for table in asked.tables[len(found) :]:
        found.append(await finished(table.few_rows(start, end, few, last)))
    return _merged(asked, start, end, few, last, found)


def _merged(asked: Asked, start: bytes, end: bytes, few: int, last: bool, found: list[Few]) -> Nearest:
    """What all sources have of the rows up to the first one after which any of them may have more."""
    edge = 0 if last else -1
    bounds = [chunk.rows[edge] for chunk, more in found if more]
    bound = _known_up_to(bounds, last)
    if bound is not None and last:
        start = bound
    elif bound is not None:
        end = bound + b"\0"
    recent: list[tuple[Memtable, list[bytes]]] = []
    for memtable in asked.memtables:
        if rows := memtable.few_rows(start, end, few, last):
            recent.append((memtable, rows))
            if len(rows) == few:
                bounds.append(rows[edge])
    if not recent and len(found) == 1:
        return found[0][0], bound
    bound = _known_up_to(bounds, last)
    stored = [chunk for chunk, _ in found]
    parts: list[Chunk] = []
    for memtable, rows in recent:
        if bound is not None:
            rows = rows[bisect_left(rows, bound) :] if last else rows[: bisect_right(rows, bound)]
        chunk = memtable.encoded(rows)
        parts.append(chunk if asked.families is None else restricted(chunk, asked.families))
    if bound is not None:
        stored = [chunk.since(bound) if last else chunk.up_to(bound) for chunk in stored]
    if len(asked.groups) == 1:
        parts += stored
    else:
        left = iter(stored)
        parts.append(unite_chunks([merge_chunks([next(left) for _ in tables]) for tables in asked.groups]))
    return merge_chunks(parts), bound


def _known_up_to(bounds: list[bytes], last: bool) -> bytes | None:
    """The row up to which all is known, where each source that may have more has told its rows up to one of these."""
    return (max(bounds) if last else min(bounds)) if bounds else None
