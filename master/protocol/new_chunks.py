"""Chunks that do not exist yet (GFS 3.1, 4.2).

A new chunk is created on its servers first and logged after that, in one record with its place in the file. If any
server fails, the handle is thrown away and another one is used on other servers: whatever the first attempt left
behind is an orphan, which garbage collection removes. Its first lease begins with it.

Small files come with their first chunk, many of them in one call (`creating.py`): `forming` makes the replicas, and
`begin` is called when the record that names them is durable. If the replicas cannot be made at the first try, the
file comes without a chunk, and its writer asks for one as any writer does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from master.chunks.leases import Lease
from master.chunks.replicas import ReplicaState
from master.core import Core
from master.events import ChunkCreated
from master.log.records import ChunkAllocated, HandlesReserved
from master.namespace.namespace import FileEntry
from master.protocol.moving import Moving
from master.protocol.raising import Raising
from master.servers.servers import Server, ServerState
from runtime.errors import NoSpace, TabletopError, Unavailable, shown, without_call

_NUMBERS_A_RECORD = 1024
_CREATION_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class NewChunk:
    """Empty replicas at version 1 that no record names yet: on which servers, in which lives of theirs, when the last
    of them answered, and which of them failed."""

    handle: int
    servers: tuple[Server, ...]
    incarnations: tuple[int, ...]
    answered: float
    failed: Sequence[tuple[str, TabletopError]]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the servers, the primary first."""
        return tuple(server.name for server in self.servers)


class NewChunks:
    """Makes chunks, and gives numbers to chunks and files."""

    def __init__(self, core: Core, raising: Raising, moving: Moving) -> None:
        self._core = core
        self._moving = moving
        self._raising = raising
        self._reserving = asyncio.Lock()

    async def new_number(self) -> int:
        """A number for a chunk or a file that nobody has ever heard of, not even from an earlier run of the master."""
        state = self._core.state
        async with self._reserving:
            await self._reserve()
            # A number that the log has lost, and a server still knows, would be taken for the chunk of the same name.
            while self._core.replicas.others(state.chunks.next_handle):
                state.chunks.reserve_handle()
                await self._reserve()
            return state.chunks.reserve_handle()

    async def new_numbers(self, count: int) -> int:
        """So many numbers for files, one after the other; returns the first. They are reserved by the record that names
        them: nobody is told of them before, so that they may be given again if it never comes to that."""
        chunks = self._core.state.chunks
        async with self._reserving:
            first, chunks.next_handle = chunks.next_handle, chunks.next_handle + count
            return first

    async def _reserve(self) -> None:
        state = self._core.state
        if state.chunks.next_handle >= state.handle_limit:
            await self._core.commit(HandlesReserved(state.chunks.next_handle + _NUMBERS_A_RECORD))

    async def append(self, path: str, index: int) -> Lease:
        """Make the next chunk of a file; the caller holds the path's write lock. Raises NoSpace, Unavailable, and what
        the log raises."""
        core = self._core
        core.refuse_in_safe_mode()
        goal = core.state.namespace.file(path).goal
        failed: list[str] = []
        problem: TabletopError | None = None
        reason = "none is alive"
        for _ in range(_CREATION_ROUNDS):
            handle = await self.new_number()
            targets = self._place(path, handle, goal, failed, problem, reason)
            async with self._forming_on(handle, targets) as chunk:
                if not chunk.failed:
                    await core.commit(ChunkAllocated(path, index, chunk.handle, 1, chunk.names))
                    return self.begin(chunk, path, index)
            failed.extend(name for name, _ in chunk.failed)
            name, problem = chunk.failed[0]
            reason = f"{name}: {without_call(problem.message)}"
        raise Unavailable(f"no chunk could be created for {shown(path)}: {reason}; try again", definite=True)

    @contextlib.asynccontextmanager
    async def forming(self, path: str, goal: int) -> AsyncIterator[NewChunk | None]:
        """Run the block with a new chunk for a file, or with None if it cannot be made at the first try. The block
        commits the record that names it, and calls `begin`; if it does not, the chunk was never there."""
        try:
            handle = await self.new_number()
            targets = self._place(path, handle, goal, [], None, "none is alive")
        except TabletopError:
            yield None
            return
        async with self._forming_on(handle, targets) as chunk:
            yield None if chunk.failed else chunk

    def begin(self, chunk: NewChunk, path: str, index: int) -> Lease:
        """The record that names the chunk is durable: its replicas count, and its first lease begins."""
        core, handle, names = self._core, chunk.handle, chunk.names
        for server, incarnation in zip(chunk.servers, chunk.incarnations, strict=True):
            if not server.is_alive or server.incarnation != incarnation:
                continue  # Given up or started again meanwhile: it says itself what it has.
            if core.replicas.state(handle, server.name) is ReplicaState.FORMING:
                core.replicas.change(handle, server.name, ReplicaState.CURRENT)
        file = core.state.namespace.find(path)
        file_id = file.file_id if isinstance(file, FileEntry) else 0
        core.emit(ChunkCreated(handle=handle, path=path, index=index, servers=names, file_id=file_id))
        core.leases.begin(handle)
        return core.begin_lease(handle, 1, names, chunk.answered)

    @contextlib.asynccontextmanager
    async def _forming_on(self, handle: int, targets: Sequence[Server]) -> AsyncIterator[NewChunk]:
        core = self._core
        for server in targets:
            core.judge(handle, server.name, ReplicaState.FORMING)
        incarnations = tuple(server.incarnation for server in targets)
        try:
            bad = await self._raising.create(handle, targets)
            for server in targets:
                if server.name in dict(bad):
                    server.note_trouble(core.now)
            yield NewChunk(handle, tuple(targets), incarnations, core.now, bad)
        finally:
            for server in targets:
                if core.replicas.state(handle, server.name) is ReplicaState.FORMING:
                    core.judge(handle, server.name, ReplicaState.ABSENT)

    def _place(
        self, path: str, handle: int, goal: int, failed: list[str], problem: TabletopError | None, reason: str
    ) -> list[Server]:
        core = self._core
        able = [server for server in self._moving.open_servers() if server.name not in failed]
        if len(able) + len(failed) < goal and not core.is_settled():
            raise Unavailable(
                f"the master has just started, and has not heard yet from enough servers for a new chunk of "
                f"{shown(path)}: {len(able)} of {goal}; try again in a moment",
                definite=True,
            )
        steady = [server for server in able if server.state is ServerState.LIVE]
        if len(steady) < goal:
            # Where heartbeats are late, most servers are suspected that live; one that does not fails the try, and the
            # next one is made without it. On fewer servers than there are the chunk would be lost with one of them.
            steady = able
        reserve = core.reserve_bytes
        names = self._moving.policy.choose(
            core.shuffled_candidates(steady), handle=handle, count=goal, needed_bytes=reserve
        )
        if not names:
            if isinstance(problem, NoSpace) or (able and problem is None):
                raise NoSpace(
                    f"no chunkserver has {reserve} bytes free for a new chunk of {shown(path)}; delete something "
                    "with `tabletop fs rm --skip-trash`, or add a chunkserver"
                )
            raise Unavailable(
                f"no chunkserver can take a new chunk of {shown(path)} ({reason}); see `tabletop status`, and try "
                "again",
                definite=True,
            )
        chosen = [server for name in names for server in steady if server.name == name]
        for server in chosen:
            server.note_creation(core.now)
        return chosen
