"""The master's calls to chunkservers. Each order says who gives it (the namespace and the master's epoch), and to whom.

The problem. When thousands of small files are created at once, each asks three servers to create one replica: that
many calls would keep the master busy with nothing else. The idea is that of the group commit: while a call to a server
is under way, what else that server should be told gathers, and travels together in the next call. One client alone does
not wait for anybody; a thousand share a few calls.

A server that does not answer is suspect from then on, until its next heartbeat. One that is heard of meanwhile has a
slow disk, perhaps, and gets longer the next time (`deadlines.py`). A server that obeys a newer master
says so: then this one is not in charge any more, and `on_deposed` is called.
"""

import asyncio
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from master.chunks.judging import NO_PROGRESS, Progress
from master.events import ChunkserverSuspected
from master.servers.deadlines import Deadlines
from master.servers.servers import Address, Server, ServerTable
from runtime.errors import Superseded, TabletopError, TimedOut, Unavailable, error_from_wire
from runtime.wire import chunkserver_pb2, chunkserver_pb2_grpc, common_pb2, node_pb2, node_pb2_grpc
from runtime.world import World

_ITEMS_A_CALL = 512
_CALLS_AT_ONCE = 2
_STALLS_AT_THE_END = 6
_GONE = (Unavailable, TimedOut)
_Step = TypeVar("_Step", chunkserver_pb2.VerifyProgress, chunkserver_pb2.MendProgress)
_Reply = TypeVar("_Reply", chunkserver_pb2.VerifyReply, chunkserver_pb2.MendReply)
_Item = tuple[chunkserver_pb2.Advance, "asyncio.Future[Outcome]"]


