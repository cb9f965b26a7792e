"""What the parts of `bench.file_system` share: noting figures, taking time, and beginning alike."""

import mmap
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.report import Row

MEGABYTE = 1024 * 1024
TOUCHED_BYTES = 4 * 1024 * MEGABYTE


class Rows:
    """All rows of the run, by name, in order of first use."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def add(self, what: str, unit: str, contestant: str, amount: float, seconds: float) -> None:
        """Note one measurement and show it at once."""
        self.rows.setdefault(what, Row(what, unit)).add(contestant, amount / seconds)
        print(f"  {contestant:<10} {what}: {amount / seconds:,.1f} {unit}", flush=True)


async def timed(work: Awaitable[object]) -> float:
    """Seconds that awaiting `work` takes."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


def timed_call(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def settle(*, names: bool = False) -> None:
    """Let everybody begin alike: nothing waits to be written to the disk, nothing is in the page cache (with `names`,
    nor in the caches of names and inodes), and the free memory is really there. (A virtual machine is given memory at
    the first touch, which costs as much as the copy of a page; whoever writes after somebody else has freed a file
    would be spared that.)"""
    os.sync()
    _empty_caches(names=names)
    if names:
        return  # What follows moves few bytes.
    with mmap.mmap(-1, TOUCHED_BYTES) as memory:
        for begin in range(0, TOUCHED_BYTES, mmap.PAGESIZE):
            memory[begin] = 1


def _empty_caches(*, names: bool) -> None:
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3" if names else "1")
    except OSError:
        print("  (the page cache could not be emptied: reads come from memory)")
