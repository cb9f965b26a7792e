"""The synchronous face: texts, pace of background work, notebooks, and the folder itself."""

import asyncio
import os
from pathlib import Path

import pytest

import tablet.engine
from runtime.errors import AlreadyExists, Conflict, DiskFailure, InvalidRequest, NoSpace, NotFound, TabletopError
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import DeleteCells, DeleteRow, SetCell
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.world.options import Options, PolicySettings

SMALL = Options(memtable_bytes=30_000, policy_settings=PolicySettings(fan_in=3))


def test_texts_are_taken_as_utf_8(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.put("zeile/ä", "f:größe", "naß")
        assert table.get("zeile/ä".encode(), "f:größe".encode()) == "naß".encode()
        assert [row.key for row in table.scan(prefix="zeile/")] == ["zeile/ä".encode()]
        assert list(table.items("f:größe", prefix="zeile/")) == [("zeile/ä".encode(), "naß".encode())]
        assert list(table.items("f:größer")) == []
        table.write("r", SetCell(b"f:a", b"1"), SetCell(b"f:b", b"2"))
        table.write_many({"s": [SetCell(b"f:a", b"3")]})
        table.write_many([(f"t{number}", [SetCell(b"f:a", b"")]) for number in range(1200)])
        assert len(list(table.scan("t"))) == 1200 + 1
        table.delete("r", "f:a")
        assert table.get("r", "f:a") is None
        table.delete_family("r", "f")
        assert table.read("r") is None
        table.delete("s")
        assert table.get("s", "f:a") is None
        assert table.append("r", "f:log", "one ") + table.append("r", "f:log", "two") == b"one one two"
        assert table.increment("r", "f:n") == 1
        assert table.check_and_mutate("r", ReadFilter(columns=frozenset([b"f:n"])), [DeleteCells(b"f:n")])
        assert str(tmp_path) in repr(table)


def test_many_mutations_are_all_checked_before_one_is_applied(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        fine: list[tuple] = [(f"r{number:04}", (SetCell("f:a", "v" * 3000),)) for number in range(1000)]
        for wrong in (SetCell("g:a", ""), SetCell("f:a", "", 2**63), SetCell("nocolon", ""), "no operation"):
            with pytest.raises(TabletopError):
                table.write_many([*fine, ("last", [SetCell("f:b", ""), wrong])])
            with pytest.raises(TabletopError):
                table.write_many([*fine, ("last", (wrong,))])
        with pytest.raises(InvalidRequest, match="the row key is empty"):
            table.write_many([*fine, (b"", (SetCell("f:a", ""),))])
        assert list(table.scan()) == []
        table.write_many(fine)
        assert len(list(table.scan())) == 1000


def test_who_gives_many_mutations_may_use_the_table_meanwhile(tmp_path):
    def broken():
        yield b"x", [SetCell("f:a", "lost")]
        raise ZeroDivisionError

    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.write_many({f"r{number}": [SetCell("f:a", str(number))] for number in range(3)})
        table.write_many((row, (SetCell(b"f:b", value),)) for row, value in table.items("f:a"))
        assert list(table.items("f:b")) == list(table.items("f:a"))
        with pytest.raises(ZeroDivisionError):
            table.write_many(broken())
        assert table.get("x", "f:a") is None
        table.put("x", "f:a", "there")
    with pytest.raises(Conflict, match="is closed"):
        table.write_many({"r": [SetCell("f:a", "")]})


def test_of_many_mutations_each_has_a_time_of_its_own_and_a_row_may_come_again(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.write_many([(b"r", (SetCell(b"f:a", b"%d" % number),)) for number in range(3)])
        table.write_many(
            [
                (b"s", (SetCell(b"f:a", b"old"),)),
                (b"s", (DeleteRow(),)),
                (b"s", [SetCell(b"f:b", b"new", 7)]),
                (b"t", ()),
            ]
        )
        table.write_many([[bytearray(b"u"), [SetCell("f:a", "lists")]]])
        table.write_many([])
        found = list(table.scan())
        assert [row.key for row in found] == [b"r", b"s", b"u"]
        assert [cell.value for cell in found[0]] == [b"2", b"1", b"0"]
        assert found[1].cells == ((b"f:b", 7, b"new"),)
        table.put(b"r", b"f:a", b"3")
        assert table.get(b"r", b"f:a") == b"3"


def test_each_write_pays_for_some_background_work(tmp_path):
    with tablet.engine.open(tmp_path, SMALL) as table:
        table.create_family("f")
        for number in range(3000):
            table.put(f"row{number * 7919 % 3000:05}", "f:q", b"v" * 100)
        figures = table.figures()
        assert figures.work.flushes > 10
        assert figures.work.compactions > 3
        assert figures.frozen_memtables <= 1
        assert len(figures.tables) < 8
        assert len(list(table.scan())) == 3000
        table.settle()
        assert table.engine.housekeeping.next_compaction() is None


def test_the_face_works_inside_a_running_loop_as_in_a_notebook(tmp_path):
    async def cell() -> bytes | None:
        with tablet.engine.open(tmp_path, Options(sync="fsync", memtable_bytes=20_000)) as table:
            table.create_family("f")
            for number in range(500):
                table.put(f"r{number}", "f:q", b"x" * 100)
            table.compact()
            return table.get("r7", "f:q")

    assert asyncio.run(cell()) == b"x" * 100


def test_a_folder_is_opened_once(tmp_path):
    with tablet.engine.open(tmp_path), pytest.raises(Conflict, match="in use by another process"):
        tablet.engine.open(tmp_path)
    table = tablet.engine.open(tmp_path)
    table.create_family("f")
    table.put("r", "f:q", "v")
    table.close()
    table.close()
    for call in (lambda: table.put("r", "f:q", ""), lambda: table.get("r", "f:q"), lambda: list(table.scan())):
        with pytest.raises(Conflict, match="closed; open it again"):
            call()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DiskFailure, match="permission"):
        tablet.engine.open(tmp_path / "inside")
    tmp_path.chmod(0o700)


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="file"):
        tablet.engine.open(tmp_path / "file")


def test_a_full_disk_fails_the_write_that_finds_no_room_and_no_other(tmp_path, monkeypatch):
    with tablet.engine.open(tmp_path, SMALL) as table:
        table.create_family("f")
        storage = table.engine.state.storage
        create = storage.create

        async def failing(name: str):
            if ".sst" in name:
                raise NoSpace(f"cannot create {name}: No space left on device")
            return await create(name)

        monkeypatch.setattr(storage, "create", failing)
        written = 0
        with pytest.raises(NoSpace):
            for number in range(10_000):
                table.put(f"r{number:05}", "f:q", b"v" * 100)
                written += 1
        assert written > 100
        assert len(list(table.scan())) == written
        monkeypatch.setattr(storage, "create", create)
        for number in range(1000):
            table.put(f"s{number:05}", "f:q", b"v" * 100)
        assert len(list(table.scan())) == written + 1000
        assert table.figures().work.flushes > 0


def test_a_clone_is_a_tablet_of_its_own(tmp_path):
    with tablet.engine.open(tmp_path / "a") as table:
        table.set_locality_group(LocalityGroup("hot", in_memory=True))
        table.create_family("f")
        table.create_family("h", group="hot")
        table.put("r", "f:q", "1")
        table.put("r", "h:q", "1")
        table.save_snapshot("s")
        table.put("r", "f:q", "2")
        table.clone(tmp_path / "now")
        table.clone(tmp_path / "then", "s")
        with pytest.raises(AlreadyExists):
            table.clone(tmp_path / "then")
        with pytest.raises(NotFound):
            table.clone(tmp_path / "other", "t")
        table.put("r", "f:q", "3")
        for folder, expected in (("now", b"2"), ("then", b"1")):
            with tablet.engine.open(tmp_path / folder) as clone:
                assert clone.get("r", "f:q") == expected
                assert clone.get("r", "h:q") == b"1"
                clone.put("r", "f:q", "mine")
                clone.compact()
        assert table.get("r", "f:q") == b"3"


def test_a_small_memtable_stays_in_the_log_at_closing_and_a_large_one_is_flushed(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.put("r", "f:q", "1")
    assert not list(tmp_path.glob("*.sst"))
    with tablet.engine.open(tmp_path, Options(flush_on_close_bytes=100)) as table:
        assert table.get("r", "f:q") == b"1"
    assert len(list(tmp_path.glob("*.sst"))) == 1
    with tablet.engine.open(tmp_path) as table:
        assert table.figures().memtable_rows == 0
        assert table.get("r", "f:q") == b"1"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("flush_on_close_bytes", [0, 2**30])
def test_opening_and_reading_again_and_again_changes_nothing(tmp_path, flush_on_close_bytes):
    options = Options(flush_on_close_bytes=flush_on_close_bytes)
    with tablet.engine.open(tmp_path, options) as table:
        table.create_family("f")
        table.put("r", "f:q", "1")
    with tablet.engine.open(tmp_path, options) as table:
        table.put("s", "f:q", "2")
    before = contents(tmp_path)
    for _ in range(3):
        with tablet.engine.open(tmp_path, Options(flush_on_close_bytes=2**30)) as table:
            assert table.get("r", "f:q") == b"1"
            assert [row.value("f:q") for row in table.scan()] == [b"1", b"2"]
    assert contents(tmp_path) == before


def test_a_tablet_that_is_written_a_little_at_each_opening_gathers_no_logs_behind_its_last_flush(tmp_path):
    for number in range(10):
        with tablet.engine.open(tmp_path, Options(flush_on_close_bytes=0)) as table:
            if not table.schema.families:
                table.create_family("f")
            table.put(f"r{number}", "f:q", "1")
    with tablet.engine.open(tmp_path) as table:
        assert len(list(table.scan())) == 10
    assert len(list(tmp_path.glob("*.log"))) <= 1


@pytest.mark.parametrize("kind", ["append", "increment", "check_and_mutate", "write", "write_many"])
def test_every_kind_of_write_pays_for_background_work_and_finishes_a_job_that_stands_in_its_way(tmp_path, kind):
    options = Options(memtable_bytes=1 << 20, policy_settings=PolicySettings(fan_in=3))
    with tablet.engine.open(tmp_path, options) as table:
        table.create_family("f")
        count = 0
        while len(table.engine.state.view.memtables) == 1:
            table.put(f"{count:08}", "f:x", b"v" * 200)
            count += 1
        if kind == "append":
            for number in range(8000):
                table.append(f"r{number:08}", "f:x", b"v" * 200)
        elif kind == "increment":
            for number in range(12_000):
                table.increment(f"r{number:08}", "f:x")
        elif kind == "check_and_mutate":
            for number in range(8000):
                table.check_and_mutate(f"r{number:08}", ReadFilter(), [], [SetCell("f:x", b"v" * 200)])
        elif kind == "write":
            for number in range(100):
                table.write(f"r{number:08}", SetCell("f:x", b"v" * 400_000))
        else:
            table.write_many([(f"r{number:08}", [SetCell("f:x", b"v" * 20_000)]) for number in range(500)])
        table.put("x", "f:x", "1")
        work = table.figures().work
        assert work.flushes > 1
        assert len(list(table.items("f:x", prefix="r"))) == {"increment": 12_000, "write": 100, "write_many": 500}.get(
            kind, 8000
        )
