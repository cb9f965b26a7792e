"""What people get wrong with a tablet in a program, and what they are told; and what no mistake may do to the data."""

import array
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import tablet.engine
from runtime.errors import AlreadyExists, Conflict, IncompatibleFormat, InvalidRequest, NotADirectory, NotFound
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, SetCell
from tablet.engine.model.schema import (
    Family,
    Intersection,
    LocalityGroup,
    MaxAge,
    MaxVersions,
    Schema,
    Union,
)
from tablet.engine.model.schema_message import schema_from_message, schema_to_message
from tablet.engine.world.options import Options, PolicySettings
from tests.unit.tablet_support import open_engine

Table = Any
"""An `EmbeddedTablet` without its types, which would forbid most of what is tried here."""


@pytest.fixture
def table(tmp_path):
    with tablet.engine.open(tmp_path / "table") as opened:
        opened.create_family("f")
        opened.put("ok", "f:a", "v")
        yield opened
        if not opened._why:
            assert opened.get("ok", "f:a") == b"v"


SENSELESS: dict[str, tuple[Callable[[Table], Any], str]] = {
    "a number as the row": (lambda t: t.put(5, "f:a", "v"), "the row is 5, of type int; give a text or bytes"),
    "no value": (lambda t: t.put("r", "f:a", None), "the value is None"),
    "a number as the value": (lambda t: t.put("r", "f:a", 1.5), "the value is 1.5, of type float"),
    "no column": (lambda t: t.put("r", None, "v"), "the column is None"),
    "half a timestamp": (lambda t: t.put("r", "f:a", "v", timestamp=1.5), "whole microseconds"),
    "a truth as the timestamp": (lambda t: t.put("r", "f:a", "v", timestamp=True), "timestamp is True"),
    "a timestamp out of range": (lambda t: t.put("r", "f:a", "v", timestamp=2**63), "64 bits"),
    "half a character": (lambda t: t.put("\udcff", "f:a", "v"), "not valid Unicode"),
    "half a character, read": (lambda t: t.get("\udcff", "f:a"), "not valid Unicode"),
    "a list as the row, read": (lambda t: t.get(["a"], "f:a"), "the row is"),
    "no column, read": (lambda t: t.get("ok", None), "the column is None"),
    "a column without a colon, read": (lambda t: t.get("ok", "a"), "write it as family:qualifier"),
    "a column without a colon, items": (lambda t: t.items("a"), "write it as family:qualifier"),
    "a column without a colon, written": (lambda t: t.put("ok", "a", "v"), "write it as family:qualifier"),
    "no column, items": (lambda t: t.items(None), "the column is None"),
    "a column for a filter": (lambda t: t.read("ok", "f:a"), r"'f:a' is no filter; write ReadFilter"),
    "a column for a filter, scan": (lambda t: t.scan(wanted="f:a"), "is no filter"),
    "a column for a filter, checked": (lambda t: t.check_and_mutate("ok", "f:a"), "is no filter"),
    "a range without a column": (lambda t: t.delete("ok", end=5), "name it, or leave start and end out"),
    "a start without a column": (lambda t: t.delete("ok", start=5), "name it"),
    "a negative limit": (lambda t: t.scan(limit=-1), "limit is -1"),
    "a negative limit, items": (lambda t: t.items("f:a", limit=-1), "limit is -1"),
    "a text as the limit": (lambda t: t.scan(limit="3"), "limit is '3'"),
    "numbers as bounds": (lambda t: t.scan(1, 2), "start is 1"),
    "a list of operations": (lambda t: t.write("r", [SetCell("f:a", "v")]), "is no operation.*one by one to write"),
    "a tuple for an operation": (lambda t: t.write("r", ("f:a", "v")), "is no operation"),
    "the class of an operation": (lambda t: t.write("r", DeleteRow), "is no operation"),
    "no list of operations": (lambda t: t.write_many({"r": SetCell("f:a", "v")}), "is no list of operations"),
    "a list of rows": (lambda t: t.write_many(["r"]), "no pair of a row"),
    "nothing to write": (lambda t: t.write_many(None), "write_many takes"),
    "one operation, checked": (lambda t: t.check_and_mutate("r", ReadFilter(), DeleteRow()), "is no list"),
    "a text to add": (lambda t: t.increment("r", "f:n", "1"), "delta is '1'; give a whole number"),
    "half a number to add": (lambda t: t.increment("r", "f:n", 1.5), "delta is 1.5"),
    "nothing to append": (lambda t: t.append("r", "f:n", None), "the data is None"),
    "bytes as a family": (lambda t: t.create_family(b"g"), "give a text"),
    "no family": (lambda t: t.create_family(None), "give a text"),
    "bytes as a family to drop": (lambda t: t.drop_family(b"f"), "give a text"),
    "a number as a rule": (lambda t: t.create_family("g", 3), r"write MaxVersions\(3\)"),
    "a text as a rule": (lambda t: t.create_family("g", "max_versions=3"), r"write MaxVersions\(3\)"),
    "a dictionary as a rule": (lambda t: t.create_family("g", {"max_versions": 3}), r"write MaxVersions\(3\)"),
    "the class of a rule": (lambda t: t.create_family("g", MaxVersions), r"write MaxVersions\(3\)"),
    "a number within a rule": (lambda t: t.create_family("g", Union((3,))), r"write MaxVersions\(3\)"),
    "no rule within a rule": (lambda t: t.create_family("g", Intersection((None,))), r"write MaxVersions\(3\)"),
    "another rule that is none": (lambda t: t.set_garbage_rule("f", 3), r"write MaxVersions\(3\)"),
    "half a version": (lambda t: t.create_family("g", MaxVersions(2.0)), "whole number"),
    "a fraction of a day": (lambda t: t.create_family("g", MaxAge(0.5 * 86_400_000_000)), "whole number"),
    "a truth as an age": (lambda t: t.create_family("g", MaxAge(True)), "whole number"),
    "a name for a group": (lambda t: t.set_locality_group("hot"), "is no locality group"),
    "half a byte": (lambda t: t.set_locality_group(LocalityGroup(block_bytes=4096.0)), "block_bytes is 4096.0"),
    "no name for a snapshot": (lambda t: t.save_snapshot(None), "snapshot's name"),
    "no name to go back to": (lambda t: t.restore_snapshot(5), "snapshot's name"),
    "no name to forget": (lambda t: t.delete_snapshot(None), "snapshot's name"),
}


