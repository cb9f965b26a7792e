"""What the master thinks of each replica: one table of states and legal transitions (GFS 3.1, 4.3 to 4.5, 5.2).

The problem. A replica is created, counted, left out of a version, found damaged, replaced, removed; its server dies and
comes back, with or without it, before or after a loss of power. Five dictionaries that met only in a reader's head once
lost acknowledged data. The idea: each pair of a chunk and a server has one *state*, and `TRANSITIONS` says how it may
change. Whoever grants, judges, clones or removes reads and changes this table and nothing else.

    ABSENT       nothing is known to be there
    FORMING      an order that creates or clones it is under way: what its server reports of it is not judged
    UNSURE       of the current version, but its server has lost power: compared with its fellows before it counts
    CURRENT      of the current version: it counts, readers are told of it
    CORRUPT      of the current version, with damage: the last resort of readers, replaced as soon as possible
    STALE        of an older version, or it differs from its fellows: kept until the chunk is at its goal again
    SURPLUS      current, but one more than the goal
    UNREADABLE   its server has files of it and cannot read them now: nobody knows what it holds
    CONDEMNED    its removal was ordered, up to a version and a moment; its server has not confirmed it yet
    ORPHAN       its chunk is not known, or not any more

Nearly all replicas are CURRENT or ABSENT, so CURRENT is kept in the chunk table's compact tuples and ABSENT nowhere;
only the exceptions have a record here. `docs/replicas.md` draws the diagram from `TRANSITIONS`.

>>> chunks = ChunkTable()
>>> handle = chunks.reserve_handle()
>>> chunks.create(handle, goal=2)
>>> table = ReplicaTable(chunks)
>>> for server in ("cs1", "cs2"):
...     table.change(handle, server, ReplicaState.CURRENT)
>>> table.change(handle, "cs2", ReplicaState.CORRUPT, version=1, reason="block 3 has rotted")
>>> chunks.replicas(handle), table.state(handle, "cs2").value, table.state(handle, "cs9").value
(('cs1',), 'corrupt', 'absent')

Invariants: (1) a state changes only as `TRANSITIONS` says; (2) a server has one state for a chunk; (3) only ORPHAN,
FORMING and CONDEMNED replicas may belong to a chunk that is not known."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from master.chunks.chunk_table import ChunkTable


class ReplicaState(enum.Enum):
    """What the master thinks of one replica."""

    ABSENT = "absent"
    FORMING = "forming"
    UNSURE = "unsure"
    CURRENT = "current"
    CORRUPT = "corrupt"
    STALE = "stale"
    SURPLUS = "surplus"
    UNREADABLE = "unreadable"
    CONDEMNED = "condemned"
    ORPHAN = "orphan"


_S = ReplicaState
TRANSITIONS: dict[ReplicaState, tuple[ReplicaState, ...]] = {
    _S.ABSENT: (_S.FORMING, _S.UNSURE, _S.CURRENT, _S.CORRUPT, _S.STALE, _S.UNREADABLE, _S.ORPHAN),
    _S.FORMING: (_S.CURRENT, _S.ABSENT),
    _S.UNSURE: (_S.CURRENT, _S.CORRUPT, _S.STALE, _S.FORMING, _S.UNREADABLE, _S.ABSENT, _S.ORPHAN),
    _S.CURRENT: (_S.UNSURE, _S.CORRUPT, _S.STALE, _S.SURPLUS, _S.UNREADABLE, _S.ABSENT, _S.ORPHAN),
    _S.CORRUPT: (_S.CURRENT, _S.UNSURE, _S.STALE, _S.FORMING, _S.CONDEMNED, _S.UNREADABLE, _S.ABSENT, _S.ORPHAN),
    _S.STALE: (_S.CURRENT, _S.UNSURE, _S.CORRUPT, _S.FORMING, _S.CONDEMNED, _S.UNREADABLE, _S.ABSENT, _S.ORPHAN),
    _S.SURPLUS: (_S.CURRENT, _S.UNSURE, _S.CORRUPT, _S.STALE, _S.CONDEMNED, _S.UNREADABLE, _S.ABSENT, _S.ORPHAN),
    _S.UNREADABLE: (_S.CURRENT, _S.UNSURE, _S.CORRUPT, _S.STALE, _S.ABSENT, _S.ORPHAN),
    # Its server's word ends it: that the replica is gone, that it is newer than the order to remove it (so that it
    # stays), or a registration that lists it again. Or the order is over: the replica may be there yet.
    _S.CONDEMNED: (_S.STALE, _S.ABSENT),
    _S.ORPHAN: (_S.CONDEMNED, _S.ABSENT),
}
READABLE = tuple(state for state in ReplicaState if _S.UNREADABLE in TRANSITIONS[state])
KEPT = (_S.CORRUPT, _S.STALE, _S.SURPLUS)  # not wanted any more, and kept while the chunk may need it


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica that is neither current nor absent. `version` is the last that is known of it. `until`: when the order
    to remove a condemned one is over, in seconds of the master's clock."""

    handle: int
    server: str
    state: ReplicaState
    version: int
    reason: str
    until: float = 0.0


