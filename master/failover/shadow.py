"""A shadow master: follows the acting one's log, and answers what may be old (GFS 5.1.3).

"They provide read-only access to the file system even when the primary master is down. They are shadows, not mirrors,
in that they may lag the primary slightly." A shadow answers where files and replicas are, by the records that it has
applied and by what chunkservers have told it, and says with each answer how far it may be behind. It grants no lease,
gives no order, and changes nothing.

The lag is measured: each message of the acting master says how far the log is confirmed. Once a shadow has applied
that, its answers were true when that message came; the age of the last such message is the lag. While nobody acts, the
lag grows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from master.core import Core
from master.events import CheckpointInstalled, ShadowFollows
from master.failover.following import FollowedLog
from master.failover.sightings import Sighting, Sightings
from master.log.records import ChunkAllocated, FileWithChunkCreated, Record
from master.parts import Parts
from master.servers.servers import Address, Registration, Server, ServerState
from master.settings import MasterSettings
from runtime.errors import (
    Conflict,
    DiskFailure,
    ForeignNamespace,
    InvalidRequest,
    Superseded,
    TabletopError,
    Unavailable,
)
from runtime.tasks import uninterrupted
from runtime.wire import master_pb2, masters_pb2
from runtime.world import World

READS = ("Stat", "List", "FindLocations", "GetClusterStatus")
"""The requests of clients that a shadow answers."""


class ShadowCore(Core):
    """The memory of a master that only looks."""

    def __init__(self, world: World, settings: MasterSettings, log: FollowedLog) -> None:
        super().__init__(world, settings, log)
        self.sightings = Sightings()
        self._told: dict[str, tuple[int, int]] = {}  # the last report of each server: its incarnation and number
        log.on_applied = self._note_applied

    def readable(self, handle: int) -> list[Server]:
        """The live servers that say that they have the chunk's version; if there is none, those that were given it."""
        chunks = self.state.chunks
        holders = self.sightings.holders(handle, chunks.version(handle))
        return self.live_servers(holders) or self.live_servers(chunks.members(handle))

    def take_report(self, report: masters_pb2.ReplicaReport) -> bool:
        """A chunkserver says what it holds; false if it is to say everything. Raises InvalidRequest."""
        place = report.location
        if not place.server or not place.control_address:
            raise InvalidRequest(f"a report of replicas needs a server's name and address; found {place.server!r}")
        name, told = place.server, (report.incarnation, report.sequence)
        before = self._told.get(name, (0, 0))
        if before[0] == told[0] and told[1] <= before[1]:
            return True  # It was under way for so long that a later one has come.
        if not report.is_whole and (before[0] != told[0] or not self.sightings.knows(name)):
            return False
        self._told[name] = told
        address = Address(name, place.control_address, place.bulk_address)
        total, free = report.disk_total_bytes, report.disk_free_bytes
        self.servers.register(Registration(address, report.incarnation, total, free), self.now)
        seen = {
            state.handle: Sighting(state.version, state.length, not (state.unsure or state.damaged))
            for state in report.chunks
        }
        self.sightings.report(name, seen, is_whole=report.is_whole, gone=report.gone)
        for handle, sighting in seen.items():
            if handle in self.state.chunks and sighting.is_sound:
                self.state.chunks.note_length(handle, sighting.length)
        return True

    def look_at_clock(self) -> None:
        """Give up servers that are silent."""
        self.servers.forgive(self.safe_mode.attention.tick(self.now))
        for name, state in self.servers.judge_silence(self.now):
            if state is ServerState.DEAD:
                self.sightings.forget(name)

    def count_replicas(self) -> None:
        """Before the whole is told: how many replicas each chunk has, as far as is known here."""
        chunks = self.state.chunks
        for handle in chunks.handles():
            chunks.set_replicas(handle, tuple(server.name for server in self.readable(handle)))

    def _note_applied(self, record: Record, forgotten: list[int]) -> None:
        if isinstance(record, ChunkAllocated | FileWithChunkCreated):
            version = self.state.chunks.version(record.handle)
            self.state.chunks.note_length(record.handle, self.sightings.length(record.handle, version))


