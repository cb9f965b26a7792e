"""For which chunks this server is primary (GFS 3.1).

The problem. Two servers must never both believe that they order the mutations of a chunk. The master grants a lease to
one of them, and grants another only when the first has ended or its time is over by the master's clock. The idea: this
server counts the time from a moment that is earlier than the one that the master counts from (receipt of the grant,
sending of the heartbeat), on a clock of its own that runs at the same speed.

    none  --grant-->  held  --revoked, version raised, time over-->  none
                       |^
                       +|  extend, grant again with the same version (new secondaries)

Invariants: (1) serial numbers under one lease are consecutive from 1; (2) nothing is ordered at or after `until`.

Leases are about order and speed, not about safety: a clock that runs slower than the master's can keep a lease alive
too long, and then the version numbers keep its mutations from the replicas of the next one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chunkserver.mutation.tries import Tries
from runtime.errors import Conflict, NotPrimary, StaleVersion


@dataclass(frozen=True, slots=True)
class Secondary:
    """Another replica's server."""

    server: str
    control_address: str


@dataclass(slots=True)
class Lease:
    """This server's right to order the mutations of one chunk. Times are seconds of this node's clock."""

    handle: int
    version: int
    secondaries: tuple[Secondary, ...]
    until: float
    duration: float  # As granted; an extension does not change it.
    last_serial: int = 0
    mutated_at: float = field(default=float("-inf"))
    # Serials in flight, in rising order, and where in the chunk each of them ends.
    undecided: dict[int, int] = field(default_factory=dict)
    # Every replica reaches at least so far: all were alike when the lease began, and all have what was acknowledged
    # since. -1 before the first mutation.
    sound_end: int = -1
    tried_end: int = 0  # So far some replica may reach: where the mutations that failed end.
    is_revoked: bool = False
    is_uneven: bool = False  # A mutation failed, and some replicas have it perhaps: they may differ.
    file_goes_on: bool = False  # The file has a later chunk, or is about to have one: records are appended there.
    tries: dict[int, Tries[Any]] = field(default_factory=dict)  # by client

    def tries_of(self, client: int) -> Tries[Any]:
        """What a client has tried to write under this lease."""
        return self.tries.setdefault(client, Tries())

    @property
    def settled_through(self) -> int:
        """Every serial up to this one has been applied everywhere, or has failed and will not come again."""
        return next(iter(self.undecided), self.last_serial + 1) - 1

    def reach(self, length: int) -> int:
        """How far the chunk, which has `length` bytes here, will reach when all that is in flight was applied."""
        return max(length, *self.undecided.values(), 0)


