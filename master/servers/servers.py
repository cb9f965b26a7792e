"""The chunkservers that the master knows, and which of them are alive (GFS 2.4, 4.4).

A server registers when it starts and sends a heartbeat every second after that. One that is silent for `dead_after`
seconds is given up: its replicas count as lost, and it must register again. One that missed a few heartbeats, or did
not answer a call, is *suspect*: still counted, but nothing new is placed on it.

    UNSEEN ---register---> LIVE <---heartbeat--- SUSPECT ---silence---> DEAD ---register---> LIVE
                             +-------silence------->+

Messages may arrive late and out of order. A server numbers its reports within each of its lives, and its lives on each
disk, so that a report which comes after a later one is known as outdated, and is not judged.

UNSEEN is a server that the operation log knows and that has not registered since the master started.

>>> table = ServerTable(suspect_after=2.5, dead_after=5.0)
>>> table.register(Registration(Address("cs1", "h:1", "h:2"), incarnation=9, total=100, free=80), now=0.0)
True
>>> table.judge_silence(now=3.0), table.judge_silence(now=6.0)
([('cs1', <ServerState.SUSPECT: 'suspect'>)], [('cs1', <ServerState.DEAD: 'dead'>)])

Invariants: (1) a server's name is given once; (2) recent creations are never negative; (3) only registered servers
have an address.
"""

import enum
from dataclasses import dataclass

from master.balance.racks import NOWHERE, Place

_FORGET_CREATIONS_SECONDS = 10.0
_FORGET_TROUBLE_SECONDS = 60.0


class ServerState(enum.Enum):
    """What the master believes of a chunkserver."""

    UNSEEN = "unseen"
    LIVE = "live"
    SUSPECT = "suspect"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Address:
    """A server's name, where it is reached ("host:port"), and where it stands."""

    server: str
    control: str
    bulk: str
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Registration:
    """What a server says of itself when it starts. `total` and `free` are bytes of disk."""

    address: Address
    incarnation: int
    total: int
    free: int
    disk: int = 0  # drawn when the server's folder was claimed
    life: int = 0  # counts the starts on that disk
    sequence: int = 0  # of this report, within this life


class Server:
    """One chunkserver."""

    __slots__ = (
        "_created",
        "_created_at",
        "_troubled_at",
        "address",
        "disk",
        "free",
        "incarnation",
        "life",
        "name",
        "seen",
        "sequence",
        "state",
        "total",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = ServerState.UNSEEN
        self.address = Address(name, "", "")
        self.incarnation = 0
        self.disk = 0
        self.life = 0
        self.sequence = 0
        self.total = 0
        self.free = 0
        self.seen = 0.0
        self._created = 0.0
        self._created_at = 0.0
        self._troubled_at: float | None = None

    @property
    def place(self) -> Place:
        """Where it stands, as it last said."""
        return self.address.place

    @property
    def is_alive(self) -> bool:
        """Whether its replicas count."""
        return self.state in (ServerState.LIVE, ServerState.SUSPECT)

    def recent_creations(self, now: float) -> float:
        """Replicas lately placed here; each counts less with time, and nothing after ten seconds."""
        age = now - self._created_at
        return max(0.0, self._created * (1.0 - age / _FORGET_CREATIONS_SECONDS))

    def note_creation(self, now: float) -> None:
        """A replica was placed here."""
        self._created = self.recent_creations(now) + 1.0
        self._created_at = now

    def is_troubled(self, now: float) -> bool:
        """Whether a replica could not be placed here lately. It answers, and its disk may take nothing any more."""
        return self._troubled_at is not None and now - self._troubled_at < _FORGET_TROUBLE_SECONDS

    def note_trouble(self, now: float) -> None:
        """A replica could not be placed here."""
        self._troubled_at = now

    def forget_trouble(self) -> None:
        """It was started again: perhaps somebody has seen to its disk."""
        self._troubled_at = None


class ServerTable:
    """All chunkservers ever seen, by name."""

    def __init__(self, *, suspect_after: float, dead_after: float) -> None:
        self._suspect_after = suspect_after
        self._dead_after = dead_after
        self._servers: dict[str, Server] = {}

    def __len__(self) -> int:
        return len(self._servers)

    def expect(self, name: str) -> None:
        """The operation log knows this server."""
        self._servers.setdefault(name, Server(name))

    def forget(self, name: str) -> None:
        """The server has left for good."""
        self._servers.pop(name, None)

    def find(self, name: str) -> Server | None:
        """The server of that name, if it ever registered."""
        return self._servers.get(name)

    def all(self) -> list[Server]:
        """Every server, by name."""
        return [self._servers[name] for name in sorted(self._servers)]

    def alive(self) -> list[Server]:
        """The servers whose replicas count, by name."""
        return [server for server in self.all() if server.is_alive]

    def all_have_registered(self) -> bool:
        """Whether nobody is still awaited after a restart of the master."""
        return all(server.state is not ServerState.UNSEEN for server in self._servers.values())

    def register(self, said: Registration, now: float) -> bool:
        """A server has started, or found that the master had forgotten it. True if it is a new incarnation."""
        server = self._servers.setdefault(said.address.server, Server(said.address.server))
        is_new = server.incarnation != said.incarnation
        if is_new:
            server.forget_trouble()
        server.state = ServerState.LIVE
        server.address = said.address
        server.incarnation = said.incarnation
        server.disk, server.life, server.sequence = said.disk, said.life, said.sequence
        server.total, server.free = said.total, said.free
        server.seen = now
        return is_new

    def is_outdated(self, said: Registration) -> bool:
        """Whether a registration was under way for so long that a later report of this server has arrived already."""
        server = self._servers.get(said.address.server)
        if server is None or server.disk != said.disk:
            return False
        if said.incarnation == server.incarnation and 0 < said.sequence == server.sequence:
            return True  # The network has doubled it, and much may have happened in between.
        return (said.life, said.sequence) < (server.life, server.sequence)

    def heartbeat(
        self, name: str, incarnation: int, *, sequence: int, total: int, free: int, now: float
    ) -> bool | None:
        """A heartbeat came. False if the server has to register (again), None if a later report was heard already."""
        server = self._servers.get(name)
        if server is None or not server.is_alive or server.incarnation != incarnation:
            return False
        if sequence <= server.sequence:
            return None
        server.state = ServerState.LIVE
        server.seen = now
        server.sequence = sequence
        server.total, server.free = total, free
        return True

    def forgive(self, seconds: float) -> None:
        """The master itself stood still for so long: nobody else was silent meanwhile."""
        for server in self._servers.values():
            server.seen += seconds

    def suspect(self, name: str) -> bool:
        """A call to this server went unanswered; True if it was not suspect before. Its next heartbeat clears it."""
        server = self._servers.get(name)
        if server is None or server.state is not ServerState.LIVE:
            return False
        server.state = ServerState.SUSPECT
        return True

    def judge_silence(self, now: float) -> list[tuple[str, ServerState]]:
        """Downgrade the silent ones; returns who changed, and to what."""
        changed: list[tuple[str, ServerState]] = []
        for server in self.alive():
            silence = now - server.seen
            if silence > self._dead_after:
                server.state = ServerState.DEAD
            elif silence > self._suspect_after and server.state is ServerState.LIVE:
                server.state = ServerState.SUSPECT
            else:
                continue
            changed.append((server.name, server.state))
        return changed

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold."""
        for name, server in self._servers.items():
            assert server.name == name == server.address.server
            assert server.recent_creations(server.seen) >= 0 <= server.free
            assert (server.state is ServerState.UNSEEN) == (not server.address.control)
