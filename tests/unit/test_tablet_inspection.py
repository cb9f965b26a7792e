"""Reports on a tablet's folder: the tree, the dump of a file, the verification of every byte, and a recovery."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

import tablet.engine
from runtime.errors import Conflict, Corrupted, IncompatibleFormat, NotFound
from runtime.events import Record
from runtime.real.disk import RealDisk
from tablet.embedded.inline import InlineWorld, RecentEvents
from tablet.engine.model.operations import DeleteFamily, SetCell
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.sstable.format import FOOTER_BYTES, MAGIC
from tablet.engine.sstable.properties import TableProperties
from tablet.engine.sstable.writer import SSTableWriter
from tablet.engine.tree.manifest import FILE, load_current, load_manifest
from tablet.engine.world.events import TabletOpened
from tablet.engine.world.names import LOCK_NAME, MARK_NAME
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage
from tablet.tools.dumping import Part, dump, kind_of
from tablet.tools.inspection import inspect
from tablet.tools.read_only import ReadOnlyStorage, held, opened_for_reading
from tablet.tools.verification import Verdict, verify_file, verify_folder
from tests.unit.tablet_support import chunk_of, make_table

BESIDE = (LOCK_NAME, MARK_NAME)
"""Files that no manifest speaks of."""

T = TypeVar("T")

KEEPS_LOG = Options(flush_on_close_bytes=1 << 40)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def collected(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


def storage_of(folder: Path) -> DiskStorage:
    return DiskStorage(RealDisk(folder))


def verified(folder: Path) -> list[Verdict]:
    return run(collected(verify_folder(storage_of(folder))))


def problems_in(folder: Path) -> list[str]:
    return [problem for verdict in verified(folder) for problem in verdict.problems]


def remarks_in(folder: Path) -> list[str]:
    return [remark for verdict in verified(folder) for remark in verdict.remarks]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tablet with one SSTable, a log with three records, and nothing else."""
    place = tmp_path / "tablet"
    with tablet.engine.open(place, KEEPS_LOG) as table:
        table.create_family("page")
        for number in range(6):
            table.put(f"row{number}", "page:title", f"title {number}", timestamp=number + 1)
        table.flush()
        table.put("row2", "page:title", "newer", timestamp=50)
        table.write("row7", SetCell(b"page:a", b"A", 60), DeleteFamily(b"page"))
        table.delete("row3")
    return place


def test_the_tree_shows_files_ranges_filters_and_what_a_read_costs(folder: Path):
    report = run(inspect(storage_of(folder)))
    (group,) = report.groups
    (found,) = group.tables
    assert (found.properties.rows, found.properties.first_row, found.properties.last_row) == (6, b"row0", b"row5")
    assert found.filters is not None
    assert found.filters.entries == 12
    assert found.filters.measured_rate < 10 * found.filters.wanted_rate
    assert group.families == ("page",)
    assert (group.amplification.scan_tables, group.amplification.space) == (1, 1.0)
    assert group.next_compaction == "none is due"
    assert {file.kind for file in report.files if file.needed} == {"manifest", "log"}
    assert report.file_bytes == sum(len(data) for name, data in bytes_of(folder).items() if name not in BESIDE)
    assert report.problems == []


def test_no_report_changes_a_byte(folder: Path):
    before = bytes_of(folder)
    run(inspect(storage_of(folder)))
    verified(folder)
    run(recovery(folder))
    for name in before:
        if name not in BESIDE:
            run(collected(dump(storage_of(folder), name, cells=True)))
    assert bytes_of(folder) == before


def test_a_storage_that_only_reads_refuses_everything_else(folder: Path):
    storage = ReadOnlyStorage(storage_of(folder))
    for work in (storage.create("x"), storage.remove("x"), storage.rename("x", "y")):
        with pytest.raises(AssertionError):
            run(work)


def test_the_folder_of_a_running_engine_can_be_looked_at(folder: Path):
    with tablet.engine.open(folder, KEEPS_LOG) as table:
        table.put("row9", "page:title", "now")
        assert run(inspect(storage_of(folder))).groups[0].rows == 6
        assert problems_in(folder) == []
        assert run(recovery(folder))[-1].replayed == 4


class MovingStorage(DiskStorage):
    """A running engine: `moves` times a log comes while an SSTable is opened."""

    def __init__(self, folder: Path, moves: int) -> None:
        super().__init__(RealDisk(folder))
        self.folder = folder
        self.moves = moves

    async def open(self, name: str) -> Any:
        if self.moves and name.endswith(".sst"):
            self.moves -= 1
            (self.folder / f"{900 + len(list(self.folder.iterdir())):06}.log").write_bytes(b"")
        return await super().open(name)


