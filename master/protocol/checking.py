"""Replicas read and compared because a person asks for it (GFS 5.2).

The problem. A chunkserver verifies what it holds in idle moments, which may take days, and never sees what the others
hold: replicas that differ though each matches its own checksums (GFS Table 1: inconsistent) are noticed by nobody. The
idea: an operator has the replicas of a chunk read now. Each server compares every block with its checksum, and tells a
digest of what it holds: equal digests, equal bytes. Damage that is found on the way is reported and replaced as always.

Replicas of a chunk that is being written differ for moments. So when they differ, the chunk's lease is taken back, as
before a clone, and they are read once more while nobody can write.

What we simplify. Nothing is done about replicas that differ: which of them is right, only an application can tell. A
primary that the master has given up, and that still reaches its secondaries, may write between the two readings.
"""

import asyncio
from dataclasses import dataclass

from master.chunks.replicas import ReplicaState
from master.core import Core
from runtime.errors import NotFound, StaleVersion, TabletopError, Unavailable, shown

_READ = (ReplicaState.CURRENT, ReplicaState.CORRUPT, ReplicaState.SURPLUS)
_TRIES = 3  # A grant may raise the version between the question and the answer.


@dataclass(frozen=True, slots=True)
class Verified:
    """One replica as its server has just read it. `problem` says why it could not, and is empty if it could."""

    server: str
    state: ReplicaState
    version: int
    length: int = 0
    digest: int = 0
    damaged_blocks: int = 0
    problem: str = ""


def differ(found: list[Verified]) -> bool:
    """Whether replicas that should be alike are not, so far as they could be read."""
    return len({(replica.length, replica.digest) for replica in found if not replica.problem}) > 1


class Checking:
    """Has replicas verified on request."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def verify(self, handle: int, server: str, *, deadline: float, answer_by: float) -> list[Verified]:
        """Have all replicas of a chunk that count read now, or the one on this server. By the master's clock, the
        chunk's guard is waited for up to `deadline`, and a server that does not answer is left out in time to answer
        by `answer_by`.

        Raises NotFound (no such chunk, or no replica of it there), Unavailable (somebody writes the chunk, and cannot
        be asked to stop).
        """
        core = self._core
        # Half of the time is kept for a second reading, which is as long as the first.
        found = await self._read(handle, server, (answer_by - core.now) / (1 if server else 2))
        if server or not differ(found):
            return found
        async with core.guard(handle, until=deadline):
            if not await core.take_back(handle, "its replicas are compared on request"):
                raise Unavailable(
                    f"chunk {handle:#x} is under a lease whose primary does not answer; try again in a moment",
                    definite=True,
                )
            return await self._read(handle, "", answer_by - core.now)

    async def _read(self, handle: int, only: str, seconds: float) -> list[Verified]:
        core = self._core
        if handle not in core.state.chunks:
            raise NotFound(f"there is no chunk {handle:#x}; see the chunks of a file with `tabletop fs stat`")
        names = [
            server.name
            for server in core.servers.alive()
            if only in ("", server.name) and core.replicas.state(handle, server.name) in _READ
        ]
        if only and not names:
            raise NotFound(f"{shown(only)} has no replica of chunk {handle:#x} that could be read now")
        seconds = max(min(seconds, core.settings.verify_seconds), 0.001)
        return list(await asyncio.gather(*(self._read_one(handle, name, seconds) for name in names)))

    async def _read_one(self, handle: int, name: str, seconds: float) -> Verified:
        core = self._core
        problem = ""
        version, state = 0, core.replicas.state(handle, name)
        for _ in range(_TRIES):
            if handle not in core.state.chunks:
                return Verified(name, state, version, problem="its chunk was deleted meanwhile")
            state = core.replicas.state(handle, name)
            version = core.state.chunks.version(handle)
            if state is not ReplicaState.CURRENT:
                version = core.replicas.version(handle, name)
            try:
                held = await core.unless_stopping(
                    core.calls.verify(
                        name,
                        handle=handle,
                        version=version,
                        stall_seconds=core.settings.clone_stall_seconds,
                        seconds=seconds,
                    )
                )
            except StaleVersion as error:
                problem = error.message
                continue
            except TabletopError as error:
                return Verified(name, state, version, problem=error.message)
            return Verified(name, state, held.version, held.length, held.digest, held.damaged_blocks)
        return Verified(name, state, version, problem=problem)