@pytest.mark.parametrize("name", SENSELESS)
def test_what_cannot_be_meant_is_refused_with_a_word_on_what_to_write(table, name):
    call, told = SENSELESS[name]
    with pytest.raises(InvalidRequest, match=told):
        call(table)
    assert [row.key for row in table.scan()] == [b"ok"]
    table.flush()


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.get("ok", "zz:a"),
        lambda t: t.items("zz:a"),
        lambda t: t.read("ok", ReadFilter(families=["zz"])),
        lambda t: t.scan(wanted=ReadFilter(columns=["zz:a"])),
        lambda t: t.check_and_mutate("ok", ReadFilter(families=["zz"]), [], [DeleteRow()]),
    ],
)
def test_a_family_that_is_not_there_is_told_of_and_not_taken_for_an_empty_one(table, call):
    with pytest.raises(NotFound, match="no column family 'zz'; there are: f"):
        call(table)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ReadFilter(columns="f:a"), "give a collection of names"),
        (lambda: ReadFilter(columns=b"f:a"), "give a collection of names"),
        (lambda: ReadFilter(families=3), "give a collection of names"),
        (lambda: ReadFilter(families=[3]), "one of the families is 3"),
        (lambda: ReadFilter(families=["f:a"]), "is not a family"),
        (lambda: ReadFilter(columns=["a"]), "family:qualifier"),
        (lambda: ReadFilter(column_pattern="f:("), "not a regular expression"),
        (lambda: ReadFilter(versions=0), "at least 1"),
        (lambda: ReadFilter(versions=-1), "at least 1"),
        (lambda: ReadFilter(versions=1.0), "at least 1"),
        (lambda: ReadFilter(start_timestamp="1"), "whole microseconds"),
        (lambda: SetCell("f:a", None), "the value is None"),
        (lambda: SetCell("f:a", "v", "now"), "whole microseconds"),
        (lambda: DeleteCells("f:a", 1.5), "whole microseconds"),
        (lambda: DeleteFamily(None), "the family is None"),
    ],
)
def test_filters_and_operations_are_checked_where_they_are_made(make, told):
    with pytest.raises(InvalidRequest, match=told):
        make()