def test_a_report_begins_again_if_a_running_engine_moves_on(folder: Path):
    storage = MovingStorage(folder, 2)
    assert run(inspect(storage)).groups[0].rows == 6
    assert storage.moves == 0


def test_a_folder_that_never_holds_still_is_a_conflict(folder: Path):
    with pytest.raises(Conflict, match="in use"):
        run(inspect(MovingStorage(folder, 10**6)))
    with pytest.raises(Conflict, match="in use"):
        run(collected(verify_folder(MovingStorage(folder, 10**6))))


def test_files_that_a_running_engine_removes_or_extends_meanwhile_are_read_as_they_were(folder: Path):
    async def work() -> None:
        async with held(storage_of(folder)) as files:
            before = {name: await (await files.open(name)).read_at(0, 1 << 20) for name in await files.list()}
            log = only(folder, "*.log")
            log.write_bytes(log.read_bytes() + b"more")
            for pattern in ("*.sst", "manifest-*"):
                only(folder, pattern).unlink()
            for name, data in before.items():
                file = await files.open(name)
                assert (await file.read_at(0, 1 << 20), await file.size()) == (data, len(data))
                await file.close()

    run(work())


def test_a_busy_engine_is_verified_without_a_problem(folder: Path):
    """One that writes, flushes and sweeps between any two files that are looked at."""

    async def work() -> list[Verdict]:
        verdicts = []
        async for verdict in verify_folder(storage_of(folder)):
            table.put("row9", "page:title", "x" * 100)
            table.compact()
            verdicts.append(verdict)
        return verdicts

    with tablet.engine.open(folder, KEEPS_LOG) as table:
        verdicts = run(work())
    assert len(verdicts) > 3
    assert [problem for verdict in verdicts for problem in verdict.problems] == []


def test_a_missing_file_is_told_by_its_name(folder: Path):
    name = only(folder, "*.sst")
    name.unlink()
    with pytest.raises(Corrupted, match=name.name):
        run(inspect(storage_of(folder)))
    assert any(name.name in problem for problem in problems_in(folder))


def test_a_folder_without_a_tablet_is_refused(tmp_path: Path):
    with pytest.raises(NotFound, match="no tablet"):
        run(inspect(storage_of(tmp_path)))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(IncompatibleFormat, match=r"notes\.txt"):
        run(inspect(storage_of(tmp_path)))


def test_the_tree_is_shown_though_an_sstable_is_damaged(folder: Path):
    name = only(folder, "*.sst")
    name.write_bytes(name.read_bytes()[:-5])
    report = run(inspect(storage_of(folder)))
    assert report.groups[0].tables[0].properties.rows == 6
    assert "not a whole SSTable" in report.problems[0]


def test_a_sound_tablet_has_no_problems(folder: Path):
    assert problems_in(folder) == []
    assert remarks_in(folder) == []
    assert [verdict.kind for verdict in verified(folder)] == ["manifest", "SSTable", "log", "tablet"]


@pytest.mark.parametrize("pattern", ["*.sst", "manifest-*"])
def test_each_flipped_byte_is_found(folder: Path, pattern: str):
    path = only(folder, pattern)
    whole = path.read_bytes()
    unnoticed = []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x10,)) + whole[place + 1 :])
        kind = "SSTable" if pattern == "*.sst" else "manifest"
        if not run(verify_file(storage_of(folder), path.name, kind)).problems:
            unnoticed.append(place)
    assert unnoticed == []


def test_each_flipped_byte_of_a_log_is_found_or_counts_as_torn(folder: Path):
    path = only(folder, "*.log")
    whole = path.read_bytes()
    unnoticed = []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x10,)) + whole[place + 1 :])
        verdict = run(verify_file(storage_of(folder), path.name, "log"))
        if not verdict.problems and not verdict.remarks:
            unnoticed.append(place)
    assert unnoticed == []


@pytest.mark.parametrize("pattern", ["*.sst", "manifest-*"])
def test_each_truncation_is_found(folder: Path, pattern: str):
    path = only(folder, pattern)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        assert problems_in(folder), f"cut to {size} bytes"


def as_after_a_kill(folder: Path) -> None:
    """Take the mark away, behind which no record can be lost unnoticed."""
    path = only(folder, "*.log")
    mark = dumped(folder, path.name)[-1]
    assert "mark, the records before it are durable" in mark.headline
    path.write_bytes(path.read_bytes()[: mark.offset])


def test_a_torn_tail_is_a_remark_and_no_problem(folder: Path):
    as_after_a_kill(folder)
    path = only(folder, "*.log")
    path.write_bytes(path.read_bytes()[:-3])
    [problem] = problems_in(folder)
    assert "had been durable" in problem, "no write that was torn had been"
    (folder / MARK_NAME).unlink()
    assert problems_in(folder) == []
    assert any("torn write" in remark for remark in remarks_in(folder))


