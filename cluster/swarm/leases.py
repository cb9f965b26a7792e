"""Leases, versions and masters, by what the servers recorded (GFS 3.1, 4.5, 5.1.3).

A pure judge over records, so that it can be asked in both worlds. What it holds a run to:

    versions    each version of a chunk is granted to one server, and each later grant has a higher one
    primaries   no two servers are ever primary for one version of a chunk
    masters     each epoch is the tenure of one master, and later tenures have higher ones

Two servers may well believe to be primary at one moment, under two versions: a master that gives a server up does not
wait for the end of its lease (`master/protocol/raising.py`). What the older one orders then is refused; that nothing of
it is acknowledged is the business of the judge of contents.
"""

from collections.abc import Iterator, Sequence

from chunkserver.events import LeaseReceived
from master.events import LeaseGranted, MasterTookOver
from runtime.events import Record

Records = Sequence[tuple[float, Record]]


def judge_leases(records: Records) -> Iterator[str]:
    """What is wrong about versions and primaries."""
    yield from _judge_versions(records)
    yield from _judge_primaries(records)


def _judge_versions(records: Records) -> Iterator[str]:
    highest: dict[int, LeaseGranted] = {}
    for moment, record in records:
        event = record.event
        if not isinstance(event, LeaseGranted):
            continue
        before = highest.get(event.handle)
        is_the_same = before is not None and (event.version, event.primary) == (before.version, before.primary)
        if before is not None and event.version <= before.version and not is_the_same:
            yield (
                f"at {moment:.3f} s: {record.node} granted {event.primary} the lease on chunk {event.handle:#x} under "
                f"version {event.version}, after {before.primary} had it under version {before.version}"
            )
        if before is None or event.version >= before.version:
            highest[event.handle] = event


def _judge_primaries(records: Records) -> Iterator[str]:
    primaries: dict[tuple[int, int], tuple[str, float]] = {}
    for moment, record in records:
        event = record.event
        if isinstance(event, LeaseReceived):
            server, since = primaries.setdefault((event.handle, event.version), (record.node, moment))
            if server != record.node:
                yield (
                    f"at {moment:.3f} s: {record.node} became primary for chunk {event.handle:#x} under version "
                    f"{event.version}, as {server} had at {since:.3f} s"
                )


def wrong_epochs(records: Records) -> Iterator[str]:
    """What is wrong about the epochs of the tenures of several masters, by the times of the records."""
    highest, holder = 0, ""
    for moment, record in records:
        if isinstance(record.event, MasterTookOver):
            epoch = record.event.epoch
            if epoch <= highest:
                yield (
                    f"at {moment:.3f} s: {record.node} acts under epoch {epoch}, after {holder} under epoch {highest}"
                )
            highest, holder = max(highest, epoch), record.node
