"""Tablets are split and merged without rewriting a byte: their files are shared, clipped to their rows (BT 5.2, 6)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.errors import Conflict, Corrupted, InvalidRequest
from runtime.events import MemorySink
from runtime.real.world import RealWorld
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import Options, PolicySettings
from tablet.server.folders import DiskFolders
from tablet.server.tablets import Tablets

ROWS = [b"row%04d" % number for number in range(1000)]
OPTIONS = Options(memtable_bytes=40_000, policy_settings=PolicySettings(fan_in=100, max_tables=200), stall_tables=300)


@asynccontextmanager
async def opened(folder: Path, options: Options = OPTIONS, *, segment_bytes: int = 1 << 24) -> AsyncIterator[Tablets]:
    world = RealWorld(node="test", root=folder, token="", sink=MemorySink())
    folders = DiskFolders(world.disk, "tablets")
    await folders.prepare()
    tablets = await Tablets.open(folders, world, options)
    try:
        yield tablets
    finally:
        tablets.check_invariants()
        await tablets.close()
        await world.close()


async def with_rows(tablets: Tablets) -> str:
    await tablets.create_table("users")
    await tablets.create_family("users", "f")
    for row in ROWS:
        await tablets.write("users", row, [SetCell(b"f:a", b"v" * 100, 1)])
        await tablets.do_some_housework()
    (name,) = tablets.catalogue.names()
    return name


async def found(tablets: Tablets) -> list[bytes]:
    rows = [row.key async for row in tablets.scan("users")]
    assert [row for row in ROWS if await tablets.get("users", row, b"f:a") is not None] == rows
    return rows


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*.sst")}


async def test_a_split_shares_the_files_and_writes_none(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        name = await with_rows(tablets)
        await tablets.named(name).flush()
        before = files(tmp_path)
        assert len(before) > 3
        lower, upper = await tablets.split(name)
        assert files(tmp_path) == before
        assert await found(tablets) == ROWS
        sides = [tablets.named(side).state.manifest for side in (lower, upper)]
        assert sides[0].end_row == sides[1].start_row
        for side in sides:
            charged = sum(reference.charged_bytes for reference in side.references())
            assert 0.3 < charged / sum(path.stat().st_size for path in tmp_path.rglob("*.sst")) < 0.7
        with pytest.raises(InvalidRequest, match="is not in this tablet"):
            await tablets.named(lower).get(ROWS[-1], b"f:a")
    async with opened(tmp_path) as tablets:
        assert tablets.catalogue.names() == [lower, upper]
        assert await found(tablets) == ROWS


async def test_a_shared_file_goes_when_the_last_tablet_has_let_go_of_it(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        name = await with_rows(tablets)
        lower, upper = await tablets.split(name)
        folder = tmp_path / "tablets" / name
        assert list(folder.glob("*.sst")) and not list(folder.glob("manifest-*"))
        await tablets.named(lower).compact()
        await tablets.sweep()
        assert list(folder.glob("*.sst"))
        await tablets.named(upper).compact()
        await tablets.sweep()
        assert not folder.exists()
        assert await found(tablets) == ROWS
        assert len(files(tmp_path)) == 2


async def test_a_file_of_a_live_tablet_stays_as_long_as_a_neighbour_refers_to_it(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        lower, upper = await tablets.split(await with_rows(tablets))
        whole = await tablets.merge(lower, upper)
        await tablets.named(whole).compact()
        low, high = await tablets.split(whole)
        (shared,) = files(tmp_path)
        await tablets.named(low).compact()
        await tablets.sweep()
        assert shared in files(tmp_path)
        assert await found(tablets) == ROWS
        await tablets.named(high).compact()
        await tablets.sweep()
        assert shared not in files(tmp_path)


async def test_a_merge_undoes_a_split_and_refers_to_each_file_once(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        name = await with_rows(tablets)
        await tablets.named(name).flush()
        before = tablets.named(name).state.manifest.references()
        lower, upper = await tablets.split(name)
        whole = await tablets.merge(lower, upper)
        after = tablets.named(whole).state.manifest.references()
        assert [(r.file_bytes, r.spans, r.charged_bytes) for r in after] == [
            (r.file_bytes, r.spans, r.charged_bytes) for r in before
        ]
        assert await found(tablets) == ROWS
    async with opened(tmp_path) as tablets:
        assert await found(tablets) == ROWS


async def test_what_is_written_on_either_side_of_a_split_is_there_after_the_merge_and_after_compactions(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        lower, upper = await tablets.split(await with_rows(tablets), ROWS[500])
        for turn in range(3):
            for row in (ROWS[turn], ROWS[499], ROWS[500], ROWS[900 + turn]):
                await tablets.write("users", row, [SetCell(b"f:a", b"turn %d" % turn, 10 + turn)])
            await tablets.named(upper).flush()
            if turn == 1:
                await tablets.named(upper).compact()
            await tablets.named(lower).flush()
        whole = tablets.named(await tablets.merge(lower, upper))
        whole.check_invariants()
        await tablets.write("users", ROWS[499], [SetCell(b"f:a", b"last", 99)])
        await whole.flush()
        while len(group := whole.state.manifest.tables["default"]) > 3:  # Neighbours of both sides.
            middle = len(group) // 2
            await compact_these(whole, [reference.number for reference in group[middle - 1 : middle + 1]])
            whole.check_invariants()
        for row, value in ((ROWS[0], b"turn 0"), (ROWS[499], b"last"), (ROWS[500], b"turn 2"), (ROWS[901], b"turn 1")):
            assert await tablets.get("users", row, b"f:a") == value
        await whole.compact()
        assert await found(tablets) == ROWS


async def compact_these(engine, numbers):
    state = engine.state
    tables = [table for table in state.view.tables["default"] if table.number in numbers]
    made = await engine.housekeeping._write_merged("default", tables, drop_markers=False)
    await state.install_compaction("default", numbers, made)
    state.growing.clear_compaction()


async def test_only_neighbours_are_merged_and_only_tablets_with_the_same_snapshots(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        lower, rest = await tablets.split(await with_rows(tablets), ROWS[300])
        middle, upper = await tablets.split(rest, ROWS[600])
        with pytest.raises(InvalidRequest, match="are no neighbours"):
            await tablets.merge(lower, upper)
        await tablets.named(middle).save_snapshot("s")
        with pytest.raises(Conflict, match=r"different snapshots \(none; s\)"):
            await tablets.merge(lower, middle)
        await tablets.named(middle).delete_snapshot("s")
        await tablets.named(upper).create_family("g")
        with pytest.raises(Conflict, match="different families"):
            await tablets.merge(middle, upper)
        with pytest.raises(InvalidRequest, match="does not part"):
            await tablets.split(lower, ROWS[300])
        await tablets.write("users", ROWS[1], [SetCell(b"f:a", b"still written", 5)])


async def test_an_empty_tablet_has_no_row_to_split_at_and_takes_writes_still(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        await tablets.create_table("users")
        await tablets.create_family("users", "f")
        (name,) = tablets.catalogue.names()
        with pytest.raises(InvalidRequest, match="holds no row to split at"):
            await tablets.split(name)
        await tablets.write("users", b"a", [SetCell(b"f:a", b"1", 5)])
        await tablets.split(name, b"m")
        assert await tablets.get("users", b"a", b"f:a") == b"1"


async def test_a_dropped_table_leaves_nothing_behind(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        await tablets.split(await with_rows(tablets))
        await tablets.drop_table("users")
        assert tablets.catalogue.names() == []
        assert not files(tmp_path)
        await tablets.create_table("users", split_rows=[b"m"])
        assert [row.key async for row in tablets.scan("users")] == []
    assert sorted(path.name for path in (tmp_path / "tablets").iterdir() if path.is_dir()) == [
        "log",
        "users-000004",
        "users-000005",
    ]


async def test_a_tablet_that_cannot_be_opened_keeps_nobody_from_serving_and_no_file_is_removed(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        lower, upper = await tablets.split(await with_rows(tablets), ROWS[500])
        await tablets.named(upper).compact()
    path = max((tmp_path / "tablets" / lower).glob("manifest-*"))
    manifest = path.read_bytes()
    path.write_bytes(manifest[:-10])
    before = files(tmp_path)
    async with opened(tmp_path) as tablets:
        assert list(tablets.unreadable) == [lower]
        assert await tablets.get("users", ROWS[900], b"f:a") == b"v" * 100
        with pytest.raises(Corrupted):
            await tablets.get("users", ROWS[1], b"f:a")
        await tablets.sweep()
        assert files(tmp_path) == before, "nobody knows to which files the other one refers"
        path.write_bytes(manifest)
        await tablets.mend()
        assert await found(tablets) == ROWS


async def test_a_split_goes_on_to_its_end_though_its_caller_is_cancelled(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        name = await with_rows(tablets)
        splitting = asyncio.ensure_future(tablets.split(name))
        for _ in range(5):
            await asyncio.sleep(0)
        splitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await splitting
        assert len(tablets.catalogue.names()) == 2
        assert await found(tablets) == ROWS


async def test_a_file_that_is_nobodys_stays_where_a_tablet_was(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        name = await with_rows(tablets)
        (tmp_path / "tablets" / name / "notes.txt").write_text("mine")
        await tablets.drop_table("users")
    assert [path.name for path in (tmp_path / "tablets" / name).iterdir() if path.name != "LOCK"] == ["notes.txt"]


async def values(tablets: Tablets) -> dict[bytes, bytes]:
    return {row.key: row.value("f:a") or b"" async for row in tablets.scan("users")}


async def test_both_tablets_of_a_split_have_their_part_of_a_snapshot(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        name = await with_rows(tablets)
        await tablets.named(name).save_snapshot("s")
        before = await values(tablets)
        lower, upper = await tablets.split(name, ROWS[500])
        for row in ROWS[::50]:
            await tablets.write("users", row, [SetCell(b"f:a", b"changed", 2)])
        for part in (lower, upper):
            assert await tablets.named(part).snapshots() == ["s"]
            await tablets.named(part).compact()
        await tablets.sweep()
    async with opened(tmp_path) as tablets:
        after = await values(tablets)
        assert after != before
        await tablets.named(lower).restore_snapshot("s")
        expected = {row: (before if row < ROWS[500] else after)[row] for row in ROWS}
        assert await values(tablets) == expected
        await tablets.named(upper).restore_snapshot("s")
        assert await values(tablets) == before


async def test_files_of_a_snapshot_go_when_neither_tablet_of_a_split_has_it_any_more(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        name = await with_rows(tablets)
        await tablets.named(name).save_snapshot("s")
        held = set(files(tmp_path))
        lower, upper = await tablets.split(name, ROWS[500])
        for part in (lower, upper):
            await tablets.named(part).compact()
        await tablets.named(lower).delete_snapshot("s")
        await tablets.sweep()
        of_upper = {file for file in held if file in files(tmp_path)}
        assert of_upper
        await tablets.named(upper).delete_snapshot("s")
        await tablets.sweep()
        assert not held & set(files(tmp_path))
        assert len(await found(tablets)) == len(ROWS)


async def test_a_merged_tablet_has_the_snapshots_that_both_had(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        name = await with_rows(tablets)
        await tablets.named(name).save_snapshot("s")
        before = await values(tablets)
        lower, upper = await tablets.split(name, ROWS[500])
        for row in ROWS[::7]:
            await tablets.write("users", row, [SetCell(b"f:a", b"changed", 2)])
        for part in (lower, upper):
            await tablets.named(part).compact()
            await tablets.named(part).save_snapshot("later")
        later = await values(tablets)
        whole = tablets.named(await tablets.merge(lower, upper))
        assert await whole.snapshots() == ["later", "s"]
        for row in ROWS[::5]:
            await tablets.write("users", row, [SetCell(b"f:a", b"changed again", 3)])
        await whole.flush()
        for snapshot, content in (("s", before), ("later", later), ("s", before)):
            await whole.restore_snapshot(snapshot)
            assert await values(tablets) == content
            await tablets.write("users", ROWS[3], [SetCell(b"f:a", b"after it", 4)])
            await whole.flush()
            numbers = [reference.number for reference in whole.state.manifest.references()]
            assert len(set(numbers)) == len(numbers)
        lower, upper = await tablets.split(whole.state.manifest.tablet, ROWS[200])
        assert await tablets.named(upper).snapshots() == ["later", "s"]


async def test_while_a_snapshot_of_a_split_cannot_be_read_no_file_goes(tmp_path: Path):
    async with opened(tmp_path) as tablets:
        name = await with_rows(tablets)
        await tablets.named(name).save_snapshot("s")
        held = set(files(tmp_path))
        lower, upper = await tablets.split(name, ROWS[500])
    snapshot = tmp_path / "tablets" / lower / "snapshot-s"
    whole = snapshot.read_bytes()
    snapshot.write_bytes(whole[:-1])
    async with opened(tmp_path) as tablets:
        await tablets.named(upper).delete_snapshot("s")
        for part in (lower, upper):
            await tablets.named(part).compact()
        await tablets.sweep()
        assert held <= set(files(tmp_path))
        with pytest.raises(Corrupted):
            await tablets.split(lower, ROWS[100])
        assert len(await found(tablets)) == len(ROWS)
    snapshot.write_bytes(whole)
    async with opened(tmp_path) as tablets:
        await tablets.named(lower).restore_snapshot("s")
        assert len(await found(tablets)) == len(ROWS)
