"""Rows as text and the Webtable, with the commands, on a cluster of processes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk
from tests.cluster.test_tables import QUICK

pytestmark = pytest.mark.cluster


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "home")
    yield desk
    processes.end_processes(desk.programs(), grace_seconds=0.0)


def lines(printed: str) -> list[str]:
    """The JSON lines, without the remark on standard error."""
    return [line for line in printed.splitlines() if line.startswith("{")]


def test_rows_go_out_as_text_and_come_back_and_pages_are_found(desk: Desk, tmp_path: Path):
    desk.run("up", *QUICK)
    desk.run("table", "create", "users", "f", "log:1")
    rows = tmp_path / "rows.csv"
    rows.write_text("row,f:name,log:n\nada,Ada,1\nbob,,2\nzoe,Zoë,3\n")
    assert "imported 3 rows" in desk.run("table", "import", "users", str(rows))
    assert desk.run("table", "count", "users") == "3\n"
    assert desk.run("table", "count", "users", "--start", "b", "--regex", ".*o.*") == "2\n"
    assert desk.run("table", "get", "users", "ada", "f:name") == "Ada"
    whole = desk.run("table", "get", "users", "zoe")
    assert "f:name" in whole and "log:n" in whole
    first = desk.run("table", "scan", "users", "--reverse", "--limit", "1").splitlines()
    assert [line.split()[0] for line in first] == ["zoe", "zoe"]
    assert json.loads(desk.run("table", "schema", "users", "--json"))[1]["keeps"] == "1 version"
    for name in ("out.jsonl", "out.csv"):
        out = tmp_path / name
        desk.run("table", "export", "users", str(out))
        desk.run("table", "create", name.replace(".", "-"), "f", "log:1")
        desk.run("table", "import", name.replace(".", "-"), str(out))
        assert lines(desk.run("table", "export", name.replace(".", "-"))) == lines(desk.run("table", "export", "users"))
    assert "--overwrite" in desk.run("table", "export", "users", str(out), expect=2)
    rows.write_text("row,g:name\nada,Ada\n")
    assert "line 2: found column 'g:name'; expected one of the families" in desk.run(
        "table", "import", "users", str(rows), expect=2
    )
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "a.html").write_text("<title>A</title><a href=b.html>to b</a>")
    (pages / "b.html").write_text("<title>B</title>")
    load = ("table", "webtable", "load", str(pages), "--host", "www.example")
    assert "2 pages in webtable: 2 new, 0 changed, 0 as before; 1 anchor written" in desk.run(*load)
    assert "2 as before" in desk.run(*load)
    assert desk.run("table", "webtable", "links", "www.example/b.html") == "www.example/a.html  to b\n"
    assert [line.split()[-1] for line in desk.run("table", "webtable", "site", "example").splitlines()] == ["A", "B"]
    assert desk.run("table", "webtable", "versions", "www.example/b.html", "--show", "1") == "<title>B</title>"
    assert "1 version" in desk.run("table", "webtable", "versions", "www.example/b.html", "--show", "2", expect=2)
    assert desk.run("table", "webtable", "links", "www.example/a.html", expect=1)
