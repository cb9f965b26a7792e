"""Planted bugs of reading, modifying and writing one value, and of scans in reverse: see `cluster/swarm/bugs.py`."""

from collections.abc import Awaitable, Callable
from typing import Any

from cluster.swarm.bug_tools import Bug, Planted, noted_in, replaced
from runtime.errors import NotServed, TabletopError, TimedOut, Unavailable
from runtime.wire import tables_pb2 as wire
from tablet.client import client as table_client
from tablet.engine.serving.atomic_changes import AtomicChanges
from tablet.hosting.service import TabletServicer

BUGS: dict[str, Bug] = {}
bug = noted_in(BUGS)


@bug
def value_changed_without_the_lock_of_its_row() -> Planted:
    """Without the lock of the row from the read to the write, two increments at the same time count as one, though both
    are acknowledged (BT 2, 3)."""

    async def at_once(self: AtomicChanges, row: bytes, step: Callable[[int], Awaitable[Any]]) -> Any:
        return await step(self._writer.epoch)

    return replaced(AtomicChanges, "_locked", at_once)


@bug
def change_made_again_after_doubt() -> Planted:
    """Without the difference between a definite and an indefinite error, a client repeats an increment whose answer
    was lost, and it counts twice (BT 3)."""

    def always(error: TabletopError, *, is_read: bool) -> bool:
        return isinstance(error, NotServed | Unavailable | TimedOut)

    return replaced(table_client, "_may_pass", always)


@bug
def reverse_scan_continued_with_the_row_it_gave() -> Planted:
    """Without leaving out the row that was given last, a scan in reverse that is continued gives it twice (BT 3)."""
    scan = TabletServicer.ScanRows

    async def once_more(self: TabletServicer, request: wire.ScanRowsRequest, context: Any) -> wire.ScanRowsReply:
        reply = await scan(self, request, context)
        if request.reverse and reply.HasField("next"):
            reply.next += b"\0"
        return reply

    return replaced(TabletServicer, "ScanRows", once_more)