def test_filters_and_operations_take_texts_and_any_collection():
    exact = ReadFilter(frozenset([b"f"]), frozenset([b"f:a", b"f:b"]), b"f:.*", 1, 5, 9)
    assert ReadFilter({"f"}, ["f:a", b"f:b"], "f:.*", 1, 5, 9) == exact
    assert SetCell("f:a", "ä", 5) == SetCell(b"f:a", "ä".encode(), 5)
    assert DeleteCells("f:a") == DeleteCells(b"f:a")
    assert DeleteFamily("f") == DeleteFamily(b"f")
    assert SetCell(bytearray(b"f:a"), memoryview(b"v")) == SetCell(b"f:a", b"v")


def test_a_buffer_is_taken_with_all_its_bytes_however_large_its_items_are(table):
    numbers: Any = array.array("i", [1, 2, 3])
    table.put("put", "f:a", numbers)
    table.put("view", "f:a", memoryview(numbers))
    table.put("every other", "f:a", memoryview(numbers)[::2])
    table.put(bytearray(b"row"), memoryview(b"f:a"), bytearray(b"xy"))
    table.write("write", SetCell("f:a", numbers))
    table.write_many({"many": [SetCell("f:a", numbers)]})
    table.append("append", "f:a", numbers)
    assert table.check_and_mutate("put", ReadFilter(), [SetCell("f:b", numbers)], value=numbers)
    table.compact()
    for row in ("put", "view", "write", "many", "append"):
        assert table.get(row, "f:a") == numbers.tobytes()
    assert table.get("put", "f:b") == numbers.tobytes()
    assert table.get("every other", "f:a") == array.array("i", [1, 3]).tobytes()
    assert table.get("row", "f:a") == table.get(bytearray(b"row"), bytearray(b"f:a")) == b"xy"


def test_a_rule_that_no_manifest_could_hold_is_not_written_as_none():
    for rule in (3, "max_versions=3", MaxVersions, {"max_versions": 3}):
        with pytest.raises(InvalidRequest, match="no garbage rule"):
            Schema().with_family(Family("f", rule))  # type: ignore[arg-type]
    lists = Schema().with_family(Family("f", Union([MaxVersions(1), MaxAge(5)])))  # type: ignore[arg-type]
    assert schema_from_message(schema_to_message(lists)).family("f").rule == Union((MaxVersions(1), MaxAge(5)))


def test_an_iterator_ends_with_its_tablet_and_says_so(tmp_path):
    with tablet.engine.open(tmp_path) as opened:
        opened.create_family("f")
        for number in range(1000):
            opened.put(f"r{number:03}", "f:a", "v")
        rows, items, fresh = opened.scan(), opened.items("f:a"), opened.scan()
        next(rows)
        next(items)
    for iterator, had_read in ((rows, 300), (items, 300), (fresh, 0)):
        with pytest.raises(Conflict, match="closed; open it again"):
            for _ in range(had_read + 1):
                next(iterator)


