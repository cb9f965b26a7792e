"""The same seed gives the same run, byte for byte: here, again, and in fresh processes with other hashes.

Python has two sources of order that no seed decides: the hashes of texts (PYTHONHASHSEED), and addresses in memory,
which decide the order of sets of objects. A run in another process with another allocator changes both.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.told_again import STORIES, told

ROOT = Path(__file__).resolve().parents[2]
LINES_OF_CONTEXT = 3


def difference(story: str, seed: int, one: str, other: str) -> str:
    """The first line in which two runs differ, with what led to it; empty if they are equal."""
    if one == other:
        return ""
    first, second = one.splitlines(), other.splitlines()
    number = next((n for n, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None)
    if number is None:
        number = min(len(first), len(second))
    shown = [f"    {line}" for line in first[max(0, number - LINES_OF_CONTEXT) : number]]
    shown += [f"one   {line}" for line in first[number : number + 1]]
    shown += [f"other {line}" for line in second[number : number + 1]]
    shown.append(f"see: python -m tests.sim.told_again {story} {seed}")
    return "\n".join([f"{story} with seed {seed} differs at line {number + 1}:", *shown])


def told_elsewhere(story: str, seed: int, **variables: str) -> str:
    """The same run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim.told_again", story, str(seed)],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("story", sorted(STORIES))
def test_a_seed_told_twice_gives_the_same_bytes(story, seed):
    problem = difference(story, seed, told(story, seed), told(story, seed))
    assert not problem, problem


@pytest.mark.parametrize("story", sorted(STORIES))
def test_a_seed_gives_the_same_bytes_in_fresh_processes_that_hash_and_allocate_otherwise(story):
    seed = 7
    here = told(story, seed)
    for variables in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "4242", "PYTHONMALLOC": "malloc"}):
        problem = difference(story, seed, here, told_elsewhere(story, seed, **variables))
        assert not problem, f"with {variables}: {problem}"


@pytest.mark.parametrize("story", sorted(STORIES))
def test_another_seed_gives_another_run(story):
    assert told(story, 1) != told(story, 2)


def test_the_first_difference_is_named():
    problem = difference("chatter", 3, "same\nhere\nend\n", "same\nthere\nend\n")
    assert "differs at line 2" in problem and "one   here" in problem and "other there" in problem
    assert "line 3" in difference("chatter", 3, "a\nb\n", "a\nb\nc\n")
    assert difference("chatter", 3, "a\n", "a\n") == ""
