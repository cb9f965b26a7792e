"""Telling what a command waits for, while it waits.

The problem. A client that gets no answer tries again for half a minute, or for two when it writes: enough for a master
to restart, and for a person to think that the command hangs. The idea: the client records each of its tries, so that a
command that goes on trying can say so, and say which node is not well, every few seconds. What no client can see, the
cluster's folder tells: that the process of the master is gone. Then the command ends after a moment.
"""

import asyncio
import math
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

from cluster.interface import NodeState
from cluster.real import RealCluster
from gfs.events import AnsweredByShadow, AppendRetried, MasterAskedAgain, ReplicaSkipped, WriteRetried
from runtime.errors import TabletopError, Unavailable
from runtime.events import Record
from tabletop.console import remark
from tabletop.node_table import advice

QUIET_SECONDS = 3.0
"""A command that gets on within this time says nothing."""

REPEAT_SECONDS = 10.0
LOOK_SECONDS = 0.5
GONE_SECONDS = 10.0
"""For so long a master whose process is gone is waited for: somebody may be starting it again."""

DOWN_SECONDS = 3.0
"""So long a cluster of which no process is left."""

RECENT_SECONDS = 4.0
"""The longest pause between two tries is half of this."""

_TEMPORARY_NAME = re.compile(r"'?/[^' ]*?\.writing-[0-9a-f]{16}(?:/[^' ]*)?'?")
"""What a file or folder is called until it is complete means nothing to who writes it."""

T = TypeVar("T")
Trying = MasterAskedAgain | WriteRetried | AppendRetried | ReplicaSkipped


class LastTry:
    """A sink that keeps the last failed try, the last answer of a shadow master, and nothing else."""

    def __init__(self) -> None:
        self._last: tuple[float, str] | None = None
        self.shadow: AnsweredByShadow | None = None

    def write(self, record: Record) -> None:
        """Keep it if it is a failed try, or tells that an answer may be old."""
        if isinstance(record.event, AnsweredByShadow):
            self.shadow = record.event
        if isinstance(record.event, Trying):
            self._last = (record.wall_microseconds / 1e6, record.event.reason)

    def reason(self, now: float) -> str:
        """Why the last try failed, if that was a moment ago; `now` is in seconds since the epoch."""
        if self._last is None or now - self._last[0] > RECENT_SECONDS:
            return ""
        return _TEMPORARY_NAME.sub("the file", self._last[1])


async def attended(cluster: RealCluster, tries: LastTry, work: Coroutine[Any, Any, T], *, gives_up: bool = True) -> T:
    """Do the work, and say what it waits for as long as it does.

    If it `gives_up`, raises Unavailable, and ends the work, once the master has been gone for so long that nobody seems
    to be starting it again.
    """
    loop = asyncio.get_running_loop()
    working = loop.create_task(work)
    telling = loop.create_task(_tell(cluster, tries, gives_up), name="tell what is waited for")
    try:
        await asyncio.wait([working, telling], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait([working])
            raise await telling
        if (answer := tries.shadow) is not None:
            remark(f"no master acts: {answer.master}, a shadow that is {answer.lag_seconds:.1f} s behind, has answered")
        return working.result()
    finally:
        for task in (working, telling):
            task.cancel()
        await asyncio.gather(working, telling, return_exceptions=True)


async def _tell(cluster: RealCluster, tries: LastTry, gives_up: bool) -> Unavailable:
    """Returns what to end the command with."""
    loop = asyncio.get_running_loop()
    began, due = loop.time(), loop.time() + QUIET_SECONDS
    gone_since, told = math.inf, [""]
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        reason = tries.reason(cluster.client_world.clock.wall_microseconds() / 1e6)
        gone = _gone(cluster) if reason else None
        gone_since = math.inf if gone is None else min(gone_since, loop.time())
        patience = DOWN_SECONDS if gone is not None and cluster.is_down() else GONE_SECONDS
        if gone is not None and gives_up and loop.time() - gone_since >= patience:
            return Unavailable(gone.message, definite=False)
        if loop.time() >= due and reason:
            remark(f"still trying after {loop.time() - began:.0f} s: {reason}")
            sentences = [gone.message] if gone is not None else await _not_well(cluster)
            if sentences != told:
                told = sentences
                for sentence in sentences:
                    remark(sentence)
            due = loop.time() + REPEAT_SECONDS


def _gone(cluster: RealCluster) -> Unavailable | None:
    try:
        cluster.require_master()
    except Unavailable as error:
        return error
    except TabletopError:
        return None  # The folder was removed, or cannot be read; the work itself will fail.
    return None


async def _not_well(cluster: RealCluster) -> list[str]:
    try:
        return [advice(report) for report in await cluster.nodes() if report.state is not NodeState.SERVING]
    except TabletopError:
        return []
