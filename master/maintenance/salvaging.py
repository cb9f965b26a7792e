"""Copying a chunk from disks that take no more writes (GFS 4.3 and 5.2 leave it open).

The problem. Before a chunk is copied its version is raised on the replicas that are left (`repair.py`). A disk on which
every write fails can still be read; but it takes no version. If all replicas that are left are on such disks, the chunk
could never be copied, and would wait there, read by everybody, for the disk to fail altogether.

The idea. The raise keeps mutations that are under way from replicas that are being copied. It can be done without if
there are none: nobody may be writing the chunk, and nobody can begin to as long as its guard is held. That is so if its
length is settled, or if its last lease has ended by the clock, with some time added. Then the copy is made at the
version that the replicas have, and its server becomes a member of that. From there on all is as usual: the next raise
goes on with the copy, and leaves out those that refuse.

What we simplify. In the second case a primary that the master does not hear, and whose clock is slower than allowed
for, could have a mutation acknowledged while the copy is made; but only if all of these disks take writes again in just
this moment. A server that starts on such a disk serves nobody: it cannot write down that it has begun another life.
"""

from collections.abc import Sequence

from master.core import Core
from master.servers.servers import Server
from runtime.errors import TabletopError

_CLOCK_ERROR = 1.1


class Salvaging:
    """Finds out whether a chunk may be copied as it is."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def sources(self, handle: int, servers: Sequence[Server]) -> tuple[str, ...]:
        """Those of the servers whose replica may be copied at the chunk's version as it is; none if somebody may be
        writing it. All of them have just refused a version; the caller holds the guard, and the lease is taken back."""
        core = self._core
        if not self._is_at_rest(handle):
            return ()
        found = []
        for server in servers:
            try:
                held = await core.unless_stopping(core.calls.held(server.name, handle))
            except TabletopError:
                continue
            is_known = handle in core.state.chunks
            if (
                is_known
                and held is not None
                and held.version == core.state.chunks.version(handle)
                and not held.is_unsure
            ):
                found.append(server.name)
        return tuple(found)

    def _is_at_rest(self, handle: int) -> bool:
        core = self._core
        if handle not in core.state.chunks:
            return False
        longest = _CLOCK_ERROR * core.settings.lease_seconds
        has_ended = core.leases.lease(handle) is None and core.now >= core.started + longest
        return core.state.chunks.length_is_settled(handle) or has_ended
