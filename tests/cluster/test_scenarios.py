"""A scenario with real processes: the same file, the same judges; nothing is left of it."""

from pathlib import Path

import pytest

from cluster.scenarios import examples
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return Desk(tmp_path / "home")


def test_an_example_holds_with_real_processes_and_leaves_nothing(desk: Desk, tmp_path: Path):
    printed = desk.run("scenario", "run", str(examples.path("first")), "--world", "real", "--table")
    assert "in real processes" in printed and "faults: Kill" in printed
    assert "✔ it holds" in printed
    assert "promised" in printed and "operation 4" in printed
    assert list(tmp_path.glob("tabletop-scenario-*")) == []


def test_a_fault_that_processes_cannot_have_is_refused_in_words(desk: Desk, tmp_path: Path):
    (tmp_path / "drill.py").write_text(
        "from cluster.faultplan import ClockDrift, Node\n"
        "from cluster.scenarios import scenario\n"
        "@scenario(chunkservers=3)\n"
        "async def drifts(cluster, seed):\n"
        "    await cluster.impose(ClockDrift(0.1), Node('cs1'))\n"
    )
    printed = desk.run("scenario", "run", str(tmp_path / "drill.py"), "--world", "real", expect=1)
    assert "InvalidRequest" in printed and "simulated world" in printed
    assert list(tmp_path.glob("tabletop-scenario-*")) == []
