"""Were the master's orders about replicas given, and carried out, when they should have been? (GFS 3.1, 4.3, 4.4)

Two things that lose data only if a server dies right afterwards, so that nobody would miss anything in most runs. They
are looked for in what the servers recorded.

lone grant      a lease began on a single replica, and another one that counted until then was left out by the same
                raise, without a word that the chunk was held back first (`master/protocol/raising.py`)
late removal    a server began to remove a replica of a chunk that is known to the end, and the last decision of the
                master to have it removed was longer ago than an order holds
"""

from collections.abc import Collection, Iterator

from chunkserver.events import RemovalBegun
from master.events import LeaseGranted, LoneReplicaHeldBack, RemovalDecided, ReplicaLost
from runtime.events import Record

_REMEMBERED_SECONDS = 120.0
_SLACK_SECONDS = 1.0

Records = list[tuple[float, Record]]


def lone_grants(records: Records) -> Iterator[str]:
    """What is wrong about leases on single replicas. For runs in which no file has the goal one."""
    held_back: dict[int, float] = {}
    left_out: dict[int, list[ReplicaLost]] = {}
    for moment, record in records:
        event = record.event
        if isinstance(event, LoneReplicaHeldBack):
            held_back[event.handle] = moment
        elif isinstance(event, ReplicaLost):
            left_out.setdefault(event.handle, []).append(event)
        elif isinstance(event, LeaseGranted):
            reason = f"left out of version {event.version}"
            others = [lost.server for lost in left_out.pop(event.handle, []) if lost.reason == reason]
            is_sudden = moment - held_back.get(event.handle, -_REMEMBERED_SECONDS) >= _REMEMBERED_SECONDS
            if others and not event.secondaries and is_sudden:
                yield (
                    f"at {moment:.3f} s: chunk {event.handle:#x} goes on as version {event.version} on "
                    f"{event.primary} alone, and {', '.join(others)} was left out at once"
                )


def late_removals(records: Records, known: Collection[int], order_seconds: float) -> Iterator[str]:
    """What is wrong about removals of replicas of these chunks, by the true time."""
    decided: dict[int, float] = {}
    for moment, record in records:
        event = record.event
        if isinstance(event, RemovalDecided):
            decided[event.handle] = moment
        elif isinstance(event, RemovalBegun) and event.handle in known and event.handle in decided:
            age = moment - decided[event.handle]
            if age > order_seconds + _SLACK_SECONDS:
                yield (
                    f"at {moment:.3f} s: {record.node} begins to remove chunk {event.handle:#x}, {age:.1f} s after it "
                    f"was decided; the order held for {order_seconds:g} s"
                )