def test_what_is_asked_of_a_closed_tablet_is_refused(tmp_path):
    opened: Table = tablet.engine.open(tmp_path)
    opened.create_family("f")
    opened.put("r", "f:a", "v")
    opened.flush()
    assert [opened.get("r", "f:a") for _ in range(4)] == [b"v"] * 4
    opened.close()
    calls = [opened.flush, opened.compact, opened.settle, opened.sync, opened.snapshots, lambda: opened.read("r")]
    calls += [lambda: opened.get("r", "f:a"), lambda: opened.scan(), lambda: opened.increment("r", "f:n")]
    for call in calls:
        with pytest.raises(Conflict, match="closed; open it again"):
            call()
    opened.close()


def interrupt_the_next(opened: EmbeddedTablet, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let Ctrl-C come in the middle of the next call of one of the log's file."""
    log = opened.engine.state.log.current
    assert log is not None

    def interrupted(*arguments: Any) -> Any:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(log._file, name, interrupted)


@pytest.mark.parametrize("sync", ["os", "fsync"])
@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.put("s", "f:a", "lost"),
        lambda t: t.write("s", SetCell("f:a", "lost")),
        lambda t: t.write_many({"s": [SetCell("f:a", "lost")]}),
        lambda t: t.append("s", "f:a", "lost"),
    ],
)
def test_a_write_that_was_interrupted_ends_the_use_of_the_table_and_loses_nothing(tmp_path, monkeypatch, write, sync):
    opened: Table = tablet.engine.open(tmp_path, Options(sync=sync))
    opened.create_family("f")
    opened.put("hot", "f:a", "v")
    opened.flush()
    assert [opened.get("hot", "f:a") for _ in range(4)] == [b"v"] * 4
    opened.put("r", "f:a", "v")
    rows = opened.scan()
    interrupt_the_next(opened, monkeypatch, "_write")
    with pytest.raises(KeyboardInterrupt):
        write(opened)
    calls = [opened.flush, opened.settle, opened.sync, lambda: opened.get("hot", "f:a"), lambda: opened.read("r")]
    calls += [lambda: opened.put("r", "f:a", "2"), lambda: next(rows), lambda: opened.clone(tmp_path / "clone")]
    for call in calls:
        with pytest.raises(
            Conflict, match=r"was interrupted in the middle of a write.*nothing that was acknowledged is lost"
        ):
            call()
    opened.close()
    opened.close()
    with pytest.raises(Conflict, match="closed"):
        opened.get("hot", "f:a")
    with tablet.engine.open(tmp_path) as again:
        assert [row.key for row in again.scan(end="s")] == [b"hot", b"r"]
        again.put("s", "f:a", "now")


def test_a_close_that_was_interrupted_lets_go_of_the_folder(tmp_path, monkeypatch):
    opened = tablet.engine.open(tmp_path)
    opened.create_family("f")
    opened.put("r", "f:a", "v")
    interrupt_the_next(opened, monkeypatch, "sync")
    with pytest.raises(KeyboardInterrupt):
        opened.close()
    opened.close()
    with tablet.engine.open(tmp_path) as again:
        assert again.get("r", "f:a") == b"v"


