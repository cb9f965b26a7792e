"""The scenarios in a file: what is found, and what is said about a file in which none can be found."""

from pathlib import Path

import pytest

from cluster.scenarios import Scenario
from cluster.scenarios.declaring import DEFAULTS
from cluster.scenarios.loading import load_scenario, load_scenarios
from runtime.errors import InvalidRequest, NotFound, TabletopError

HEAD = "from cluster.scenarios import scenario\n"


@pytest.fixture
def drills(tmp_path: Path) -> Path:
    return tmp_path / "drills.py"


def wrong(path: Path, text: str, where: str = "") -> str:
    """What is said about a file with this text."""
    path.write_text(text)
    with pytest.raises(TabletopError) as raised:
        load_scenario(where or str(path))
    return raised.value.message


def test_a_bare_decorator_and_one_with_settings(drills: Path):
    drills.write_text(
        HEAD + '@scenario\nasync def one(cluster, seed):\n    """What it shows.\n\n    More."""\n\n'
        "@scenario(chunkservers=5, clients=2, longest_seconds=60, masters=3)\nasync def two(cluster, seed): pass\n"
    )
    one, two = load_scenarios(drills)
    assert isinstance(one, Scenario) and one.name == "one" and one.about == "What it shows."
    assert one.settings.chunkservers == DEFAULTS["chunkservers"] and one.settings.chunk_bytes == DEFAULTS["chunk_bytes"]
    assert (two.settings.chunkservers, two.settings.masters, two.clients, two.longest_seconds) == (5, 3, 2, 60)
    assert load_scenario(f"{drills}::two").name == "two"


def test_a_scenario_may_import_what_lies_beside_it(drills: Path):
    (drills.parent / "beside_drills.py").write_text("WORD = 'hello'\n")
    drills.write_text(
        "from beside_drills import WORD\n" + HEAD + "@scenario\nasync def one(cluster, seed): assert WORD\n"
    )
    assert load_scenario(str(drills)).name == "one"


def test_a_scenario_that_is_imported_from_elsewhere_is_not_one_of_this_file(drills: Path):
    text = "from cluster.scenarios.examples.first import survives_a_dead_primary\n"
    assert "has no scenario" in wrong(drills, text)


def test_no_such_file_says_how_to_get_one(drills: Path, tmp_path: Path):
    with pytest.raises(NotFound, match="tabletop scenario new"):
        load_scenario(str(drills))
    with pytest.raises(NotFound, match="it is a folder"):
        load_scenario(str(tmp_path))


def test_a_file_without_a_scenario_says_what_is_missing(drills: Path):
    assert "put @scenario" in wrong(drills, HEAD + "async def one(cluster, seed): pass\n")


def test_two_scenarios_have_to_be_told_apart(drills: Path):
    text = HEAD + "@scenario\nasync def one(cluster, seed): pass\n@scenario\nasync def two(cluster, seed): pass\n"
    said = wrong(drills, text)
    assert "has 2 scenarios" in said and f"{drills}::one" in said and "one, two" in said
    assert "no scenario 'three'; it has: one, two" in wrong(drills, text, f"{drills}::three")


def test_a_syntax_error_is_named_with_its_line(drills: Path):
    said = wrong(drills, HEAD + "@scenario\nasync def one(cluster, seed)\n    pass\n")
    assert said.startswith("drills.py:3: ") and "async def one(cluster, seed)" in said


def test_an_exception_while_the_file_is_read_is_named_with_its_line(drills: Path):
    assert wrong(drills, "import math\n\nx = 1 / 0\n") == "drills.py:3: ZeroDivisionError: division by zero"
    assert wrong(drills, "import no_such_module_anywhere\n").startswith("drills.py:1: ModuleNotFoundError")


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("@scenario(chunkserver=4)\nasync def one(cluster, seed): pass\n", "did you mean 'chunkservers'?"),
        ("@scenario(chunkservers=2)\nasync def one(cluster, seed): pass\n", "3 replicas need at least 3"),
        ("@scenario(chunkservers='4')\nasync def one(cluster, seed): pass\n", "chunkservers"),
        ("@scenario\ndef one(cluster, seed): pass\n", "is no coroutine: write `async def one(cluster, seed)`"),
        ("@scenario\nasync def one(cluster): pass\n", "takes (cluster): expected a cluster and a seed"),
        ("@scenario(clients=0)\nasync def one(cluster, seed): pass\n", "0 clients: expected between 1 and 100"),
        ("@scenario(longest_seconds=0)\nasync def one(cluster, seed): pass\n", "longest_seconds is 0"),
    ],
)
def test_a_declaration_that_can_never_work_is_refused_with_its_place(drills: Path, declared: str, expected: str):
    said = wrong(drills, HEAD + declared)
    assert said.startswith("drills.py:2: ") and expected in said


def test_helpers_outside_of_a_run_say_where_they_belong():
    from cluster.scenarios import recorded

    with pytest.raises(InvalidRequest, match="tabletop scenario run"):
        recorded(None)  # type: ignore[arg-type]
