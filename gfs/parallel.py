"""Many small files at once.

The problem. A small file costs a few round trips and hardly any bytes, so a tree of thousands of them, one after the
other, is all waiting. The idea: a number of workers take jobs from one iterator, which is asked for the next job only
when a worker is free, so that a tree need not fit into memory.

    await in_parallel(paths, lambda path: client.write_file(path, contents[path]), at_once=32)
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

SMALL_FILES_AT_ONCE = 32


async def in_parallel(
    jobs: Iterable[T],
    work: Callable[[T], Awaitable[R]],
    *,
    at_once: int = SMALL_FILES_AT_ONCE,
    done: Callable[[T, R], Any] | None = None,
) -> None:
    """Do `work` for every job, `at_once` of them at a time; `done(job, result)` is called after each, for progress.

    The first failure cancels what is under way, and is raised.

    >>> async def main():
    ...     lengths = {}
    ...     async def measure(word):
    ...         return len(word)
    ...     await in_parallel(["a", "bb", "ccc"], measure, at_once=2, done=lengths.__setitem__)
    ...     return lengths
    >>> asyncio.run(main())
    {'a': 1, 'bb': 2, 'ccc': 3}
    """
    left = iter(jobs)

    async def worker() -> None:
        for job in left:
            result = await work(job)
            if done is not None:
                done(job, result)

    workers = [asyncio.create_task(worker(), name=f"worker {number}") for number in range(at_once)]
    try:
        # In the order of their numbers: which failure comes first must not depend on the order of a set.
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