def test_whole_records_after_an_unreadable_one_are_a_problem_though_an_opening_drops_them(folder: Path):
    as_after_a_kill(folder)
    path = only(folder, "*.log")
    data = bytearray(path.read_bytes())
    data[dumped(folder, path.name)[1].offset + 20] ^= 1
    path.write_bytes(data)
    assert any("2 whole records after the unreadable one" in problem for problem in problems_in(folder))


def test_files_that_nothing_refers_to_are_remarks(folder: Path):
    table = only(folder, "*.sst")
    (folder / "000077.sst").write_bytes(table.read_bytes())
    (folder / "000078.sst.new").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    assert problems_in(folder) == []
    assert len(remarks_in(folder)) == 3


def test_a_snapshot_that_lost_a_file_is_a_problem(tmp_path: Path):
    place = tmp_path / "tablet"
    with tablet.engine.open(place) as table:
        table.create_family("f")
        table.put("a", "f:q", "1")
        table.flush()
        table.save_snapshot("before")
        table.put("b", "f:q", "2")
        table.compact()
    manifest = run(load_current(storage_of(place), [path.name for path in place.iterdir()]))
    assert manifest is not None
    kept = {reference.name for reference in manifest.references()}
    (orphan,) = [path for path in place.glob("*.sst") if path.name not in kept]
    assert problems_in(place) == []
    orphan.unlink()
    assert [problem for problem in problems_in(place) if "snapshot-before refers to" in problem]


def test_a_row_that_the_filter_denies_is_found_though_all_checksums_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(SSTableWriter, "_add_keys", lambda writer, *_: writer._keys.append(b"z"))
    run(_written(tmp_path, chunk_of({b"a": b"1", b"b": b"2"})))
    (problem, *_) = run(verify_file(storage_of(tmp_path), "000001.sst", "SSTable")).problems
    assert "Bloom filter denies b'a'" in problem


def test_rows_out_of_order_are_found_though_all_checksums_are_right(tmp_path: Path):
    chunk = chunk_of({b"a": b"1", b"b": b"2"})
    chunk.rows.reverse()
    run(_written(tmp_path, chunk))
    problems = run(verify_file(storage_of(tmp_path), "000001.sst", "SSTable")).problems
    assert any("not in order" in problem for problem in problems)


def test_rows_larger_than_a_block_are_verified_piece_by_piece(tmp_path: Path):
    operations = [SetCell(b"f:%03d" % number, b"x" * 100, number + 1) for number in range(100)]
    with tablet.engine.open(tmp_path) as table:
        table.set_locality_group(LocalityGroup(block_bytes=512))
        table.create_family("f")
        table.put("a", "f:a", "1")
        table.write("giant", *operations)
        table.put("z", "f:a", "1")
        table.flush()
    assert problems_in(tmp_path) == []
    lines = run(collected(dump(storage_of(tmp_path), only(tmp_path, "*.sst").name)))
    assert any("continues at f:" in part.headline for part in lines)


def test_a_manifest_that_describes_another_file_is_found(folder: Path):
    path = only(folder, "manifest-*")
    message = run(load_manifest(storage_of(folder), path.name)).to_message()
    message.tables[0].tables[0].properties.rows = 7
    path.write_bytes(FILE.framed(message, sequence=message.number))
    assert any("another file than is there" in problem for problem in problems_in(folder))


def test_a_manifest_from_the_future_is_told_as_such(folder: Path):
    path = only(folder, "manifest-*")
    message = run(load_manifest(storage_of(folder), path.name)).to_message()
    path.write_bytes(replace(FILE, format=9).framed(message, sequence=message.number))
    with pytest.raises(IncompatibleFormat, match="format 9"):
        run(inspect(storage_of(folder)))


def dumped(folder: Path, name: str, *, cells: bool = False) -> list[Part]:
    return run(collected(dump(storage_of(folder), name, cells=cells)))


@pytest.mark.parametrize("pattern", ["*.sst", "*.log", "manifest-*"])
def test_the_parts_of_a_dump_cover_the_file_without_a_gap(folder: Path, pattern: str):
    path = only(folder, pattern)
    end = 0
    for part in dumped(folder, path.name):
        assert part.offset == end
        end += part.stored_bytes
    assert end == path.stat().st_size


def test_a_dump_shows_cells_and_deletions_in_words(folder: Path):
    details = [line for part in dumped(folder, only(folder, "*.log").name, cells=True) for line in part.details]
    assert details == [
        "row2  page:title @50 = newer (5 bytes)",
        "row7  deletes the family page",
        "row3  deletes the row",
    ]


