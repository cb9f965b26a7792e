"""Going on with a replica that was put aside (GFS 4.5 leaves it open).

When every current replica of a chunk is lost, what is left may be stale, damaged, or unsure with members missing that
may hold more. The master never decides alone to take such a replica for the truth, and never deletes it. An operator
who knows that nothing better will come back may. The chunk then continues from that replica, under a new version; the
others become stale."""

from master.chunks.replicas import ReplicaState
from master.core import Core
from master.events import ReplicaAdmitted
from master.protocol.raising import Raising
from runtime.errors import Conflict, NotFound, shown
from runtime.wire import master_pb2

_PERHAPS_BETTER = {
    ReplicaState.UNSURE: "has lost power, and its copy is compared as soon as the others are there",
    ReplicaState.CORRUPT: "is up, but its copy is damaged: what is lacking is looked for on every server, or admit it",
    ReplicaState.UNREADABLE: "is up, but cannot read its copy now, and tries again: see to its disk",
}
_ADMISSIBLE = (ReplicaState.UNSURE, ReplicaState.STALE, ReplicaState.CORRUPT)


class Admission:
    """Admits replicas when asked to."""

    def __init__(self, core: Core, raising: Raising) -> None:
        self._core = core
        self._raising = raising

    async def admit(self, asked: master_pb2.AdmitReplicaRequest, deadline: float) -> int:
        """Let the chunk go on with the replica on the server that is asked for; returns its new version, which is
        logged together with the name of the request.

        Raises NotFound (no such chunk or replica), Conflict (the chunk has current replicas, or, without `force`, a
        better replica may come back), Unavailable."""
        core, handle, name = self._core, asked.handle, asked.server
        async with core.guard(handle, until=deadline):
            if handle not in core.state.chunks:
                raise NotFound(f"there is no chunk {handle:#x}; see the chunks of a file with `tabletop fs stat`")
            server = core.servers.find(name)
            state = core.replicas.state(handle, name)
            if server is None or not server.is_alive or state not in _ADMISSIBLE:
                raise NotFound(
                    f"{shown(name)} has no replica of chunk {handle:#x} that could be admitted (it is {state.value}); "
                    "see `tabletop status`"
                )
            self._refuse_unless_last(handle, name, force=asked.force)
            raised = await self._raising.raise_version(
                handle,
                [server],
                reason="an operator admits a replica",
                needs_all=True,
                may_be_unsure=True,
                least_version=1 if state is ReplicaState.STALE else core.state.chunks.version(handle),
                request=asked.request,
            )
            core.emit(ReplicaAdmitted(handle=handle, server=name))
            return raised.version

    def _refuse_unless_last(self, handle: int, name: str, *, force: bool) -> None:
        core = self._core
        current = core.live_servers(core.state.chunks.replicas(handle))
        if current:
            raise Conflict(
                f"chunk {handle:#x} has a current replica on {', '.join(server.name for server in current)}: nothing "
                "need be admitted"
            )
        better = self._perhaps_better(handle, name)
        if better and not force:
            raise Conflict(
                f"a better replica of chunk {handle:#x} than the one on {name} may be there: {'; '.join(better)}. Wait "
                "until the replicas were compared, or force the admission and give up what only those hold"
            )

    def _perhaps_better(self, handle: int, name: str) -> list[str]:
        """The other servers that may have a better replica: for each what is so, and what can be done about it."""
        core, table = self._core, self._core.replicas
        found: list[str] = []
        for member in core.state.chunks.members(handle):
            if member != name and not core.has_reported(member):
                server = core.servers.find(member)
                is_here = server is not None and server.is_alive
                found.append(f"{member} is just reporting what it has" if is_here else f"{member} is down: start it")
        for state, what in _PERHAPS_BETTER.items():
            found += [f"{other} {what}" for other in table.servers_in(handle, state) if other != name]
        return found
