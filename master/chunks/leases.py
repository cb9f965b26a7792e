"""Leases: for each chunk that is being written, who orders the mutations, and until when (GFS 3.1).

The problem. Replicas of a chunk must apply the same mutations in the same order, and asking the master for the order
of each would make it the bottleneck. So one replica, the *primary*, chooses the order. There must never be two
primaries, though the master and a primary may be unable to talk to each other.

The idea: a lease is a promise with an end. The master promises one replica that it is the only primary for 60
seconds, and the replica may ask for more in its heartbeats while the chunk is being mutated. If the primary is out of
reach, the master waits for the end and then chooses another. Both count the time by their own clocks; the primary
counts from before the master begins to count, so its lease always ends first, as long as the clocks run at about the
same speed. Where they do not, or where a message was under way for longer than a lease, version numbers keep an old
primary's mutations from every replica of the next lease (`raising.py`).

    ABSENT ---begin---> GRANTING ---grant---> HELD ---begin_revoke---> REVOKING
      ^                    |                    |                         |
      +------- end --------+------ expiry ------+---------- end ----------+

A grant is a protocol between several machines (`granting.py`); this module only keeps what is true meanwhile.

>>> leases = LeaseTable()
>>> leases.begin(7)
>>> leases.grant(7, version=2, primary="cs1", secondaries=("cs2",), until=60.0)
>>> leases.holder(7, now=59.9).primary, leases.holder(7, now=60.0)
('cs1', None)
>>> leases.extend(7, "cs1", 2, until=100.0), leases.extend(7, "cs2", 2, until=100.0)
(True, False)

Invariants: (1) a chunk has at most one lease; (2) states change only as `TRANSITIONS` says; (3) a lease whose primary
may still believe in it is never forgotten before its end, except on proof: the primary answered a revocation, took a
higher version, or came back as a new incarnation.
"""

import dataclasses
import enum
import heapq
from dataclasses import dataclass


class LeaseState(enum.Enum):
    """Where a chunk's lease stands."""

    ABSENT = "absent"
    GRANTING = "granting"
    HELD = "held"
    REVOKING = "revoking"


TRANSITIONS: dict[LeaseState, tuple[LeaseState, ...]] = {
    LeaseState.ABSENT: (LeaseState.GRANTING,),
    LeaseState.GRANTING: (LeaseState.HELD, LeaseState.ABSENT),
    LeaseState.HELD: (LeaseState.REVOKING, LeaseState.ABSENT),
    # A revocation that the primary did not answer leaves the lease as it was: it must run out.
    LeaseState.REVOKING: (LeaseState.ABSENT, LeaseState.HELD),
}


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease on one chunk. `until` is in seconds by the master's clock."""

    handle: int
    state: LeaseState
    version: int = 0
    primary: str = ""
    secondaries: tuple[str, ...] = ()
    until: float = 0.0
    is_final: bool = False  # it is not extended any more