def test_a_dump_continues_behind_a_damaged_block(tmp_path: Path):
    run(_written(tmp_path, chunk_of({b"row%03d" % number: b"x" * 100 for number in range(20)})))
    path = tmp_path / "000001.sst"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    parts = dumped(tmp_path, path.name)
    assert [part.damaged for part in parts[:2]] == [True, False]
    assert parts[-1].headline.startswith("footer")


@pytest.mark.parametrize("what", ["filter 0", "properties", "index", "footer"])
def test_a_dump_shows_what_is_left_of_an_sstable_with_a_damaged_part(tmp_path: Path, what: str):
    run(_written(tmp_path, chunk_of({b"row%03d" % number: b"x" * 100 for number in range(20)})))
    path = tmp_path / "000001.sst"
    whole = dumped(tmp_path, path.name)
    (part,) = [part for part in whole if part.headline.startswith(what)]
    data = bytearray(path.read_bytes())
    data[part.offset + 3] ^= 1
    path.write_bytes(data)
    parts = dumped(tmp_path, path.name)
    (damaged,) = [part for part in parts if part.damaged]
    if what in ("index", "footer"):
        assert (damaged.offset, damaged.stored_bytes) == (0, len(data))
        assert what in damaged.headline
    else:
        assert damaged.headline.startswith(f"{what} is damaged")
        assert [(part.offset, part.stored_bytes) for part in parts] == [(p.offset, p.stored_bytes) for p in whole]
        assert parts[0] == whole[0]


def test_of_a_file_whose_filters_are_not_known_a_dump_shows_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = TableProperties.to_message
    monkeypatch.setattr(TableProperties, "to_message", lambda self: said(replace(self, bloom_policy="ribbon")))
    with pytest.raises(IncompatibleFormat):
        run(_written(tmp_path, chunk_of({b"a": b"1"})))
    block, filter_, index, properties, footer = dumped(tmp_path, "000001.sst", cells=True)
    assert block.details == ("a  f:q @1 = 1 (1 bytes)",)
    assert "known are pybloom-live, blocked" in filter_.headline and filter_.headline.startswith(
        "filter 0 cannot be read"
    )
    assert not any(part.damaged for part in (block, filter_, index, properties, footer))
    (problem,) = run(verify_file(storage_of(tmp_path), "000001.sst", "SSTable")).problems
    assert "'ribbon'; known are pybloom-live, blocked" in problem


def test_a_file_is_known_by_its_bytes(folder: Path, tmp_path: Path):
    for pattern, kind in (("*.sst", "SSTable"), ("*.log", "log"), ("manifest-*", "manifest")):
        (tmp_path / "saved").write_bytes(only(folder, pattern).read_bytes())
        assert run(kind_of(storage_of(tmp_path), "saved")) == kind


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\0" * 100])
def test_a_file_of_another_program_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(IncompatibleFormat, match=r"photo\.jpg is no file of a tablet"):
        dumped(tmp_path, "photo.jpg")


def test_an_sstable_from_the_future_is_not_called_damaged(tmp_path: Path):
    run(_written(tmp_path, chunk_of({b"a": b"1"})))
    path = tmp_path / "000001.sst"
    data = path.read_bytes()
    path.write_bytes(data[:-FOOTER_BYTES] + b"\0" * (FOOTER_BYTES - 8) + MAGIC[:-1] + b"9")
    with pytest.raises(IncompatibleFormat):
        dumped(tmp_path, "000001.sst")


async def recovery(folder: Path) -> list[Any]:
    """The events of an opening for reading only."""
    records: deque[Record] = deque()
    async with opened_for_reading(storage_of(folder), InlineWorld(RecentEvents(records))):
        pass
    return [record.event for record in records]


def test_an_opening_for_reading_finds_what_an_opening_finds(folder: Path):
    events = run(recovery(folder))
    with tablet.engine.open(folder) as table:
        opened = [record.event for record in table.events if isinstance(record.event, TabletOpened)]
    assert [type(event).__name__ for event in events] == ["TabletFound", "CommitLogReplayed", "TabletOpened"]
    assert [event.replayed for event in opened] == [events[-1].replayed] == [3]


def test_an_opening_for_reading_tells_of_a_torn_tail(folder: Path):
    as_after_a_kill(folder)
    path = only(folder, "*.log")
    path.write_bytes(path.read_bytes()[:-3])
    (folder / MARK_NAME).unlink()
    _, replayed, dropped, _ = run(recovery(folder))
    assert (replayed.log, replayed.records, dropped.log) == (path.name, 2, path.name)


async def _written(folder: Path, chunk: Any) -> None:
    table = await make_table(storage_of(folder), 1, chunk)
    await table.close()
