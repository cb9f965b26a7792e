"""What a client of tables may be told, and how long it may wait: judged from the notes of one run.

errors       the errors of each operation are those that the client library promises, and no others
endless      no operation on a row takes longer than the client's patience and the calls that may be under way then
scans        the rows of a scan come in their order, or in reverse, each once, and only such as were asked for
"""

from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from cluster.swarm.history import Answer
from cluster.swarm.tables.history import History, Operation
from cluster.swarm.tables.plan import LAYOUT, ORDERS, Kind
from cluster.swarm.verdicts import Verdict

LONGEST_SECONDS = 60.0
"""For one operation of a client whose patience is 8 s: it may end with a session to be opened and three calls."""
_PASSING = {"NotServed", "Unavailable", "TimedOut"}
_FULL = {"NoSpace", "DiskFailure"}
_READING = (Kind.GET, Kind.READ, Kind.SCAN, Kind.REVERSE_SCAN)
_WRITING = (Kind.PUT, Kind.WRITE, Kind.WRITE_ROWS, Kind.DELETE, Kind.CHECK, Kind.INCREMENT, Kind.APPEND)
_KEEPING = (Kind.SNAPSHOT, Kind.RESTORE, Kind.FORGET)
_READS = dict.fromkeys(_READING, frozenset(_PASSING))
_WRITES = dict.fromkeys(_WRITING, frozenset(_PASSING | _FULL))
PROMISED = {
    **_READS,
    **_WRITES,
    # The tablet may have been split by another client, at this row or meanwhile, or be merged.
    **dict.fromkeys(
        LAYOUT, frozenset(_PASSING | _FULL | {"Conflict", "InvalidRequest", "NotActing", "NotFound", "Superseded"})
    ),
    # The master may have been replaced meanwhile, or be at something that was given up by its client.
    **dict.fromkeys(_KEEPING, frozenset(_PASSING | _FULL | {"AlreadyExists", "Conflict", "NotFound", "Superseded"})),
}
"""Kinds of operations that are not here are not judged."""
_OF_SEVERAL_CALLS = (Kind.SCAN, Kind.REVERSE_SCAN, *ORDERS)
Item = TypeVar("Item")


def judge_promises(history: History) -> list[Verdict]:
    """All operations."""
    found = []
    for one in history.operations:
        promised = PROMISED.get(one.kind)
        if promised is not None and one.answer in (Answer.REFUSED, Answer.DOUBTFUL) and one.error not in promised:
            found.append(Verdict("errors", f"this error is not promised: {one.told()}", (one.number,)))
        seconds = one.responded - one.invoked
        if one.answer is not Answer.NEVER and seconds > LONGEST_SECONDS and one.kind not in _OF_SEVERAL_CALLS:
            found.append(Verdict("endless", f"it took {seconds:.1f} s: {one.told()}", (one.number,)))
        found += [Verdict("scans", f"{text}: {one.told()}", (one.number,)) for text in one.wrong]
    return found


async def in_order(
    rows: AsyncIterator[tuple[bytes, Item]], start: bytes, end: bytes, noted: Operation, *, reverse: bool = False
) -> dict[bytes, tuple[bytes, Item]]:
    """What a scan gives, by key. What is wrong with it is noted."""
    found: dict[bytes, tuple[bytes, Item]] = {}
    last: bytes | None = None
    async for key, item in rows:
        if key in found:
            noted.wrong.append(f"row {key!r} came twice")
        elif last is not None and (key > last if reverse else key < last):
            noted.wrong.append(f"row {key!r} came after {last!r}")
        if not start <= key < end:
            noted.wrong.append(f"row {key!r} was not asked for")
        found.setdefault(key, (key, item))
        last = key if last is None else (min if reverse else max)(last, key)
    return found


def strays(served: Iterable[tuple[str, str]], named: Iterable[tuple[str, str]]) -> list[Verdict]:
    """Tablets that a server serves in the end though METADATA does not say so: pairs of server and tablet."""
    known = set(named)
    return [
        Verdict("one server", f"in the end {server} serves {tablet}, and METADATA does not say so")
        for server, tablet in served
        if (server, tablet) not in known
    ]