class LeaseTable:
    """All leases that are not absent."""

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}
        self._ends: list[tuple[float, int]] = []  # a heap; an entry may be out of date

    def __len__(self) -> int:
        return len(self._leases)

    def handles(self) -> list[int]:
        """The chunks whose lease is held or being revoked."""
        held = (LeaseState.HELD, LeaseState.REVOKING)
        return [handle for handle, lease in self._leases.items() if lease.state in held]

    def state(self, handle: int) -> LeaseState:
        """Where the chunk's lease stands."""
        found = self._leases.get(handle)
        return LeaseState.ABSENT if found is None else found.state

    def lease(self, handle: int) -> Lease | None:
        """The chunk's lease as recorded, run out or not."""
        return self._leases.get(handle)

    def holder(self, handle: int, now: float) -> Lease | None:
        """The chunk's lease if somebody holds it now and may go on using it."""
        found = self._leases.get(handle)
        return found if found is not None and found.state is LeaseState.HELD and found.until > now else None

    def blocked_until(self, handle: int, now: float) -> float:
        """Until when a primary may still act on a lease for this chunk; `now` or earlier if none can."""
        found = self._leases.get(handle)
        return found.until if found is not None else now

    def begin(self, handle: int) -> None:
        """Start a grant. An earlier lease must be absent (see `expire`)."""
        self._change(Lease(handle, LeaseState.GRANTING))

    def grant(self, handle: int, *, version: int, primary: str, secondaries: tuple[str, ...], until: float) -> None:
        """Complete a grant: from now on `primary` orders the mutations."""
        self._change(Lease(handle, LeaseState.HELD, version, primary, secondaries, until))
        heapq.heappush(self._ends, (until, handle))

    def extend(self, handle: int, server: str, version: int, until: float) -> bool:
        """Prolong a lease if `server` holds it, at this version, and it is not being revoked."""
        found = self._leases.get(handle)
        if found is None or found.state is not LeaseState.HELD or (found.primary, found.version) != (server, version):
            return False
        if found.is_final:
            return False
        longer = max(until, found.until)
        self._leases[handle] = Lease(handle, LeaseState.HELD, version, server, found.secondaries, longer)
        heapq.heappush(self._ends, (longer, handle))
        return True

    def adopt(self, handle: int, *, version: int, primary: str, secondaries: tuple[str, ...], until: float) -> None:
        """Take note of a lease that an earlier run of the master granted, as its primary tells."""
        if self.state(handle) is LeaseState.ABSENT:
            self.begin(handle)
            self.grant(handle, version=version, primary=primary, secondaries=secondaries, until=until)

    def begin_revoke(self, handle: int) -> Lease:
        """Stop extending a held lease and telling clients of it; returns it."""
        found = self._leases[handle]
        revoking = dataclasses.replace(found, state=LeaseState.REVOKING)
        self._change(revoking)
        return revoking

    def fail_revoke(self, handle: int) -> None:
        """The primary did not answer: its lease stands until its end."""
        found = self._leases[handle]
        self._change(dataclasses.replace(found, state=LeaseState.HELD))

    def let_run_out(self, handle: int) -> None:
        """Do not extend a held lease any more: somebody waits for its end."""
        found = self._leases.get(handle)
        if found is not None and found.state is LeaseState.HELD:
            self._leases[handle] = dataclasses.replace(found, is_final=True)

    def end(self, handle: int) -> None:
        """Forget a lease: a grant failed, a revocation was answered, or it has run out."""
        self._change(Lease(handle, LeaseState.ABSENT))

    def forget(self, handle: int) -> None:
        """Forget whatever there is, because the chunk itself is forgotten."""
        self._leases.pop(handle, None)

    def end_those_of(self, server: str) -> list[Lease]:
        """Forget all leases of a primary that has provably lost its memory; returns them."""
        held = (LeaseState.HELD, LeaseState.REVOKING)
        lost = [lease for lease in self._leases.values() if lease.primary == server and lease.state in held]
        for lease in lost:
            self.end(lease.handle)
        return lost

    def expire(self, now: float) -> list[Lease]:
        """Forget the held leases that have run out; returns them. A running revocation looks for itself."""
        gone: list[Lease] = []
        while self._ends and self._ends[0][0] <= now:
            _, handle = heapq.heappop(self._ends)
            found = self._leases.get(handle)
            if found is not None and found.state is LeaseState.HELD and found.until <= now:
                self.end(handle)
                gone.append(found)
        return gone

    def counts(self, now: float) -> dict[str, int]:
        """Live leases by primary."""
        found: dict[str, int] = {}
        for lease in self._leases.values():
            if lease.state in (LeaseState.HELD, LeaseState.REVOKING) and lease.until > now:
                found[lease.primary] = found.get(lease.primary, 0) + 1
        return found

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold."""
        ends = set(self._ends)
        for handle, lease in self._leases.items():
            assert lease.handle == handle and lease.state is not LeaseState.ABSENT
            if lease.state is LeaseState.HELD:
                assert lease.primary and lease.version > 0 and lease.primary not in lease.secondaries
                assert (lease.until, handle) in ends, f"nobody waits for the end of the lease on {handle:#x}"

    def _change(self, lease: Lease) -> None:
        before = self.state(lease.handle)
        assert lease.state in TRANSITIONS[before], f"lease on {lease.handle:#x}: {before} cannot become {lease.state}"
        if lease.state is LeaseState.ABSENT:
            self._leases.pop(lease.handle, None)
        else:
            self._leases[lease.handle] = lease
        if before is LeaseState.REVOKING and lease.state is LeaseState.HELD:
            heapq.heappush(self._ends, (lease.until, lease.handle))
