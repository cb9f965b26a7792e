"""Batches of a sweep on a Dask cluster: what is sent there, what comes back, and what is said without Dask."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.swarm.dask_pool import DaskPool, dask_pool, run_batch
from cluster.swarm.sweep import Batch, Sweep
from runtime.errors import InvalidRequest

SCENARIO = b"""
from cluster.scenarios import check, scenario

@scenario(chunkservers=3)
async def fails_with_one(cluster, seed):
    check(seed != 1, "the seed is not one")
"""
KIND = "cluster.scenarios.sweeping:drill.py::fails_with_one"


class Client:
    """A client of Dask whose tasks run here and now."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def submit(self, function: Any, *arguments: Any, pure: bool) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(self._run(function, *arguments))
        return future


def swept(client: Client, files: dict[str, bytes]) -> Sweep:
    sweep = Sweep(KIND, seeds=3, batch=2, pool=DaskPool(client, files))
    sweep.run()
    return sweep


def test_a_batch_runs_where_it_is_sent_with_the_file_that_is_sent_along():
    lines, exit_code = run_batch(Batch(KIND, 0, 2), {"drill.py": SCENARIO})
    assert exit_code == 0
    assert [line.get("begins") for line in lines] == [0, None, 1, None]
    assert [bool(line["verdicts"]) for line in lines if "seed" in line] == [False, True]


def test_a_sweep_reports_what_the_batches_bring_back():
    answers = {
        0: ([{"begins": 0}, summary(0, []), {"begins": 1}, summary(1, [["check", "no"]])], 0),
        2: ([{"begins": 2}], 1),
    }
    report = swept(Client(lambda function, batch, files: answers[batch.first]), {}).report
    assert report.seeds == 2 and report.failures[1] == [["check", "no"]]
    assert report.failures[2] == [["worker", "the process ended with exit code 1"]]


def test_a_batch_that_does_not_end_is_a_failure_like_any_other():
    async def lines() -> list[Any]:
        pool = DaskPool(Client(lambda function, batch, files: ([], None)), {})
        return [line async for line in pool.lines(Batch(KIND, 0, 1))]

    with pytest.raises(TimeoutError):
        asyncio.run(lines())


def test_without_dask_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InvalidRequest, match=r"tabletop-cluster\[dask\]"):
        asyncio.run(dask_pool("tcp://127.0.0.1:1"))


def summary(seed: int, verdicts: list[list[str]]) -> dict[str, Any]:
    return {
        "seed": seed,
        "verdicts": verdicts,
        "is_undecided": False,
        "marks": [],
        "struck": {},
        "operations": 1,
        "cpu_seconds": 0.1,
        "virtual_seconds": 1.0,
    }