class Shadow:
    """A master while it does not act: the log that it follows, and the answers that it gives. `on_broken` is called
    when the log cannot be used any more."""

    def __init__(
        self, world: World, settings: MasterSettings, log: FollowedLog, *, on_broken: Callable[[str], None]
    ) -> None:
        self.log = log
        self.acting = masters_pb2.ActingMaster()
        self.epoch = log.last_epoch
        self.core = ShadowCore(world, settings, log)
        self.parts = Parts(self.core)
        self._world = world
        self._settings = settings
        self._on_broken = on_broken
        self._stream = 0
        self._confirmed = 0
        self._level_at: float | None = None  # when the last message came whose confirmed records are applied here
        self._writing = asyncio.Lock()
        self._expect_servers()

    def _renew(self) -> None:
        """The log has another state now: what was known of replicas must be told again."""
        self.core = ShadowCore(self._world, self._settings, self.log)
        self.parts = Parts(self.core)
        self._expect_servers()

    def _expect_servers(self) -> None:
        for name in self.core.state.servers:
            self.core.servers.expect(name)

    async def fence(self, epoch: int) -> None:
        """Take nothing any more from masters of lower epochs than this: it is this master's own now."""
        async with self._writing:
            self.epoch, self._stream = epoch, 0

    @property
    def confirmed(self) -> int:
        """The last record of this log that is known to be on all masters that were in sync."""
        return min(self._confirmed, self.log.last_sequence)

    # What clients are told

    @property
    def lag_seconds(self) -> float:
        """How old an answer may be; infinite as long as nothing was heard of an acting master."""
        return float("inf") if self._level_at is None else max(0.0, self.core.now - self._level_at)

    async def read(self, name: str, request: Any, context: Any) -> Any:
        """Answer one of READS. Raises what the acting master would raise, and Unavailable before this shadow has
        followed an acting master for a moment."""
        if self._level_at is None:
            raise Unavailable("this shadow master has not caught up with an acting master yet", definite=True)
        if name == "GetClusterStatus":
            self.core.count_replicas()
        try:
            reply = await getattr(self.parts.service, name)(request, context)
        except TabletopError as error:
            who = f"{self._world.node}, a shadow master that may be {self.lag_seconds:.1f} s behind"
            raise type(error)(f"{error.message} (says {who})", definite=error.definite) from error
        if name == "GetClusterStatus" and not reply.safe_mode.by_hand:
            # It waits for no server: it orders neither copies nor removals in any case.
            reply.safe_mode.CopyFrom(master_pb2.SafeMode(chunks_found=reply.safe_mode.chunks_found))
        reply.shadow.CopyFrom(master_pb2.ShadowAnswer(master=self._world.node, lag_seconds=self.lag_seconds))
        return reply

    # What the acting master says

    async def ask(self, request: masters_pb2.AskLogRequest) -> masters_pb2.LogStanding:
        """What this log holds. Raises Superseded, Unavailable."""
        return await self._alone(request.acting, self._standing_now)

    async def begin_stream(self, request: masters_pb2.BeginStreamRequest) -> masters_pb2.LogStanding:
        """Cut off what the acting master's log does not have. Raises Superseded, Conflict, DiskFailure."""

        async def begin() -> masters_pb2.LogStanding:
            self._enter(request.stream, is_first=True)
            state = self.log.state
            if request.keep_through < self.log.last_sequence:
                self._level_at = None
            await self.log.cut(request.keep_through)
            if self.log.state is not state:
                self._renew()
            self._tell_whom_it_follows()
            return await self._standing_now()

        return await self._alone(request.acting, begin)

    async def append(self, request: masters_pb2.AppendRecordsRequest) -> masters_pb2.LogStanding:
        """Make records durable, and apply those that are confirmed. Raises Superseded, Conflict, NoSpace, DiskFailure,
        Corrupted, IncompatibleFormat."""
        arrived = self.core.now

        async def append() -> masters_pb2.LogStanding:
            self._enter(request.stream)
            if request.records:
                await self.log.receive(request.first_sequence, request.records)
            is_news = request.confirmed >= self._confirmed  # It may have been under way for long.
            self._confirmed = max(self._confirmed, request.confirmed)
            self.log.apply_through(self._confirmed)
            if is_news and self.log.applied == self._confirmed > 0:
                self._level_at = arrived
            return masters_pb2.LogStanding(last_sequence=self.log.last_sequence)

        return await self._alone(request.acting, append)

    async def install(self, request: masters_pb2.InstallCheckpointRequest) -> masters_pb2.LogStanding:
        """Take a piece of a whole state. Raises Superseded, Conflict, NoSpace, DiskFailure, Corrupted."""

        async def install() -> masters_pb2.LogStanding:
            self._enter(request.stream, is_first=request.offset == 0)
            if request.offset == 0:
                self._level_at = None
                await self.log.begin_install()
                self._renew()
            await self.log.receive_piece(request.sequence, request.offset, request.data)
            if request.is_last:
                await self.log.finish_install(request.sequence)
                self._renew()
                acting = self.acting.master
                self._world.events.emit(CheckpointInstalled(sequence=request.sequence, acting=acting))
                self._tell_whom_it_follows()
            return await self._standing_now()

        return await self._alone(request.acting, install)

    def _enter(self, stream: int, *, is_first: bool = False) -> None:
        if is_first and stream > self._stream:
            self._stream, self._confirmed = stream, 0
        elif stream != self._stream or is_first:
            raise Conflict(f"stream {stream} of the log is over; stream {self._stream} has begun")

    async def _alone(
        self, acting: masters_pb2.ActingMaster, work: Callable[[], Awaitable[masters_pb2.LogStanding]]
    ) -> masters_pb2.LogStanding:
        """Do `work` for the acting master, one call after the other, each to its end."""

        async def do() -> masters_pb2.LogStanding:
            async with self._writing:
                self._obey(acting)
                try:
                    return await work()
                except DiskFailure as error:
                    self._on_broken(f"the log that it follows cannot be written: {error.message}")
                    raise

        return await uninterrupted(do())

    def _obey(self, acting: masters_pb2.ActingMaster) -> None:
        known = max(self.epoch, self.log.last_epoch)
        if acting.epoch < known:
            raise Superseded(
                f"the log comes from {acting.master}, the master of epoch {acting.epoch}; this master knows of epoch "
                f"{known}: the older one is to stop"
            )
        if self.log.namespace not in (0, acting.namespace) and acting.namespace and not self._is_empty:
            raise ForeignNamespace(
                f"the log here belongs to namespace {self.log.namespace:016x}, {acting.master} keeps "
                f"{acting.namespace:016x}; give one of the two its own folder"
            )
        if acting.epoch > self.epoch:
            self.epoch, self._stream = acting.epoch, 0
        self.acting = acting

    def _tell_whom_it_follows(self) -> None:
        sequence = self.log.next_sequence
        self._world.events.emit(ShadowFollows(acting=self.acting.master, epoch=self.epoch, sequence=sequence))

    @property
    def _is_empty(self) -> bool:
        names = self.log.state.namespace
        return names.files == 0 and names.directories <= 1

    async def _standing_now(self) -> masters_pb2.LogStanding:
        extent = self.log.extent
        return masters_pb2.LogStanding(
            namespace=self.log.namespace,
            tenures=[masters_pb2.Tenure(epoch=epoch, first_sequence=first) for epoch, first in extent.tenures],
            last_sequence=extent.last_sequence,
            is_empty=self._is_empty,
        )

    # What everybody may know

    def standing(self) -> masters_pb2.MasterStanding:
        """How far this shadow is."""
        return masters_pb2.MasterStanding(
            epoch=self.epoch,
            follows=self.acting.master,
            last_sequence=self.log.last_sequence,
            applied_sequence=self.log.applied,
            lag_seconds=self.lag_seconds,
        )