@dataclass(frozen=True, slots=True)
class Held:
    """A replica as its server says it is: version, length in bytes; and if asked for, the digest of all it holds, and
    how far it has come."""

    version: int
    length: int
    digest: int = 0
    is_unsure: bool = False
    doubtful_blocks: int = 0
    damaged_blocks: int = 0
    is_damaged: bool = False
    progress: Progress = NO_PROGRESS
    durable_progress: Progress = NO_PROGRESS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: what the server now holds, or why it did not do it.

    With an error, `held` says what the server has instead, as far as it said so. `is_silence`: the order, or its
    answer, may have been lost, and nobody knows what the server did.
    """

    held: Held
    error: TabletopError | None = None
    is_silence: bool = False


@dataclass(frozen=True, slots=True)
class Mended:
    """What a server has made of a damaged or unsure replica: what it holds now, how many blocks it took from others,
    and how many it found nowhere."""

    held: Held
    is_damaged: bool
    mended_blocks: int
    left_blocks: int


class _Outbox:
    """What one server is to be told, and how many calls to it are under way."""

    def __init__(self) -> None:
        self.items: list[_Item] = []
        self.calls = 0


class Chunkservers:
    """Sends requests to chunkservers by name."""

    def __init__(
        self,
        world: World,
        servers: ServerTable,
        *,
        call_seconds: float,
        authority: Callable[[], common_pb2.Authority],
        on_deposed: Callable[[str], None],
    ) -> None:
        self.calls = 0  # AdvanceChunks calls made, for the counters
        self.items = 0  # chunks in them
        self._world = world
        self._servers = servers
        self._call_seconds = call_seconds
        self._deadlines = Deadlines(first=call_seconds)
        self._authority = authority
        self._on_deposed = on_deposed
        self._outboxes: dict[str, _Outbox] = {}

    def advance(self, server: str, item: chunkserver_pb2.Advance) -> "asyncio.Future[Outcome]":
        """Create a replica or raise its version: the order is on its way when this returns. What is to be awaited never
        raises: the outcome says what went wrong."""
        outbox = self._outboxes.setdefault(server, _Outbox())
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        outbox.items.append((item, future))
        if outbox.calls < _CALLS_AT_ONCE:
            outbox.calls += 1
            self._world.spawn(self._empty(server, outbox), f"advance chunks on {server}")
        return future

    async def revoke(
        self, server: str, leases: list[tuple[int, int]], seconds: float, *, appends_only: bool = False
    ) -> dict[int, Held]:
        """End leases, given as (handle, version), at their primary; returns what it holds of the chunks.

        The primary answers when no mutation under the leases is in flight any more, which may take a while.
        `appends_only`: only the right to append records ends, and the answer comes at once, without a word of what it
        holds. Raises Unavailable, TimedOut, Superseded, ForeignNamespace.
        """
        request = chunkserver_pb2.RevokeLeasesRequest(
            leases=[chunkserver_pb2.LeaseName(handle=handle, version=version) for handle, version in leases],
            authority=self._authority_over(server),
            appends_only=appends_only,
        )
        try:
            reply = await self._stub(server).RevokeLeases(request, timeout=seconds)
        except TabletopError as error:
            self._note_failure(server, error)
            raise
        return {state.handle: Held(state.version, state.length, is_unsure=state.unsure) for state in reply.states}

    async def clone(
        self,
        destination: str,
        *,
        handle: int,
        version: int,
        sources: list[Address],
        bytes_per_second: int,
        stall_seconds: float,
        seconds: float,
    ) -> Held:
        """Have `destination` copy a chunk from `sources`; returns what it then holds.

        Raises TimedOut if the copy makes no progress for `stall_seconds`, and what the destination raised.
        """
        request = chunkserver_pb2.CloneRequest(
            handle=handle,
            version=version,
            sources=[location(source) for source in sources],
            bytes_per_second=bytes_per_second,
            authority=self._authority_over(destination),
        )
        progress = self._stub(destination).Clone(request, timeout=seconds)
        try:
            return await self._until_cloned(destination, progress, stall_seconds)
        except TabletopError as error:
            self._note_failure(destination, error)
            raise

    async def copy(
        self,
        server: str,
        *,
        handle: int,
        version: int,
        of: int,
        least_version: int,
        stall_seconds: float,
        seconds: float,
    ) -> Held:
        """Have a server copy its replica of the chunk `of`, which must have that version at least, under another
        handle; returns what it then holds. Raises as `clone`."""
        request = chunkserver_pb2.CloneRequest(
            handle=handle,
            version=version,
            copy_of=of,
            copy_version=least_version,
            authority=self._authority_over(server),
        )
        progress = self._stub(server).Clone(request, timeout=seconds)
        try:
            return await self._until_cloned(server, progress, stall_seconds)
        except TabletopError as error:
            self._note_failure(server, error)
            raise

    async def verify(self, server: str, *, handle: int, version: int, stall_seconds: float, seconds: float) -> Held:
        """Have a server compare every block of a replica of at least this version with its checksum.

        Raises TimedOut if it says nothing for `stall_seconds` (the order may have been lost), and what it raises."""
        request = chunkserver_pb2.VerifyRequest(handle=handle, version=version, authority=self._authority_over(server))
        progress = self._stub(server).VerifyReplica(request, timeout=seconds)
        try:
            reply = await self._until_done(server, progress, stall_seconds, lambda step: step.done)
        except TabletopError as error:
            self._note_failure(server, error)
            raise
        state = reply.state
        return Held(
            state.version, state.length, reply.digest, is_unsure=state.unsure, damaged_blocks=reply.damaged_blocks
        )

    async def mend(
        self,
        server: str,
        *,
        handle: int,
        version: int,
        sources: Sequence[Server],
        stall_seconds: float,
        seconds: float,
    ) -> Mended:
        """Have a server look for its damaged or doubtful blocks at `sources`.

        Raises TimedOut if it says nothing for `stall_seconds` (the order may have been lost), and what it raises."""
        request = chunkserver_pb2.MendRequest(
            handle=handle, version=version, sources=locations(sources), authority=self._authority_over(server)
        )
        progress = self._stub(server).MendReplica(request, timeout=seconds)
        try:
            reply = await self._until_done(server, progress, stall_seconds, lambda step: step.done)
        except TabletopError as error:
            self._note_failure(server, error)
            raise
        state = reply.state
        held = Held(state.version, state.length, is_unsure=state.unsure)
        return Mended(held, state.damaged, reply.mended_blocks, reply.left_blocks)

    async def held(self, server: str, handle: int) -> Held | None:
        """What a server has of a chunk at this moment, None if nothing. Raises what it raises."""
        request = chunkserver_pb2.ChunkStatesRequest(handles=[handle])
        try:
            reply = await self._stub(server).GetChunkStates(request, timeout=self._call_seconds)
        except TabletopError as error:
            self._note_failure(server, error)
            raise
        for state in reply.states:
            return Held(state.version, state.length, is_unsure=state.unsure, is_damaged=state.damaged)
        return None

    async def answers(self, server: str) -> bool:
        """Whether the server answers a trivial call, under its own name and in time; it is suspect if not."""
        try:
            channel = self._world.network.channel(self._address(server).control)
            stub = node_pb2_grpc.NodeStub(channel)
            description = await stub.Describe(node_pb2.DescribeRequest(), timeout=self._call_seconds)
        except TabletopError as error:
            self._suspect(server, error)
            return False
        return description.node == server

    async def _empty(self, server: str, outbox: _Outbox) -> None:
        try:
            while outbox.items:
                batch, outbox.items = outbox.items[:_ITEMS_A_CALL], outbox.items[_ITEMS_A_CALL:]
                await self._send(server, batch)
        finally:
            outbox.calls -= 1

    async def _send(self, server: str, batch: list[_Item]) -> None:
        self.calls += 1
        self.items += len(batch)
        nothing = Held(0, 0)
        clock = self._world.clock
        began = clock.now()
        try:
            request = chunkserver_pb2.AdvanceChunksRequest(
                items=[item for item, _ in batch], authority=self._authority_over(server)
            )
            reply = await self._stub(server).AdvanceChunks(request, timeout=self._deadlines.of(server))
        except TabletopError as error:
            found = self._servers.find(server)
            if isinstance(error, TimedOut) and found is not None and found.seen > began:
                self._deadlines.missed(server)  # It is slow, and not silent.
            self._note_failure(server, error)
            for _, future in batch:
                _settle(future, Outcome(nothing, error, isinstance(error, _GONE)))
            return
        self._deadlines.met(server, clock.now() - began)
        for place, (item, future) in enumerate(batch):
            result = reply.results[place] if place < len(reply.results) else None
            if result is None or result.handle != item.handle:
                silence = Unavailable(f"{server} did not say what became of chunk {item.handle:#x}")
                _settle(future, Outcome(nothing, silence, True))
                continue
            held = Held(
                result.state.version,
                result.state.length,
                result.digest,
                is_unsure=result.state.unsure,
                doubtful_blocks=result.doubtful_blocks,
                is_damaged=result.state.damaged,
                progress=Progress(result.progress.version, result.progress.serial),
                durable_progress=Progress(result.durable_progress.version, result.durable_progress.serial),
            )
            problem = None
            if not result.done:
                problem = error_from_wire(result.error_kind, f"{server}: {result.message}", definite=True)
            _settle(future, Outcome(held, problem))

    async def _until_cloned(
        self, destination: str, progress: AsyncIterable[chunkserver_pb2.CloneProgress], stall_seconds: float
    ) -> Held:
        copied, held, patience = -1, None, stall_seconds
        deadline = asyncio.get_running_loop().time() + stall_seconds
        try:
            async with asyncio.timeout_at(deadline) as limit:
                async for step in progress:  # To its end: that brings the other's clock, after which we tell of this.
                    if step.HasField("done"):
                        held = Held(step.done.version, step.done.length, step.digest)
                    if step.copied_bytes > copied:
                        copied = step.copied_bytes
                        if copied >= step.total_bytes:  # A slow disk takes its time to make so much durable.
                            patience = _STALLS_AT_THE_END * stall_seconds
                        limit.reschedule(asyncio.get_running_loop().time() + patience)
        except TimeoutError:
            if held is None:
                raise TimedOut(
                    f"{destination} copied nothing for {patience:g} seconds, after {max(copied, 0)} bytes"
                ) from None
        except TabletopError:
            if held is None:
                raise
        if held is None:
            raise Unavailable(f"{destination} ended the copy without a word")
        return held

    async def _until_done(
        self, server: str, progress: AsyncIterable[_Step], stall_seconds: float, done: Callable[[_Step], _Reply]
    ) -> _Reply:
        """The reply in the last step; the others are signs that the server is at it."""
        loop, reply = asyncio.get_running_loop(), None
        try:
            async with asyncio.timeout_at(loop.time() + stall_seconds) as limit:
                async for step in progress:  # To its end, as above.
                    if step.HasField("done"):
                        reply = done(step)
                    limit.reschedule(loop.time() + stall_seconds)
        except TimeoutError:
            if reply is None:
                raise TimedOut(f"{server} said nothing for {stall_seconds:g} seconds, and may not have heard") from None
        except TabletopError:
            if reply is None:
                raise
        if reply is None:
            raise Unavailable(f"{server} ended its work without a word")
        return reply

    def _authority_over(self, server: str) -> common_pb2.Authority:
        """In whose name this server gets an order, and that nobody else is meant: its address may be another one's
        by now, if it has died and that one was started after it."""
        authority = common_pb2.Authority(server=server)
        authority.MergeFrom(self._authority())
        return authority

    def _note_failure(self, server: str, error: TabletopError) -> None:
        if isinstance(error, Superseded):
            self._on_deposed(error.message)
        elif isinstance(error, _GONE):
            self._suspect(server, error)

    def _stub(self, server: str) -> "chunkserver_pb2_grpc.ChunkserverAsyncStub":
        channel = self._world.network.channel(self._address(server).control)
        return chunkserver_pb2_grpc.ChunkserverStub(channel)

    def _address(self, server: str) -> Address:
        found = self._servers.find(server)
        if found is None or not found.address.control:
            raise Unavailable(f"{server} has not registered since the master started", definite=True)
        return found.address

    def _suspect(self, server: str, error: TabletopError) -> None:
        if self._servers.suspect(server):
            self._world.events.emit(ChunkserverSuspected(server=server, reason=error.message))


def location(address: Address) -> common_pb2.Location:
    """An address on the wire."""
    return common_pb2.Location(
        server=address.server,
        control_address=address.control,
        bulk_address=address.bulk,
        rack=address.place.rack,
        data_centre=address.place.data_centre,
    )


def locations(servers: Sequence[Server]) -> list[common_pb2.Location]:
    """Servers' addresses on the wire."""
    return [location(server.address) for server in servers]


def _settle(future: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)
