"""`tabletop tablet list`, and what the other commands show of tablets that share files."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime.events import MemorySink
from runtime.real.world import RealWorld
from tablet.engine.model.operations import SetCell
from tablet.engine.model.schema import Family, Schema
from tablet.server.folders import DiskFolders
from tablet.server.tablets import Tablets
from tabletop.application import app


def run(*arguments: object):
    return CliRunner().invoke(app, ["tablet", *map(str, arguments)], env={"COLUMNS": "140"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tablets that share a file, one of which has a file of its own."""

    async def prepare() -> None:
        world = RealWorld(node="test", root=tmp_path, token="", sink=MemorySink())
        folders = DiskFolders(world.disk, "tablets")
        await folders.prepare()
        tablets = await Tablets.open(folders, world)
        await tablets.create_table("users", Schema().with_family(Family("f")))
        for number in range(100):
            await tablets.write("users", b"row%03d" % number, [SetCell(b"f:a", b"v" * 100)])
        _, upper = await tablets.split(tablets.catalogue.names()[0], b"row040")
        await tablets.write("users", b"row099", [SetCell(b"f:a", b"new")])
        await tablets.named(upper).flush()
        await tablets.close()
        await world.close()

    asyncio.run(prepare())
    return tmp_path / "tablets"


def test_the_tablets_of_a_server_are_listed_with_the_files_that_they_share(folder: Path):
    printed = run("list", folder).stdout
    assert "2 tablets in" in printed
    lines = [line.split() for line in printed.splitlines()]
    assert ["users-000002", "users", "''", "row040", "1", "1", "1"] in [line[:7] for line in lines]
    assert ["users-000003", "users", "row040", "''", "2", "1", "1"] in [line[:7] for line in lines]
    (lower, upper) = json.loads(run("list", folder, "--json").stdout)
    assert (lower["end_row"], upper["start_row"], upper["shared"]) == ("row040", "row040", 1)


def test_inspect_shows_which_rows_of_a_shared_file_count_and_verify_reads_it(folder: Path):
    printed = run("inspect", folder / "users-000002")
    assert printed.exit_code == 0, printed.output
    assert "../users-000001/" in printed.stdout and "only some rows count" in printed.stdout
    (group,) = json.loads(run("inspect", folder / "users-000003", "--json").stdout)["groups"]
    assert group["tables"][1]["spans"] == [["row040", ""]]
    verified = run("verify", folder / "users-000003")
    assert verified.exit_code == 0 and "0 problems" in verified.stdout, verified.output


def test_a_shared_file_that_is_missing_is_found_by_verify(folder: Path):
    (shared,) = (folder / "users-000001").glob("*.sst")
    shared.unlink()
    for tablet in ("users-000002", "users-000003"):
        result = run("verify", folder / tablet)
        assert result.exit_code == 1 and "is not there" in result.output


def test_a_folder_without_a_catalogue_is_refused_in_one_message(folder: Path, tmp_path: Path):
    assert "holds no catalogue" in run("list", folder / "users-000002").stderr
    assert "there is no folder" in run("list", tmp_path / "nowhere").stderr