def test_an_interrupted_read_leaves_the_table_in_use(tmp_path, monkeypatch):
    with tablet.engine.open(tmp_path) as opened:
        opened.create_family("f")
        opened.put("r", "f:a", "v")
        reader: Any = opened.engine.reader

        async def interrupted(*arguments: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(reader, "row", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened.read("r")
        monkeypatch.undo()
        assert opened.read("r").value("f:a") == b"v"
        opened.put("r", "f:a", "2")


def interrupt_at(point: int) -> Callable[[FrameType, str, Any], None]:
    """A profiler that raises KeyboardInterrupt at the given place of those where Python looks for signals, of our own
    code: when a function begins, and when one written in C returns."""
    left = point

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        ours = "/tablet/" in frame.f_code.co_filename or "/runtime/" in frame.f_code.co_filename
        if ours and event in ("call", "c_return") and frame.f_code.co_name != "__del__":
            left -= 1
            if not left:
                raise KeyboardInterrupt

    return profile


@pytest.mark.parametrize("part", range(4))
def test_wherever_a_run_of_writes_is_interrupted_what_was_answered_is_there_afterwards(tmp_path, part):
    interrupted = refused = 0
    for point in range(1 + part * 11, 3000, 43):
        folder, answered = tmp_path / str(point), set()
        opened = tablet.engine.open(folder, Options(memtable_bytes=1500, policy_settings=PolicySettings(fan_in=2)))
        opened.create_family("f")
        try:
            sys.setprofile(interrupt_at(point))
            for number in range(30):
                opened.put(b"r%03d" % number, b"f:a", b"v" * 200)
                answered.add(b"r%03d" % number)
        except KeyboardInterrupt:
            interrupted += 1
            try:
                opened.put(b"after", b"f:a", b"v")
                answered.add(b"after")
            except Conflict as error:
                assert "was interrupted" in str(error)
                refused += 1
        finally:
            sys.setprofile(None)
            opened.close()
        with tablet.engine.open(folder) as again:
            found = {row for row, _ in again.items("f:a")}
            assert answered <= found
            assert len(found - answered) <= 1
            again.compact()
            again.engine.check_invariants()
    assert interrupted > 40
    assert refused > 30


def test_a_second_thread_is_told_that_one_at_a_time_may_use_the_table(tmp_path):
    interval = sys.getswitchinterval()
    told: list[BaseException] = []
    answered: list[bytes] = []
    with tablet.engine.open(tmp_path) as opened:
        opened.create_family("f")

        def write(name: int) -> None:
            for number in range(2000):
                row = b"%d/%05d" % (name, number)
                try:
                    opened.put(row, "f:a", "v")
                except Conflict as error:
                    told.append(error)
                except BaseException as error:
                    told.append(error)
                    return
                else:
                    answered.append(row)

        threads = [threading.Thread(target=write, args=(name,)) for name in range(3)]
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        assert [error for error in told if not isinstance(error, Conflict)] == []
        assert all("one thread at a time may use it" in str(error) for error in told)
        assert {row for row, _ in opened.items("f:a")} == set(answered)
        opened.engine.check_invariants()
    with tablet.engine.open(tmp_path) as opened:
        assert {row for row, _ in opened.items("f:a")} == set(answered)


def test_a_call_in_the_middle_of_another_is_refused(table):
    table._busy = True
    for call in (lambda: table.put("r", "f:a", "v"), lambda: table.read("ok"), table.flush, table.close):
        with pytest.raises(Conflict, match=r"guard it with a threading\.Lock"):
            call()
    table._busy = False


def in_a_child(work: Callable[[], None]) -> int:
    """Do work in the child of a fork; its exit code, 0 if nothing was raised."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_child_of_a_fork_is_kept_from_its_parents_table(tmp_path):
    opened: Table = tablet.engine.open(tmp_path)
    opened.create_family("f")
    opened.put("r", "f:a", "v")
    opened.flush()
    assert [opened.get("r", "f:a") for _ in range(4)] == [b"v"] * 4
    rows = opened.scan()

    def child() -> None:
        calls = [opened.flush, opened.close, lambda: opened.put("c", "f:a", "v"), lambda: opened.get("r", "f:a")]
        calls += [lambda: next(rows), lambda: opened.increment("c", "f:n")]
        for call in calls:
            with pytest.raises(Conflict, match="was opened before a fork; open it in this process"):
                call()
        with pytest.raises(Conflict, match="in use by another process"):
            tablet.engine.open(tmp_path)
        with opened:
            pass  # A block that the fork came in the middle of may end in the child too.

    assert in_a_child(child) == 0
    opened.put("parent", "f:a", "v")
    opened.close()
    assert in_a_child(lambda: tablet.engine.open(tmp_path).close()) == 0
    with tablet.engine.open(tmp_path) as again:
        assert [row.key for row in again.scan()] == [b"parent", b"r"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_lives_on_does_not_hold_its_parents_folder(tmp_path):
    opened = tablet.engine.open(tmp_path)
    opened.create_family("f")
    ready, done = os.pipe()
    child = os.fork()
    if not child:
        os.close(done)
        os.read(ready, 1)
        os._exit(0)
    os.close(ready)
    opened.close()
    tablet.engine.open(tmp_path).close()
    os.close(done)
    os.waitpid(child, 0)


def test_a_forgotten_table_lets_go_of_its_folder_and_of_its_files(tmp_path):
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    opened: EmbeddedTablet | None = tablet.engine.open(tmp_path)
    assert opened is not None
    opened.create_family("f")
    opened.put("r", "f:a", "v")
    opened.flush()
    opened.put("s", "f:a", "v")
    rows = opened.scan()
    del opened
    assert next(rows).key == b"r"  # Who still iterates has not forgotten it.
    with pytest.warns(ResourceWarning, match="was forgotten, not closed"):
        del rows
    with tablet.engine.open(tmp_path) as again:
        assert [row.key for row in again.scan()] == [b"r", b"s"]
    assert not before or len(list(descriptors.iterdir())) == before


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda at: tablet.engine.open(at / "foreign"), IncompatibleFormat, "not a tablet"),
        (lambda at: tablet.engine.open(at / "foreign", Options(create=False)), IncompatibleFormat, "not a tablet"),
        (lambda at: tablet.engine.open(at / "new", Options(create=False)), NotFound, "new holds no tablet"),
        (lambda at: tablet.engine.open(at / "empty", Options(create=False)), NotFound, "empty holds no tablet"),
        (lambda at: tablet.engine.open(at / "new", Options(sync="yes")), InvalidRequest, "sync is 'yes'"),
        (lambda at: tablet.engine.open(at / "new", {"sync": "os"}), InvalidRequest, r"write Options\("),
        (lambda at: tablet.engine.open(at / "new", Options(memtable_bytes="x")), InvalidRequest, "wrong type"),
        (lambda at: tablet.engine.open(5), InvalidRequest, "no folder; give its path"),
        (lambda at: tablet.engine.open("a\0b"), InvalidRequest, "no folder; give its path"),
        (lambda at: tablet.engine.open(at / "a-file"), NotADirectory, "a-file is a file.*a folder is expected"),
        (lambda at: tablet.engine.open(at / "a-file" / "in"), NotADirectory, "a folder is expected"),
    ],
)
def test_a_refused_opening_leaves_no_trace(tmp_path, call, error, told):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_text("x")
    before = listing(tmp_path)
    with pytest.raises(error, match=told):
        call(tmp_path)
    assert listing(tmp_path) == before


def test_a_refused_clone_leaves_no_trace(table, tmp_path):
    (tmp_path / "a-file").write_text("x")
    before = listing(tmp_path)
    with pytest.raises(NotFound, match="no snapshot 'none'"):
        table.clone(tmp_path / "clone", "none")
    with pytest.raises(NotADirectory, match="a folder is expected"):
        table.clone(tmp_path / "a-file")
    with pytest.raises(AlreadyExists, match="not empty"):
        table.clone(tmp_path)
    with pytest.raises(InvalidRequest, match="snapshot's name"):
        table.clone(tmp_path / "clone", 5)
    assert listing(tmp_path) == before


async def test_an_engine_takes_buffers_whole_and_refuses_a_negative_limit(tmp_path):
    numbers: Any = array.array("i", [1, 2, 3])
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.put(b"r", b"f:a", numbers)
        assert await engine.get(b"r", b"f:a") == numbers.tobytes()
        with pytest.raises(InvalidRequest, match="limit is -1"):
            await anext(engine.scan(limit=-1))
