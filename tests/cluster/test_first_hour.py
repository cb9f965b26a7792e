"""The README's first hour, word by word, on a cluster of real processes."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
COMMAND = re.compile(r"^    tabletop (.*?)(?: {2,}#.*)?$", re.MULTILINE)
PROGRAM = re.compile(r"```python\n(import gfs\n.*?)```", re.DOTALL)


def first_hour() -> str:
    text = README.read_text(encoding="utf-8")
    begin = text.index("## A first hour")
    return text[begin : text.index("## ", begin + 3)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("TABLETOP_HOME", str(tmp_path / "home"))
    desk = Desk(tmp_path / "home")
    yield desk
    processes.end_processes(desk.programs(), grace_seconds=0.0)


def run_program(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_and_program_of_the_first_hour_works_in_its_order(desk: Desk, tmp_path: Path):
    hour = first_hour()
    steps = [(found.start(), "command", found[1]) for found in COMMAND.finditer(hour)]
    steps += [(found.start(), "program", found[1]) for found in PROGRAM.finditer(hour)]
    printed: dict[str, str] = {}
    for _, kind, text in sorted(steps):
        if kind == "program":
            for _ in range(2):
                assert run_program(text) == "b'the chunk is 64 MB'\n"
        else:
            words = shlex.split(text.replace("/tmp/docs-again", str(tmp_path / "again")))
            printed[text] = desk.run(*words)
    assert "cs1 has been silent" in printed["status"]
    assert "healed after" in printed["wait healed"]
    assert "it can be had back: `tabletop fs trash restore /docs`" in printed["fs rm -r /docs"]
    assert "started cs1" in printed["up"]
    for source in (ROOT / "docs").rglob("*"):
        if source.is_file():
            copy = tmp_path / "again" / source.relative_to(ROOT / "docs")
            assert copy.read_bytes() == source.read_bytes(), source
    assert desk.programs() == [] and desk.files() == []