class ReplicaTable:
    """The state of every replica. Not aware of time, disk or network."""

    def __init__(self, chunks: ChunkTable) -> None:
        self._chunks = chunks
        self._others: dict[int, dict[str, Replica]] = {}

    def state(self, handle: int, server: str) -> ReplicaState:
        """What the master thinks of this server's replica."""
        found = self._others.get(handle, {}).get(server)
        if found is not None:
            return found.state
        is_current = handle in self._chunks and server in self._chunks.replicas(handle)
        return ReplicaState.CURRENT if is_current else ReplicaState.ABSENT

    def version(self, handle: int, server: str) -> int:
        """What is noted of a replica that is neither current nor absent: its last known version, or the one up to which
        it is condemned. 0 for others."""
        found = self._others.get(handle, {}).get(server)
        return 0 if found is None else found.version

    def reason(self, handle: int, server: str) -> str:
        """Why a replica is neither current nor absent; empty for others."""
        found = self._others.get(handle, {}).get(server)
        return "" if found is None else found.reason

    def others(self, handle: int) -> tuple[Replica, ...]:
        """The chunk's replicas that are neither current nor absent."""
        return tuple(self._others.get(handle, {}).values())

    def servers_in(self, handle: int, *states: ReplicaState) -> tuple[str, ...]:
        """The servers whose replica of the chunk is in one of the states (not CURRENT), longest known first."""
        return tuple(replica.server for replica in self._others.get(handle, {}).values() if replica.state in states)

    def exceptions(self) -> list[int]:
        """The handles of all chunks that have a replica which is neither current nor absent, in order."""
        return sorted(self._others)

    def of_server(self, server: str, *states: ReplicaState) -> Iterator[Replica]:
        """The server's replicas in these states (not CURRENT)."""
        for replicas in self._others.values():
            found = replicas.get(server)
            if found is not None and found.state in states:
                yield found

    def change(
        self,
        handle: int,
        server: str,
        state: ReplicaState,
        *,
        version: int = 0,
        reason: str = "",
        until: float = 0.0,
    ) -> None:
        """Give a replica a state. To the state that it has already, only its version and reason are noted."""
        before = self.state(handle, server)
        assert state is before or state in TRANSITIONS[before], (
            f"the replica of chunk {handle:#x} on {server}: {before.value} cannot become {state.value}"
        )
        if before is ReplicaState.CURRENT and state is not before:
            self._chunks.drop_replica(handle, server)
        elif before is not ReplicaState.CURRENT:
            self._drop(handle, server)
        if state is ReplicaState.CURRENT:
            self._chunks.add_replica(handle, server)
        elif state is not ReplicaState.ABSENT:
            self._others.setdefault(handle, {})[server] = Replica(handle, server, state, version, reason, until)

    def drop_server(self, server: str) -> list[int]:
        """The server is given up: nothing of it is known any more. Returns the chunks that lost a current replica.

        What is FORMING stays: its order has an end of its own."""
        forming = (ReplicaState.FORMING,)
        for handle in [handle for handle, replicas in self._others.items() if server in replicas]:
            if self._others[handle][server].state not in forming:
                self._drop(handle, server)
        return self._chunks.drop_server(server)

    def forget(self, handle: int) -> None:
        """The chunk is forgotten: what is left of it will be reported, and is an orphan then."""
        for replica in self.others(handle):
            if replica.state not in (ReplicaState.FORMING, ReplicaState.CONDEMNED):
                self._drop(handle, replica.server)

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold."""
        loose = (ReplicaState.ORPHAN, ReplicaState.FORMING, ReplicaState.CONDEMNED)
        for handle, replicas in self._others.items():
            assert replicas, f"an empty record of chunk {handle:#x}"
            current = self._chunks.replicas(handle) if handle in self._chunks else ()
            for server, replica in replicas.items():
                assert (replica.handle, replica.server) == (handle, server)
                assert server not in current, f"{server} has two states for chunk {handle:#x}"
                assert handle in self._chunks or replica.state in loose, f"{replica} belongs to no chunk"
                assert replica.state not in (ReplicaState.CURRENT, ReplicaState.ABSENT)

    def _drop(self, handle: int, server: str) -> None:
        replicas = self._others.get(handle, {})
        if replicas.pop(server, None) is not None and not replicas:
            del self._others[handle]
