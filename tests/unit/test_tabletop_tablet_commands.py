"""`tabletop tablet` as it is typed: what is printed where, and how it ends."""

import dataclasses
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tablet.engine
from runtime.wire import tablet_pb2
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.tree.manifest import FILE
from tablet.engine.world.options import Options
from tabletop import console
from tabletop.application import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tablet with two SSTables and a log of two records."""
    place = tmp_path / "tablet"
    with tablet.engine.open(place, Options(flush_on_close_bytes=1 << 40)) as table:
        table.create_family("page")
        for start in (0, 10):
            for number in range(start, start + 10):
                table.put(f"row[{number:02}]", "page:title", f"title {number}", timestamp=number + 1)
            table.flush()
        table.put("row[02]", "page:title", "newer", timestamp=50)
        table.delete("row[03]")
    return place


@pytest.fixture
def run() -> "Runner":
    return Runner()


class Runner:
    """Runs one command line; standard output and standard error apart."""

    def __call__(self, *arguments: object) -> Result:
        return CliRunner().invoke(app, ["tablet", *map(str, arguments)], catch_exceptions=False)


def test_inspect_shows_the_tree(folder: Path, run: Runner):
    result = run("inspect", folder)
    assert result.exit_code == 0
    for text in (
        "2 SSTables",
        "families: page",
        "row[00]",
        "row[19]",
        "MEASURED RATE",
        "a scan merges 2 files",
        ".log",
    ):
        assert text in result.stdout


def test_inspect_gives_json_for_programs(folder: Path, run: Runner):
    found = json.loads(run("inspect", folder, "--json").stdout)
    (group,) = found["groups"]
    assert [table["properties"]["rows"] for table in group["tables"]] == [10, 10]
    assert group["tables"][0]["filters"]["entries"] == 20
    assert group["amplification"]["scan_tables"] == 2


def test_dump_shows_each_kind_of_file(folder: Path, run: Runner):
    log = run("dump", next(folder.glob("*.log")), "--cells").stdout
    assert "row[02]  page:title @50 = newer" in log
    assert "row[03]  deletes the row" in log
    table = run("dump", min(folder.glob("*.sst"))).stdout
    assert "block 0: 10 rows" in table
    assert "footer" in table
    assert "2 SSTables" in run("dump", next(folder.glob("manifest-*"))).stdout


def test_dump_stops_where_it_is_told_to(folder: Path, run: Runner):
    result = run("dump", min(folder.glob("*.sst")), "--limit", 1)
    assert len(result.stdout.splitlines()) == 1
    assert "stopped after 1 part" in result.stderr


def test_verify_is_quiet_about_a_sound_tablet(folder: Path, run: Runner):
    result = run("verify", folder)
    assert result.exit_code == 0
    assert "0 problems" in result.stdout
    assert result.stderr == ""


def test_verify_lists_what_is_wrong_and_ends_with_1(folder: Path, run: Runner):
    path = min(folder.glob("*.sst"))
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    for where in (folder, path):
        result = run("verify", where)
        assert result.exit_code == 1
        assert f"{path.name}: the block at offset 0 has CRC32C" in result.stderr
        assert "BAD" in result.stdout
    verdicts = json.loads(run("verify", folder, "--json").stdout)
    assert [verdict["name"] for verdict in verdicts if verdict["problems"]] == [path.name]


def test_dump_of_a_damaged_file_shows_the_rest_and_ends_with_1(folder: Path, run: Runner):
    path = min(folder.glob("*.sst"))
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    result = run("dump", path)
    assert result.exit_code == 1
    assert "block 0 is damaged" in result.stdout
    assert "footer" in result.stdout
    assert "1 part damaged" in result.stderr


def test_inspect_of_a_damaged_tablet_shows_it_and_ends_with_1(folder: Path, run: Runner):
    path = min(folder.glob("*.sst"))
    path.write_bytes(path.read_bytes()[:100])
    result = run("inspect", folder)
    assert result.exit_code == 1
    assert "2 SSTables" in result.stdout
    assert f"{path.name} is not a whole SSTable" in result.stderr


def test_replay_shows_the_events_of_an_opening(folder: Path, run: Runner):
    result = run("replay", folder)
    assert result.exit_code == 0
    found, *logs, opened = result.stdout.splitlines()
    assert found.startswith("found tablet '' in manifest-")
    assert any(re.fullmatch(r"replayed \d records of \d+\.log, for \d rows", line) for line in logs)
    assert opened.startswith("opened tablet ''")


@pytest.mark.parametrize("command", ["inspect", "dump", "verify", "replay"])
def test_a_path_that_does_not_exist_is_told_and_not_created(command: str, tmp_path: Path, run: Runner):
    result = run(command, tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "there is no" in result.stderr
    assert "nowhere" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["inspect", "verify", "replay"])
def test_an_empty_folder_holds_no_tablet(command: str, tmp_path: Path, run: Runner):
    result = run(command, tmp_path)
    assert result.exit_code == 1
    assert "holds no tablet" in result.stderr
    assert str(tmp_path) in result.stderr


@pytest.mark.parametrize("command", ["inspect", "verify", "replay"])
def test_a_folder_of_other_things_is_named(command: str, tmp_path: Path, run: Runner):
    (tmp_path / "letter.txt").write_text("Dear Sir")
    result = run(command, tmp_path)
    assert result.exit_code == 1
    assert str(tmp_path) in result.stderr
    assert "letter.txt" in result.stderr


def test_what_is_neither_a_file_nor_a_folder_is_called_that(tmp_path: Path, run: Runner):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/null")):
        for command in ("inspect", "dump", "verify", "replay"):
            result = run(command, place)
            assert result.exit_code == 1
            assert f"'{place}' is neither a file nor a folder" in result.stderr


def test_the_lock_of_a_folder_is_known(folder: Path, run: Runner):
    for command in ("dump", "verify"):
        assert "is the lock of a tablet's folder" in run(command, folder / "LOCK").stderr


def test_verify_asks_for_a_file_or_a_folder(tmp_path: Path, run: Runner):
    assert "there is no file or folder" in run("verify", tmp_path / "000001.log").stderr


def test_verify_does_not_say_that_it_read_nothing_bytes(folder: Path, run: Runner):
    next(folder.glob("manifest-*")).unlink()
    result = run("verify", folder)
    assert result.exit_code == 1
    assert "nothing could be read: 1 problem" in result.stdout


def test_a_file_is_not_a_folder_and_a_folder_is_not_a_file(folder: Path, run: Runner):
    assert "is a file; give the folder" in run("inspect", next(folder.glob("*.log"))).stderr
    assert "is a folder; see `tabletop tablet inspect" in run("dump", folder).stderr


@pytest.mark.parametrize("command", ["dump", "verify"])
@pytest.mark.parametrize("content", [b"", b"\x89PNG and so on"])
def test_a_foreign_file_is_refused_in_one_message(command: str, content: bytes, tmp_path: Path, run: Runner):
    (tmp_path / "picture.png").write_bytes(content)
    result = run(command, tmp_path / "picture.png")
    assert result.exit_code == 1
    assert "picture.png is no file of a tablet" in result.stderr


@pytest.mark.parametrize("command", ["inspect", "verify", "replay"])
def test_a_tablet_of_the_future_is_refused_as_such(command: str, folder: Path, run: Runner):
    path = next(folder.glob("manifest-*"))
    message = tablet_pb2.Manifest(number=1)
    path.write_bytes(dataclasses.replace(FILE, format=5).framed(message, sequence=1))
    result = run(command, folder)
    assert result.exit_code == 1
    assert "has format 5, this program reads a 'tabletop tablet' of format 4" in result.stderr


@pytest.mark.parametrize("command", ["inspect", "verify", "replay"])
def test_a_folder_without_permission_is_told_by_its_name(command: str, folder: Path, run: Runner):
    me = os.geteuid()
    folder.chmod(0)
    try:
        if me == 0:  # Root may read everything; nobody may not.
            os.seteuid(65534)
        result = run(command, folder)
    finally:
        os.seteuid(me)
        folder.chmod(0o700)
    assert result.exit_code == 1
    assert "Permission denied" in result.stderr
    assert str(folder) in result.stderr


def test_the_folder_of_a_running_engine_is_shown(folder: Path, run: Runner):
    with tablet.engine.open(folder) as table:
        table.put("row[99]", "page:title", "now")
        for command in ("inspect", "verify", "replay"):
            assert run(command, folder).exit_code == 0


def test_simulate_compares_policies_in_a_table_and_a_picture(tmp_path: Path, run: Runner):
    picture = tmp_path / "policies.svg"
    sizes = ("--rows", 2000, "--updates", 8000, "--memtable-rows", 200)
    result = run("simulate", "--policy", "size-tiered", "--policy", "leveled", *sizes, "--plot", picture)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == ["size_tiered", "leveling"]
    root = ElementTree.parse(picture).getroot()
    assert len(root.findall(".//{*}polyline")) == 2 * 3


def test_simulate_gives_json_for_programs(run: Runner):
    result = run("simulate", "--rows", 1000, "--updates", 1000, "--memtable-rows", 200, "--json")
    assert [outcome["policy"] for outcome in json.loads(result.stdout)] == ["size_tiered", "leveling", "everything"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--policy", "magic"), "there is no compaction policy 'magic'"),
        (("--pattern", "odd"), "there is no pattern 'odd'"),
        (("--deletions", "7"), "shares, from 0 to 1"),
        (("--fan-in", "1"), "at least 2 files"),
        (("--rows", "99999999"), "too many to simulate"),
        (("--rows", "0"), "--rows"),
    ],
)
def test_simulate_takes_what_makes_no_sense_for_a_mistake_of_the_command_line(
    arguments: tuple[str, ...], message: str, run: Runner
):
    result = run("simulate", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_simulate_asks_for_the_place_of_its_picture_before_it_works(tmp_path: Path, run: Runner):
    for place, message in ((tmp_path / "nowhere" / "a.svg", "there is no folder"), (tmp_path, "it is a folder")):
        result = run("simulate", "--plot", place, "--rows", 10, "--updates", 0)
        assert result.exit_code == 1
        assert f"cannot draw to '{place}': {message}" in result.stderr
        assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_simulate_draws_no_picture_of_a_kind_that_it_does_not_know(tmp_path: Path, run: Runner):
    result = run("simulate", "--plot", tmp_path / "out.png", "--rows", 10, "--updates", 0)
    assert result.exit_code == 2 and "out.svg" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_simulate_calls_its_policies_by_the_names_that_its_help_says(run: Runner):
    said = run("simulate", "--help").stdout
    result = run("simulate", "--rows", 100, "--updates", 0)
    names = [line.split()[0] for line in result.stdout.splitlines()[2:]]
    assert names == ["size_tiered", "leveling", "everything"]
    assert all(name in said for name in names)


@pytest.mark.parametrize("columns", [40, 80])
def test_a_narrow_terminal_shortens_no_figure(columns: int, folder: Path, run: Runner, monkeypatch: pytest.MonkeyPatch):
    wide = [run("inspect", folder).stdout, run("simulate", "--rows", 1000, "--updates", 3000).stdout]
    monkeypatch.setattr(console.output, "_width", columns)
    narrow = [run("inspect", folder).stdout, run("simulate", "--rows", 1000, "--updates", 3000).stdout]
    assert [text.split() for text in narrow] == [text.split() for text in wide]


def test_long_keys_are_folded_and_stay_whole(tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch):
    key = "com.example/" + "0123456789" * 4
    with tablet.engine.open(tmp_path / "long") as table:
        table.create_family("page")
        table.put(key, "page:title", "A")
        table.flush()
    monkeypatch.setattr(console.output, "_width", 100)
    lines = run("inspect", tmp_path / "long").stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("FILE"))
    column = lines[start].index("FIRST ROW")
    width = lines[start].index("LAST ROW") - column
    rows = lines[start + 1 : lines.index("Bloom filters") - 1]
    assert "".join(line[column : column + width].strip() for line in rows) == key


def test_the_commands_show_the_policy_of_the_bloom_filters(tmp_path: Path, run: Runner):
    with tablet.engine.open(tmp_path) as table:
        table.set_locality_group(LocalityGroup(bloom_policy="blocked"))
        table.create_family("page")
        table.put("com.example/a", "page:title", "A")
        table.flush()
    (path,) = tmp_path.glob("*.sst")
    shown = run("inspect", tmp_path).stdout
    assert re.search(rf"{path.name} +blocked +1 +2 ", shown)
    groups = json.loads(run("inspect", "--json", tmp_path).stdout)["groups"]
    assert groups[0]["tables"][0]["filters"]["policy"] == "blocked"
    assert "filter 0: blocked, 2 keys, 64 bits in words of 64, " in run("dump", path).stdout
    assert run("verify", tmp_path).exit_code == 0


@pytest.mark.parametrize("command", ["inspect", "dump", "verify", "replay", "simulate"])
def test_each_command_helps_with_an_example(command: str, run: Runner):
    assert f"tabletop tablet {command}" in run(command, "--help").stdout
