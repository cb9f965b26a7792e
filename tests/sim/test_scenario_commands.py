"""`tabletop scenario`, `tabletop sweep` and the pytest plugin: what they print, and how they end."""

import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tabletop.application import app

pytest_plugins = ["pytester"]

FAILING = """
    from cluster.scenarios import chance, check, recorded, scenario

    @scenario(chunkservers=3)
    async def test_unlucky(cluster, seed):
        alice = recorded(cluster)
        data = await alice.write_file("/a", 1000)
        check(chance(seed).below(5) != 3, "no three was drawn")
"""
HOLDING = """
    from cluster.scenarios import recorded, scenario

    @scenario(chunkservers=3)
    async def holds(cluster, seed):
        await recorded(cluster).write_file("/a", 1000)
"""
UNLUCKY_SEED = 2
"""The first with which FAILING fails."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drill.py").write_text(textwrap.dedent(FAILING))
    (tmp_path / "good.py").write_text(textwrap.dedent(HOLDING))
    return tmp_path


def run(*arguments: str, expect: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    printed = done.stdout + done.stderr
    assert done.exit_code == expect, f"{arguments}: exit code {done.exit_code}, expected {expect}:\n{printed}"
    return printed


def test_a_run_that_holds_says_so_and_shows_table_1(folder: Path):
    printed = run("scenario", "run", "good.py", "--table")
    assert "holds, seed 0, in the simulated world: " in printed and "✔ it holds" in printed
    assert "promised" in printed and "0-1000" in printed


def test_a_run_that_fails_says_why_and_how_to_see_it_again(folder: Path):
    printed = run("scenario", "run", "drill.py", "--seed", str(UNLUCKY_SEED), expect=1)
    assert "✘ check: no three was drawn (drill.py:8)" in printed
    assert f"Again: tabletop scenario run drill.py --world sim --seed {UNLUCKY_SEED}" in printed


def test_a_story_and_a_timeline(folder: Path):
    printed = run("scenario", "run", "good.py", "--story", "--timeline", "run.html")
    assert "client1: write /a, 1000 bytes [1] -> done" in printed and "Timeline: run.html" in printed
    assert "<html" in (folder / "run.html").read_text()


def test_mistakes_are_named_and_end_with_the_code_for_usage(folder: Path):
    (folder / "syntax.py").write_text("async def one(:\n")
    (folder / "two.py").write_text(textwrap.dedent(HOLDING + HOLDING.replace("holds", "other")))
    assert "syntax.py:1: " in run("scenario", "run", "syntax.py", expect=2)
    assert "has 2 scenarios: name one, such as two.py::holds" in run("scenario", "run", "two.py", expect=2)
    assert "no file nothing.py" in run("scenario", "run", "nothing.py", expect=1)
    assert "no planted bug 'nonsense'" in run("scenario", "run", "good.py", "--bug", "nonsense", expect=1)
    assert "for the simulated world" in run("scenario", "run", "good.py", "--world", "real", "--bug", "x", expect=2)
    assert "no such" in run("scenario", "run", "good.py", "--tape", "none.json", expect=1).lower()


def test_a_new_file_is_an_example_that_can_be_run_and_nothing_is_overwritten(folder: Path):
    assert "`tabletop scenario run fresh.py`" in run("scenario", "new", "fresh.py")
    assert "✔ it holds" in run("scenario", "run", "fresh.py", "--seed", "3")
    assert "exists" in run("scenario", "new", "fresh.py", expect=1)
    assert "no example 'nothing'; there are: " in run("scenario", "new", "b.py", "--like", "nothing", expect=1)
    assert "reads_past_rot" in run("scenario", "examples")


def test_a_sweep_finds_the_seed_shrinks_it_and_says_how_to_see_both_again(folder: Path):
    printed = run("sweep", "drill.py", "--seeds", "6", "--jobs", "1", expect=1)
    assert f"✘ seed {UNLUCKY_SEED}: check: no three was drawn" in printed
    assert "1 of its " in printed and "matter: scenario 0" in printed
    again, plain = [line for line in printed.splitlines() if line.startswith(("Again: ", "Plain: "))]
    where = "drill.py::test_unlucky"
    assert again == f"Again: tabletop scenario run {where} --world sim --seed {UNLUCKY_SEED}"
    tape = f".scenarios/test_unlucky-{UNLUCKY_SEED}.json"
    assert plain.startswith(f"Plain: tabletop scenario run {where} --world sim --tape {tape}")
    assert "no three was drawn" in run("scenario", "run", where, "--tape", tape, expect=1)
    assert "is of scenario 'test_unlucky', and good.py is 'holds'" in run(
        "scenario", "run", "good.py", "--tape", tape, expect=2
    )


def test_a_sweep_that_holds_and_one_that_has_no_dask(folder: Path):
    assert "✔ it holds with every seed that was run." in run("sweep", "good.py", "--seeds", "3", "--jobs", "1")
    assert "no planted bug" in run("sweep", "good.py", "--bug", "nonsense", expect=1)


PLUGIN = ("-p", "tabletop.pytest_plugin", "-p", "no:cacheprovider")


def test_a_scenario_in_a_test_file_is_a_test(pytester: pytest.Pytester):
    pytester.makepyfile(test_drill=textwrap.dedent(FAILING), test_good=textwrap.dedent(HOLDING))
    result = pytester.runpytest_inprocess(*PLUGIN, "--seeds", "4")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            f"test_unlucky fails with seed {UNLUCKY_SEED}: *",
            "✘ check: no three was drawn (test_drill.py:*",
            "Shrunk: 1 of its * unusual choices matter: scenario 0 *",
            f"Again: pytest test_drill.py::test_unlucky --replay {UNLUCKY_SEED}",
        ]
    )


def test_one_seed_can_be_replayed_and_no_seed_is_refused(pytester: pytest.Pytester):
    pytester.makepyfile(test_drill=textwrap.dedent(FAILING))
    pytester.runpytest_inprocess(*PLUGIN, "--replay", "0").assert_outcomes(passed=1)
    pytester.runpytest_inprocess(*PLUGIN, "--replay", str(UNLUCKY_SEED)).assert_outcomes(failed=1)
    refused = pytester.runpytest_inprocess(*PLUGIN, "--seeds", "0")
    assert "expected 1 or more" in refused.stdout.str() + refused.stderr.str()


def test_ordinary_tests_and_imported_scenarios_are_left_alone(pytester: pytest.Pytester):
    pytester.makepyfile(
        test_other="""
        from cluster.scenarios.examples.first import survives_a_dead_primary

        def test_ordinary():
            pass
        """
    )
    pytester.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=1)
