"""Leases, versions and masters, by what the servers recorded (GFS 3.1, 4.5, 5.1.3).

A pure judge over records, so that it can be asked in both worlds. What it holds a run to:

    versions    each version of a chunk is granted to one server, and each later grant has a higher one
    primaries   no two servers are primary for one version of a chunk; and while one is, no other becomes primary
    masters     each epoch is the tenure of one master, and later tenures have higher ones

A server is primary from the receipt of its lease for the seconds that it was given, unless it says before that the
lease is over, or ends. Heartbeats extend leases, and nobody records that: so this judge believes that a lease was
over early rather than late, and never accuses a server wrongly. Clocks that run wrong shorten what can be held
against anybody: with `clock_error` 0.1 the first nine tenths of a lease count. The versions are what keeps data safe
then: whoever holds an old lease too long gives orders under an old version, and nobody obeys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chunkserver.events import LeaseEnded, LeaseReceived
from master.events import LeaseGranted, LeaseRevoked, MasterTookOver
from runtime.events import NodeStarted, Record

_SLACK_SECONDS = 0.2

Records = Sequence[tuple[float, Record]]


@dataclass(slots=True)
class _Term:
    """One server's time as the primary of one chunk; `end` is the earliest moment at which it may be over."""

    server: str
    version: int
    begin: float
    end: float


def judge_leases(records: Records, *, clock_error: float = 0.0) -> Iterator[str]:
    """What is wrong about versions and primaries, by the times of the records."""
    yield from _judge_versions(records)
    yield from _judge_primaries(records, clock_error)


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


def _judge_primaries(records: Records, clock_error: float) -> Iterator[str]:
    terms: dict[int, list[_Term]] = {}
    for moment, record in records:
        event = record.event
        if isinstance(event, LeaseReceived):
            here = terms.setdefault(event.handle, [])
            yield from (_complaint(term, moment, record.node, event) for term in here if _clashes(term, moment, record))
            seconds = event.seconds * (1.0 - clock_error) - _SLACK_SECONDS
            here.append(_Term(record.node, event.version, moment, moment + seconds))
        elif isinstance(event, LeaseEnded | LeaseRevoked):
            server = event.primary if isinstance(event, LeaseRevoked) else record.node
            _end([term for term in terms.get(event.handle, ()) if term.server == server], moment)
        elif isinstance(event, NodeStarted):
            _end([term for found in terms.values() for term in found if term.server == record.node], moment)


def _end(terms: Sequence[_Term], moment: float) -> None:
    for term in terms:
        term.end = min(term.end, moment)


def _clashes(term: _Term, moment: float, record: Record) -> bool:
    event = record.event
    assert isinstance(event, LeaseReceived)
    return term.server != record.node and (term.version == event.version or term.end > moment)


def _complaint(term: _Term, moment: float, server: str, event: LeaseReceived) -> str:
    left = f", for {term.end - moment:.1f} s more" if term.end > moment else ""
    return (
        f"at {moment:.3f} s: {server} became primary for chunk {event.handle:#x} under version {event.version}; "
        f"{term.server} was primary under version {term.version} since {term.begin:.3f} s{left}"
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
