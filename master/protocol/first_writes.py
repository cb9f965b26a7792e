"""The first write to a chunk after a snapshot (GFS 3.4).

The problem. A chunk that several files share must never change under any of them, and one of them is to be written. The
idea, as in the paper: the master "defers replying to the client request", picks a new handle, and has each server that
holds a replica copy it under that handle, from its own disk; then it logs that the file has the new chunk in the place
of the old one, and grants a lease on it as on any other.

    1  if somebody could yet be writing the old chunk, a higher version ends that            raising.py
    2  copies are made on the servers of its current replicas, each compared with the
       checksums as it is made; their digests are compared, and those that are alike count   cloning.py
    3  ONE record: the file has the new chunk, whose members these servers are               records.py
    4  the copies count, and a lease is granted as for every chunk                           granting.py

A crash before 3 leaves copies that no file names: orphans, which garbage collection removes. A server that fails in 2
has no replica of the new chunk, or one that does not count: it is made anew, like every replica that is missing (4.3).

A chunk that was ever shared is *frozen*: even when only one file is left, that file gets a chunk of its own before it
is written. The paper copies only while the reference count is greater than one. But a client that has asked earlier
where a chunk of its file is may read it there for a while; were the old chunk written for the file that is left, it
would read the bytes of another file.
"""

import asyncio

from master.chunks.judging import Answer, plan_members
from master.chunks.replicas import ReplicaState
from master.core import Core
from master.events import ChunkCopied
from master.log.records import ChunkReplaced
from master.protocol.new_chunks import NewChunks
from master.protocol.raising import Raising, in_order
from master.protocol.settling import Settling
from master.servers.chunkservers import Held
from master.servers.servers import Server
from runtime.errors import NoSpace, TabletopError, Unavailable, shown, without_call

_VERSION = 1


class FirstWrites:
    """Gives files chunks of their own."""

    def __init__(self, core: Core, raising: Raising, settling: Settling, new_chunks: NewChunks) -> None:
        self._core = core
        self._raising = raising
        self._settling = settling
        self._new_chunks = new_chunks

    async def own_chunk(self, path: str, index: int, deadline: float) -> int:
        """Put a chunk of its own in the place of a file's frozen one; returns its handle. The caller holds a lock on
        the path. Raises NoSpace, Unavailable (definite: try again), and what the log raises."""
        core, namespace = self._core, self._core.state.namespace
        frozen = namespace.file(path).handles[index]
        async with core.guard(frozen, for_client=True, until=deadline):
            present = namespace.file(path).handles[index]
            if present != frozen:
                return present  # Another writer was first.
            if not core.participants(frozen):
                await self._settling.settle(frozen)
            if not core.state.chunks.length_is_settled(frozen):
                servers = in_order(frozen, core.participants(frozen))
                await self._raising.raise_version(frozen, servers, reason="a file needs a copy of its own")
            return await self._replace(path, index, frozen)

    async def _replace(self, path: str, index: int, frozen: int) -> int:
        core = self._core
        sources = core.live_servers(core.state.chunks.replicas(frozen))
        handle = await self._new_chunks.new_number()
        incarnations = {server.name: server.incarnation for server in sources}
        for server in sources:
            core.judge(handle, server.name, ReplicaState.FORMING)
        try:
            outcomes = await asyncio.gather(*(self._copy_on(server, handle, frozen) for server in sources))
            pairs = list(zip(sources, outcomes, strict=True))
            made = {server.name: held for server, held in pairs if isinstance(held, Held)}
            members = plan_members([Answer(name, held.length, held.digest) for name, held in made.items()])
            if not members:
                failed = [(server.name, error) for server, error in pairs if isinstance(error, TabletopError)]
                raise _uncopied(path, frozen, failed)
            await core.commit(ChunkReplaced(path, index, handle, _VERSION, members))
            for server in sources:
                is_same = server.is_alive and server.incarnation == incarnations[server.name]
                if server.name in members and is_same:  # Another life says itself what it has.
                    length = made[server.name].length
                    core.judge(handle, server.name, ReplicaState.CURRENT, version=_VERSION, length=length)
        finally:
            for server in sources:
                if core.replicas.state(handle, server.name) is ReplicaState.FORMING:
                    core.judge(handle, server.name, ReplicaState.ABSENT)
        core.emit(ChunkCopied(handle=handle, frozen=frozen, path=path, index=index, servers=members))
        return handle

    async def _copy_on(self, server: Server, handle: int, frozen: int) -> Held | TabletopError:
        core, settings = self._core, self._core.settings
        server.note_creation(core.now)
        copying = core.calls.copy(
            server.name,
            handle=handle,
            version=_VERSION,
            of=frozen,
            least_version=core.state.chunks.version(frozen),
            stall_seconds=settings.clone_stall_seconds,
            seconds=settings.clone_seconds,
        )
        try:
            return await core.unless_stopping(copying)
        except TabletopError as error:
            server.note_trouble(core.now)
            return error


def _uncopied(path: str, frozen: int, failed: list[tuple[str, TabletopError]]) -> TabletopError:
    """Why a file gets no chunk of its own."""
    told = "; ".join(f"{name}: {without_call(error.message)}" for name, error in failed)
    words = f"chunk {frozen:#x} of {shown(path)} is shared with a snapshot, and cannot be copied before it is written"
    if failed and all(isinstance(error, NoSpace) for _, error in failed):
        return NoSpace(f"{words} ({told}); delete something with `tabletop fs rm --skip-trash`, or add a chunkserver")
    return Unavailable(f"{words} ({told or 'no undamaged replica is on a live server'}); try again", definite=True)
