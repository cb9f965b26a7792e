"""The page about the tablet engine can be followed word by word: its code runs, its commands print what it shows.

Everything on the page is made with timestamps that it says itself, so that nothing depends on the time or the machine.
After a change that shows, `python -m tests.unit.test_tablet_page` writes the outputs anew; read the difference.
"""

import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime import errors
from tablet.engine.model.checks import COLUMN_LIMIT_BYTES, MUTATION_LIMIT_BYTES, ROW_LIMIT_BYTES
from tablet.engine.model.schema import FAMILY_LIMIT
from tabletop.application import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tablet.md"
_PIECE = re.compile(
    r"```python\n(?P<code>(?:.*\n)*?)```\n(?:\n(?P<printed>(?:    .*\n)+))?"  # A program, and perhaps what it prints,
    r"|^    \$ (?P<command>.*)\n(?P<shown>(?:    .*\n|\n(?=    (?!\$)))*)",  # or a command and its output.
    re.MULTILINE,
)


@dataclass(frozen=True)
class Piece:
    """A program of the page (`code`) or a command, what the page shows of its output, and where that stands."""

    code: str
    command: str
    shown: str
    start: int
    end: int


def pieces(page: str) -> Iterator[Piece]:
    """Everything on the page that can be run, in order."""
    for found in _PIECE.finditer(page):
        name = "printed" if found["code"] else "shown"
        start, end = found.span(name) if found[name] else (found.end(), found.end())
        shown = "".join(line[4:] or "\n" for line in page[start:end].splitlines(keepends=True))
        yield Piece(found["code"] or "", found["command"] or "", shown, start, end)


def run(piece: Piece) -> str:
    """Run one in the current folder; returns what it prints, lines without blanks at their ends."""
    if piece.code:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(piece.code, str(PAGE), "exec"), {})
        output = printed.getvalue()
    else:
        program, *arguments = shlex.split(piece.command)
        assert program == "tabletop"
        output = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    return "".join(line.rstrip() + "\n" for line in output.splitlines())


def indented(text: str) -> str:
    return "".join("    " + line if line.strip() else line for line in text.splitlines(keepends=True))


def test_whoever_follows_the_page_word_by_word_sees_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    followed = list(pieces(PAGE.read_text(encoding="utf-8")))
    assert sum(bool(piece.command) for piece in followed) >= 7
    assert sum(bool(piece.code) for piece in followed) >= 4
    for piece in followed:
        assert run(piece) == piece.shown, piece.command or piece.code


def test_the_first_program_has_five_lines():
    first = next(pieces(PAGE.read_text(encoding="utf-8")))
    assert len([line for line in first.code.splitlines() if line]) == 5


def test_the_page_says_the_limits_that_are_kept():
    page = PAGE.read_text(encoding="utf-8")
    for limit in (ROW_LIMIT_BYTES, COLUMN_LIMIT_BYTES, MUTATION_LIMIT_BYTES):
        assert f"{limit:,}" in page
    assert f"{FAMILY_LIMIT} families" in page


def test_the_page_names_errors_that_there_are():
    named = re.findall(r"^\| `(\w+)` \| ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert "Conflict" in named
    assert [name for name in named if not issubclass(getattr(errors, name), errors.TabletopError)] == []


def main() -> None:
    """Write the outputs on the page anew."""
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        printed = [(piece, run(piece)) for piece in pieces(page)]
    for piece, output in reversed(printed):
        page = page[: piece.start] + indented(output) + page[piece.end :]
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