class LeaseTable:
    """The leases that this server holds."""

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}
        self._unused: dict[int, int] = {}  # Versions, by chunk, that were raised here and under which nothing was done.

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def find(self, handle: int) -> Lease | None:
        """The chunk's lease, perhaps expired."""
        return self._leases.get(handle)

    def grant(
        self,
        handle: int,
        *,
        version: int,
        secondaries: Iterable[Secondary],
        seconds: float,
        now: float,
        is_renewal: bool = False,
        file_goes_on: bool = False,
    ) -> Lease:
        """Become primary under a version that was raised here, and under which nothing was done yet.

        The same grant once more (its answer was lost, or the network repeated it) changes nothing, least of all the
        moment at which the lease ends. A renewal gives the lease that is held other secondaries and a new term.
        `file_goes_on`: it gives no right to append records. Raises
        Conflict if the version was used: its lease was revoked, or another process of this server may have used serial
        numbers under it, or another server did."""
        lease = self._leases.get(handle)
        if lease is not None and lease.version == version and not lease.is_revoked:
            if is_renewal:
                lease.secondaries, lease.until, lease.duration = tuple(secondaries), now + seconds, seconds
            return lease
        if self._unused.get(handle) != version:
            raise Conflict(
                f"chunk {handle:#x} is at version {version} already, under a lease that ended or is not known here "
                "any more; grant it with a higher version"
            )
        del self._unused[handle]
        until = now + seconds
        lease = Lease(handle, version, tuple(secondaries), until, seconds, file_goes_on=file_goes_on)
        self._leases[handle] = lease
        return lease

    def extend(self, handle: int, *, version: int, until: float) -> bool:
        """Prolong a lease, unless it has been revoked or replaced meanwhile. Never shortens it."""
        lease = self._leases.get(handle)
        if lease is None or lease.version != version or lease.is_revoked:
            return False
        lease.until = max(lease.until, until)
        return True

    def end(self, handle: int, *, through_version: int) -> Lease | None:
        """Be primary no longer, unless it is for a newer version; returns the lease that was held, whose mutations may
        still be in flight."""
        lease = self._leases.get(handle)
        if lease is None or lease.version > through_version:
            return None
        lease.is_revoked = True
        return lease

    def end_appends(self, handle: int, *, through_version: int) -> bool:
        """Append no records any more, unless under a newer lease. False if there was no such right."""
        lease = self._leases.get(handle)
        if lease is None or lease.version > through_version or lease.is_revoked or lease.file_goes_on:
            return False
        lease.file_goes_on = True
        return True

    def begin_version(self, handle: int, version: int) -> None:
        """The chunk's version has risen: its lease is over, and the version may be granted."""
        self._leases.pop(handle, None)
        self._unused[handle] = version

    def note_use(self, handle: int, version: int) -> None:
        """Another server has ordered a mutation under this version: it is the primary."""
        if self._unused.get(handle) == version:
            del self._unused[handle]

    def forget(self, handle: int) -> None:
        """Forget all about a chunk, because it is gone."""
        self._leases.pop(handle, None)
        self._unused.pop(handle, None)

    def current(self, handle: int, *, version: int, now: float) -> Lease:
        """The lease under which a mutation may be ordered now. Raises NotPrimary, StaleVersion."""
        lease = self._leases.get(handle)
        if lease is None or lease.is_revoked or now >= lease.until:
            why = "it never had one" if lease is None else ("it was revoked" if lease.is_revoked else "it has expired")
            raise NotPrimary(f"this server holds no lease for chunk {handle:#x} ({why}); ask the master who does")
        if lease.version != version:
            raise StaleVersion(
                f"the lease for chunk {handle:#x} is for version {lease.version}, the request names {version}; "
                "ask the master again"
            )
        return lease

    def held(self, now: float) -> list[Lease]:
        """The leases that are in force."""
        return [lease for lease in self._leases.values() if not lease.is_revoked and now < lease.until]

    def begin_mutation(self, lease: Lease, length: int) -> None:
        """A mutation is about to be ordered; the chunk has `length` bytes here. The first one under a lease finds all
        replicas alike."""
        if lease.sound_end < 0:
            lease.sound_end = length

    def next_serial(self, lease: Lease, now: float, *, end: int = 0) -> int:
        """The place of the next mutation, which ends at byte `end` and is in flight until `decided`."""
        lease.last_serial += 1
        lease.undecided[lease.last_serial] = end
        lease.mutated_at = now
        return lease.last_serial

    def decided(self, lease: Lease, serial: int, *, is_everywhere: bool = False, is_nowhere: bool = False) -> None:
        """The mutation has been applied everywhere, or has failed: nowhere, or on some replicas perhaps."""
        end = lease.undecided.pop(serial)
        if is_everywhere:
            lease.sound_end = max(lease.sound_end, end)
        elif not is_nowhere:
            lease.tried_end = max(lease.tried_end, end)
            lease.is_uneven = True

    def to_extend(self, now: float, heartbeat_seconds: float) -> list[Lease]:
        """Leases that are being used and have no more than half of their term left (GFS 3.1: "typically receive
        extensions from the master indefinitely" while the chunk is being mutated)."""
        return [
            lease
            for lease in self._leases.values()
            if not lease.is_revoked
            and now < lease.until
            and lease.until - now <= max(lease.duration / 2, 2 * heartbeat_seconds)
            and (lease.undecided or now - lease.mutated_at <= max(lease.duration / 4, 2 * heartbeat_seconds))
        ]

    def drop_expired(self, now: float, keep_seconds: float) -> list[Lease]:
        """Forget leases that ended so long ago that nothing under them can be in flight; returns them."""
        old = [lease for lease in self._leases.values() if now - lease.until > keep_seconds and not lease.undecided]
        for lease in old:
            del self._leases[lease.handle]
        return old

    def check_invariants(self) -> None:
        """Raise AssertionError if a lease is filed wrongly."""
        for handle, lease in self._leases.items():
            assert lease.handle == handle
            assert all(0 < serial <= lease.last_serial for serial in lease.undecided)
