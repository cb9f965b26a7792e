"""`tabletop tablet get` and `scan`: rows from outside."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tablet.engine
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.model.schema import MaxVersions
from tablet.engine.world.options import Options
from tabletop.application import app

BINARY = bytes(range(256))


def fill(table: EmbeddedTablet) -> None:
    """Rows in SSTables and in the log, a deletion over one of them, several versions, two locality groups."""
    table.create_family("page", MaxVersions(2))
    table.create_family("raw")
    for number in range(20):
        table.put(f"a/{number:02}", "page:title", f"title {number}", timestamp=1)
    table.flush()
    table.put("a/02", "page:title", "newer", timestamp=5)
    table.delete("a/03")
    table.put("b[1]", "raw:picture", BINARY, timestamp=7)
    table.put(b"\xff\x00", "page:title", "odd", timestamp=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "tablet"
    with tablet.engine.open(place, Options(flush_on_close_bytes=1 << 40)) as table:
        fill(table)
    return place


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["tablet", *map(str, arguments)], catch_exceptions=False)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_get_prints_the_newest_value_byte_for_byte(folder: Path):
    assert run("get", folder, "a/02", "page:title").stdout_bytes == b"newer"
    assert run("get", folder, "a/04", "page:title").stdout_bytes == b"title 4"
    assert run("get", folder, "b[1]", "raw:picture").stdout_bytes == BINARY


def test_scan_prints_rows_in_order_without_what_was_deleted(folder: Path):
    lines = run("scan", folder).stdout.splitlines()
    assert len(lines) == 19 + 2
    assert lines[2:4] == ["a/02  page:title @5 = newer (5 bytes)", "a/04  page:title @1 = title 4 (7 bytes)"]
    assert lines[-2].startswith("b[1]  raw:picture @7 = ")
    assert lines[-1] == "\\xff\\x00  page:title @8 = odd (3 bytes)"


def test_scan_refuses_an_expression_that_re2_does_not_take(folder: Path):
    result = run("scan", folder, "--regex", "a(")
    assert result.exit_code == 2
    assert "RE2" in result.stderr


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        (("--prefix", "a/1"), [f"a/1{digit}" for digit in range(10)]),
        (("--prefix", "a/1", "--limit", "2"), ["a/10", "a/11"]),
        (("--column", "raw:picture"), ["b[1]"]),
        (("--prefix", "a/", "--column", "raw:picture"), []),
        (("--prefix", "zzz"), []),
        (("--prefix", "b", "--prefix", "a/18", "--prefix", "a/1"), [*(f"a/1{digit}" for digit in range(10)), "b[1]"]),
        (("--prefix", "a/1", "--limit", "2", "--reverse"), ["a/19", "a/18"]),
        (("--regex", "a/.[27]"), ["a/02", "a/07", "a/12", "a/17"]),
        (("--regex", "a/.[27]", "--column", "page:title", "--reverse"), ["a/17", "a/12", "a/07", "a/02"]),
        (("--regex", "/"), []),
    ],
)
def test_scan_shows_what_it_is_asked_for(options: tuple[str, ...], rows: list[str], folder: Path):
    result = run("scan", folder, *options)
    assert result.exit_code == 0
    assert [line.split("  ")[0] for line in result.stdout.splitlines()] == rows


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("a/03", "page:title"), 1, "no page:title in row 'a/03'"),
        (("a/99", "page:title"), 1, "no page:title in row 'a/99'"),
        (("a/01", "title"), 2, "is not a column; write it as family:qualifier"),
        (("a/01", "pages:title"), 1, "no column family 'pages'; there are: page, raw"),
        (("", "page:title"), 2, "the row key is empty"),
    ],
)
def test_get_of_what_is_not_there_says_what_is_missing(
    arguments: tuple[str, str], code: int, message: str, folder: Path
):
    result = run("get", folder, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


def test_looking_changes_nothing_and_asks_for_no_lock(tmp_path: Path):
    with tablet.engine.open(tmp_path / "tablet") as table:
        fill(table)
        before = contents(table_folder := tmp_path / "tablet")
        assert run("get", table_folder, "a/02", "page:title").stdout == "newer"
        assert len(run("scan", table_folder).stdout.splitlines()) == 21
        assert contents(table_folder) == before
        table.put("c", "page:title", "later")
        assert run("get", table_folder, "c", "page:title").stdout == "later"
        table.compact()
        assert run("get", table_folder, "c", "page:title").stdout == "later"


def test_files_that_the_next_opening_would_sweep_are_left(folder: Path):
    (folder / "000099.sst.new").write_bytes(b"half of it")
    before = contents(folder)
    assert run("scan", folder).exit_code == 0
    assert contents(folder) == before


def test_damage_is_one_message(folder: Path):
    path = next(folder.glob("*.sst"))
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    for result in (run("get", folder, "a/04", "page:title"), run("scan", folder)):
        assert result.exit_code == 1
        assert f"{path.name}: the block at offset 0 has CRC32C" in result.stderr
    path.unlink()
    assert path.name in run("scan", folder).stderr


def test_a_folder_that_holds_no_tablet_is_told_and_left_alone(tmp_path: Path):
    (tmp_path / "letter.txt").write_text("Dear Sir")
    for place in (tmp_path, tmp_path / "nowhere"):
        result = run("scan", place)
        assert result.exit_code == 1
        assert str(place) in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.skipif(sys.platform == "darwin", reason="its command lines are UTF-8")
def test_a_row_of_any_bytes_can_be_named(folder: Path):
    assert run("scan", folder, "--prefix", b"\xff".decode("utf-8", "surrogateescape")).stdout.count("\n") == 1


@pytest.mark.parametrize("command", ["get", "scan"])
def test_each_command_helps_with_an_example(command: str):
    assert f"tabletop tablet {command} data/" in run(command, "--help").stdout
