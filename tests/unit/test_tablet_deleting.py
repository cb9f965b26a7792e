"""A range of rows is deleted by one switch of the manifest: no file changes, and what is written later is seen."""

import asyncio
import random
from pathlib import Path

import pytest

from runtime.errors import InvalidRequest
from tablet.engine.engine import Engine
from tablet.engine.model.spans import EVERYWHERE, contains, overlap, united, within, without
from tablet.engine.world.options import Options
from tests.unit.tablet_support import open_engine

ROWS = [b"row%03d" % number for number in range(100)]


async def with_rows(engine: Engine, *, flushed: bool = True) -> None:
    await engine.create_family("f")
    for row in ROWS:
        await engine.put(row, b"f:a", b"v" * 100)
    if flushed:
        await engine.flush()


async def found(engine: Engine) -> list[bytes]:
    """What a scan finds, which must be what one backwards and single reads find."""
    rows = [row.key async for row in engine.scan()]
    assert [row.key async for row in engine.scan(reverse=True)] == rows[::-1]
    assert [row for row in ROWS if await engine.get(row, b"f:a") is not None] == rows
    return rows


@pytest.mark.parametrize("flushed", [True, False])
async def test_a_deleted_range_is_gone_at_once_and_after_a_reopening(tmp_path: Path, flushed: bool):
    left = ROWS[:20] + ROWS[30:]
    async with open_engine(tmp_path) as engine:
        await with_rows(engine, flushed=flushed)
        await engine.delete_rows(ROWS[20], ROWS[30])
        assert await found(engine) == left
        engine.check_invariants()
    async with open_engine(tmp_path) as engine:
        assert await found(engine) == left
        await engine.compact()
        assert await found(engine) == left
        (reference,) = engine.state.manifest.references()
        assert (reference.spans, reference.properties.rows) == (EVERYWHERE, 90)
        assert reference.properties.markers == 0


async def test_what_is_written_to_a_deleted_range_later_is_seen(tmp_path: Path):
    async with open_engine(tmp_path) as engine:
        await with_rows(engine)
        assert await engine.get(ROWS[25], b"f:a") == await engine.get(ROWS[25], b"f:a") == b"v" * 100
        await engine.delete_rows(ROWS[20], ROWS[30])
        assert await engine.get(ROWS[25], b"f:a") is None
        await engine.put(ROWS[25], b"f:a", b"new")
        assert await found(engine) == [*ROWS[:20], ROWS[25], *ROWS[30:]]
    async with open_engine(tmp_path) as engine:
        await engine.flush()
        assert await engine.get(ROWS[25], b"f:a") == b"new"
        await engine.compact()
        assert await engine.get(ROWS[25], b"f:a") == b"new"


async def test_deleting_all_rows_leaves_no_reference_and_one_small_file(tmp_path: Path):
    async with open_engine(tmp_path) as engine:
        await with_rows(engine)
        await engine.delete_rows()
        assert engine.state.manifest.references() == []
        assert await found(engine) == []
        assert not list(tmp_path.glob("*.sst"))


async def test_a_deletion_does_not_flush_what_is_outside_of_its_range(tmp_path: Path):
    async with open_engine(tmp_path) as engine:
        await with_rows(engine)
        await engine.put(ROWS[0], b"f:a", b"in memory")
        await engine.delete_rows(ROWS[50])
        assert len(engine.state.memtable) == 1
        assert await found(engine) == ROWS[:50]
    async with open_engine(tmp_path) as engine:
        assert await engine.get(ROWS[0], b"f:a") == b"in memory"


async def test_a_snapshot_keeps_the_rows_that_are_deleted_after_it(tmp_path: Path):
    async with open_engine(tmp_path) as engine:
        await with_rows(engine)
        await engine.save_snapshot("before")
        await engine.delete_rows(ROWS[10])
        await engine.compact()
        assert await found(engine) == ROWS[:10]
        await engine.restore_snapshot("before")
        assert await found(engine) == ROWS


async def test_the_policies_count_what_is_left_of_a_file(tmp_path: Path):
    async with open_engine(tmp_path, Options(memtable_bytes=1 << 23)) as engine:
        await engine.create_family("f")
        choice = random.Random(1)
        for number in range(4000):
            await engine.put(b"%05d" % number, b"f:a", choice.randbytes(200))
        await engine.flush()
        (whole,) = engine.state.manifest.references()
        await engine.delete_rows(b"01000")
        (left,) = engine.state.manifest.references()
        assert left.file_bytes == whole.file_bytes == whole.charged_bytes
        assert 0.2 < left.charged_bytes / whole.file_bytes < 0.4


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_a_deletion_and_a_major_compaction_do_not_block_one_another(tmp_path: Path, steps: int):
    async with open_engine(tmp_path) as engine:
        await with_rows(engine)
        await engine.save_snapshot("all")
        await engine.put(ROWS[90], b"f:a", b"in memory")
        compacting = asyncio.ensure_future(engine.compact())
        for _ in range(steps):
            await asyncio.sleep(0)
        await asyncio.gather(compacting, engine.delete_rows(ROWS[10], ROWS[20]))
        assert await found(engine) == ROWS[:10] + ROWS[20:]
        compacting = asyncio.ensure_future(engine.compact())
        for _ in range(steps):
            await asyncio.sleep(0)
        await asyncio.gather(compacting, engine.restore_snapshot("all"))
        assert await found(engine) == ROWS


async def test_a_range_without_rows_is_refused(tmp_path: Path):
    async with open_engine(tmp_path) as engine:
        with pytest.raises(InvalidRequest, match="no rows from"):
            await engine.delete_rows(b"b", b"a")


@pytest.mark.parametrize("seed", range(20))
def test_spans_do_as_sets_of_rows_do(seed: int):
    choice = random.Random(seed)
    rows = [b"%02d" % number for number in range(30)]

    def range_of(spans):
        return {row for row in rows if contains(spans, row)}

    def some():
        return choice.choice([b"", *rows]), choice.choice([b"", *rows])

    spans, other = EVERYWHERE, ()
    for _ in range(40):
        start, end = some()
        if end and start >= end:
            continue
        inside = {row for row in rows if start <= row and (not end or row < end)}
        assert range_of(within(spans, start, end)) == range_of(spans) & inside
        less = without(spans, start, end)
        assert range_of(less) == range_of(spans) - inside
        more = united(other, within(spans, start, end))
        assert range_of(more) == range_of(other) | (range_of(spans) & inside)
        assert overlap(spans, more) == any(within(spans, low, high) for low, high in more)
        spans, other = (less, more) if choice.random() < 0.7 else (united(spans, more), less)
        assert united(spans, ()) == spans
