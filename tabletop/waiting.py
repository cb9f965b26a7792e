"""Telling what a command waits for, while it waits.

The problem. A client that gets no answer tries again for half a minute, or for two when it writes: enough for a master
to restart, and for a person to think that the command hangs. The idea: the client records each of its tries, so that a
command that goes on trying can say so, and say which node is not well, every few seconds.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cluster.interface import NodeState
from cluster.real import RealCluster
from gfs.events import MasterAskedAgain, ReplicaSkipped, WriteRetried
from runtime.errors import TabletopError
from runtime.events import Record
from tabletop.console import remark
from tabletop.node_table import advice

QUIET_SECONDS = 3.0
"""A command that gets on within this time says nothing."""

REPEAT_SECONDS = 10.0
LOOK_SECONDS = 0.5
RECENT_SECONDS = 4.0
"""The longest pause between two tries is half of this."""

_TEMPORARY_NAME = re.compile(r"'?/[^' ]*?\.writing-[0-9a-f]{16}(?:/[^' ]*)?'?")
"""What a file or folder is called until it is complete means nothing to who writes it."""

Trying = MasterAskedAgain | WriteRetried | ReplicaSkipped


class LastTry:
    """A sink that keeps the last failed try, and nothing else."""

    def __init__(self) -> None:
        self._last: tuple[float, str] | None = None

    def write(self, record: Record) -> None:
        """Keep it if it is a failed try."""
        if isinstance(record.event, Trying):
            self._last = (record.wall_microseconds / 1e6, record.event.reason)

    def reason(self, now: float) -> str:
        """Why the last try failed, if that was a moment ago; `now` is in seconds since the epoch."""
        if self._last is None or now - self._last[0] > RECENT_SECONDS:
            return ""
        return _TEMPORARY_NAME.sub("the file", self._last[1])


@asynccontextmanager
async def told_while_waiting(cluster: RealCluster, tries: LastTry) -> AsyncIterator[None]:
    """Say what the block waits for, for as long as it does."""
    telling = asyncio.get_running_loop().create_task(_tell(cluster, tries), name="tell what is waited for")
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(cluster: RealCluster, tries: LastTry) -> None:
    loop = asyncio.get_running_loop()
    began, due = loop.time(), loop.time() + QUIET_SECONDS
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        reason = tries.reason(cluster.client_world.clock.wall_microseconds() / 1e6)
        if loop.time() >= due and reason:
            remark(f"still trying after {loop.time() - began:.0f} s: {reason}")
            for sentence in await _not_well(cluster):
                remark(sentence)
            due = loop.time() + REPEAT_SECONDS


async def _not_well(cluster: RealCluster) -> list[str]:
    try:
        return [advice(report) for report in await cluster.nodes() if report.state is not NodeState.SERVING]
    except TabletopError:
        return []
