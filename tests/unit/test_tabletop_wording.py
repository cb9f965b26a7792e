"""Numbers in words, and how far long work has come."""

import asyncio
import doctest

import pytest

import cluster.settings
import tabletop.copying
from tabletop import wording
from tabletop.progress import LINE_SECONDS, LineMeter


@pytest.mark.parametrize("module", [wording, cluster.settings, tabletop.copying])
def test_the_examples_in_the_documentation_are_true(module: object):
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_sizes_of_all_magnitudes_have_a_unit():
    assert [wording.size(1024**power) for power in range(6)] == ["1 B", "1 KB", "1 MB", "1 GB", "1 TB", "1024 TB"]


async def test_a_line_of_progress_has_bytes_rate_and_the_time_left():
    meter = LineMeter("stored", total_bytes=10 * 1024 * 1024, total_files=4)
    meter.advance(bytes_done=2 * 1024 * 1024, files_done=1)
    assert meter.line(seconds=4.0) == "stored 1 of 4 files, 2 MB of 10 MB, 512 KB/s, 16.0 s left"


async def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]):
    moments = iter([0.0, 0.5, LINE_SECONDS, LINE_SECONDS + 0.5, 2 * LINE_SECONDS])
    loop = asyncio.get_running_loop()
    true_time = loop.time
    loop.time = lambda: next(moments)  # type: ignore[method-assign]
    try:
        meter = LineMeter("stored", total_bytes=100, total_files=1)
        for _ in range(4):
            meter.advance(bytes_done=25)
    finally:
        loop.time = true_time  # type: ignore[method-assign]
    assert capsys.readouterr().err.splitlines() == [
        "stored 50 B of 100 B, 25 B/s, 2.0 s left",
        "stored 100 B of 100 B, 25 B/s, 0 ms left",
    ]
