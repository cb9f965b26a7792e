"""Chunkservers that leave: drained by an operator, and forgotten when nothing is left on them (GFS 4.3).

The problem. A machine is to be taken away. To switch it off and let the master find out costs each of its chunks a
copy, and a second machine that fails in the meantime costs some of them two. The idea: the operator says so before.
From then on nothing new is placed on the server, and a copy of each of its chunks is made elsewhere, within the limits
of all clones, while its own replicas serve readers and writers as before (`standing.py`). When no chunk needs it any
more it may go.

That a server is drained is in the operation log, so that it holds over restarts of the master, and of the server.

    drain          refused if the servers that stay could not hold the goal of every file
    cancel         it stays after all; copies too many go again
    remove         refused unless it is drained and nothing is left on it; then its name is free again
"""

from collections.abc import Sequence

from master.chunks.replicas import ReplicaState
from master.core import Core
from master.events import ChunkserverForgotten, DrainBegun, DrainCancelled
from master.log.records import DrainChanged, ServerRemoved
from runtime.errors import Conflict, InvalidRequest, NotFound, TooFewServers, shown

_MAY_BE_NEEDED = (
    ReplicaState.FORMING,
    ReplicaState.UNSURE,
    ReplicaState.CORRUPT,
    ReplicaState.STALE,
    ReplicaState.SURPLUS,
    ReplicaState.UNREADABLE,
)


class Draining:
    """Does what operators want of chunkservers."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def drain(self, names: Sequence[str], *, cancel: bool) -> None:
        """Let these servers leave, or stay after all; one that does so already is fine. All of them, or none.

        Raises InvalidRequest (none is named), NotFound, TooFewServers, and what the log raises.
        """
        core = self._core
        if not names:
            raise InvalidRequest("no chunkserver is named; say which are to be drained")
        for name in names:
            self._require(name)
        wanted = list(dict.fromkeys(name for name in names if (name in core.state.draining) == cancel))
        if not cancel:
            self._refuse_too_many(wanted)
        for name in wanted:
            await core.commit(DrainChanged(name, int(not cancel)))
            core.emit(DrainCancelled(server=name) if cancel else DrainBegun(server=name))

    async def remove(self, name: str) -> None:
        """Forget a server. Raises NotFound, Conflict (it is not drained, or something is left), what the log raises."""
        core = self._core
        self._require(name)
        if name not in core.state.draining:
            raise Conflict(f"{name} is not drained, and chunks may need it; `tabletop drain {name}` comes first")
        left = self.left_on(name)
        if left or not core.is_settled():
            raise Conflict(
                f"{left} chunks need {name} yet; `tabletop drain {name} --wait` returns when it may go"
                if left
                else "the master has just started, and does not know yet what is where; try again in a moment"
            )
        await core.commit(ServerRemoved(name))
        core.replicas.drop_server(name)
        core.servers.forget(name)
        core.emit(ChunkserverForgotten(server=name))

    def left_on(self, name: str) -> int:
        """How many chunks need a replica on this server yet: it counts, or might count again, or the chunk's version
        names this server, so that after a loss of power it would be waited for."""
        core, chunks = self._core, self._core.state.chunks
        found = dict.fromkeys([*chunks.held_by(name), *chunks.given_to(name)])
        for replica in core.replicas.of_server(name, *_MAY_BE_NEEDED):
            if replica.handle in chunks and len(chunks.replicas(replica.handle)) < chunks.chunk(replica.handle).goal:
                found[replica.handle] = None
        return len(found)

    def _require(self, name: str) -> None:
        core = self._core
        if core.servers.find(name) is None:
            known = ", ".join(server.name for server in core.servers.all())
            raise NotFound(f"no chunkserver {shown(name)}; there are: {known or 'none'}")

    def _refuse_too_many(self, names: Sequence[str]) -> None:
        core = self._core
        leaving = {*core.state.draining, *names}
        stay = [server.name for server in core.servers.alive() if server.name not in leaving]
        goal = max(core.state.chunks.largest_goal(), core.settings.replication_goal)
        if names and len(stay) < goal:
            raise TooFewServers(
                f"without {', '.join(names)} there would be {len(stay)} live chunkservers that stay, and some files "
                f"are to have {goal} replicas; add chunkservers first (`tabletop add chunkserver`), or lower the goals "
                "(`tabletop fs setrep`)"
            )
