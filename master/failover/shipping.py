"""The acting master brings its log to the shadows, and answers nothing that the ones in sync do not have (GFS 2.6.3).

The problem. "We respond to a client operation only after flushing the corresponding log record to disk both locally and
remotely." A shadow may be slow, or gone, or come back with a log that ends somewhere else, and neither may writers wait
for ever nor may anything that was answered depend on one disk.

The idea. One task for each other master. It asks what the other's log holds, lets what that has too many be cut off
(`agreement.py`), sends what is missing from the disk, and from then on each record as it becomes durable here: while
one message is under way, the next records gather, and travel together. A record is *confirmed* when all who are in sync
have acknowledged it. Who is in sync is written in the charter (`mastership.py`):

    a shadow that has caught up      is waited for from now on; then it is written into the charter
    a shadow that does not answer    is taken out of the charter; then nobody waits for it any more

In this order, so that whoever is in the charter has every answered record, at every moment.

Invariants: (1) the masters named in the charter are among those that are waited for; (2) what is confirmed is durable
on all of these; (3) `confirmed` never falls; (4) one task changes the charter, one change at a time. If the answer to a
change of it is lost, it is read again until it is known.

What we simplify. Messages to one shadow follow one another: no second one is under way before the first is answered.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from master.events import ShadowInSync, ShadowOutOfSync
from master.failover.agreement import LogExtent, agreed_through
from master.failover.following import FollowedLog
from master.failover.log_supply import (
    RecentRecords,
    newest_checkpoint,
    oldest_record,
    pieces_of_checkpoint,
    stored_records,
)
from master.failover.mastership import Charter, Claim
from runtime.errors import Conflict, ForeignNamespace, Superseded, TabletopError, TimedOut, Unavailable
from runtime.wire import masters_pb2, masters_pb2_grpc
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.masters_pb2_grpc import MasterReplicaAsyncStub

_BATCH_BYTES = 1024 * 1024
# Whoever is dead is waited for less than who may only be slow.
_SHARE_FOR_THE_GONE = 0.25
_PAUSE_SECONDS = 0.1  # between tries with a shadow that fails, and with a lock service that does


@dataclass(frozen=True, slots=True)
class ShippingSettings:
    """`heartbeat` and `patience` are seconds: a shadow hears so often at least, and one that is silent for so long is
    not in sync any more. `memory_bytes` of the last records are kept for those that follow closely."""

    heartbeat: float
    patience: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class SeenShadow:
    """What decides whether a shadow is in sync. `is_level`: it receives records as they come, in this tenure's log.
    `is_gone`: nobody listens at its address."""

    name: str
    is_in_charter: bool
    is_level: bool
    is_required: bool
    has_lost: bool
    is_gone: bool
    acknowledged: int
    silent_seconds: float


def plan_in_sync(
    shadows: Sequence[SeenShadow], *, confirmed: int, oldest_waiting: int, waiting_seconds: float, patience: float
) -> tuple[str, ...]:
    """The shadows that should be in the charter. `oldest_waiting`: the record that somebody waits for longest (0 for
    none).

    >>> level = SeenShadow("master2", False, True, True, False, False, acknowledged=50, silent_seconds=0.1)
    >>> silent = SeenShadow("master3", True, True, True, False, False, acknowledged=50, silent_seconds=3.0)
    >>> plan_in_sync([level, silent], confirmed=50, oldest_waiting=0, waiting_seconds=0.0, patience=1.0)
    ('master2',)
    >>> plan_in_sync([level], confirmed=51, oldest_waiting=0, waiting_seconds=0.0, patience=1.0)
    ()
    """
    found = []
    for shadow in shadows:
        holds_up = shadow.acknowledged < oldest_waiting and waiting_seconds > patience
        if shadow.is_in_charter:
            is_silent = shadow.silent_seconds > patience * (_SHARE_FOR_THE_GONE if shadow.is_gone else 1.0)
            stays = not (shadow.has_lost or holds_up or is_silent)
        else:
            stays = shadow.is_level and shadow.is_required and shadow.acknowledged >= confirmed
        if stays:
            found.append(shadow.name)
    return tuple(found)


class Shadow:
    """What the acting master knows of another one."""

    def __init__(self, name: str, address: str, now: float) -> None:
        self.name = name
        self.address = address
        self.acknowledged = 0
        self.told = 0  # what it was told to be confirmed
        self.heard = now
        self.is_required = False  # nothing is confirmed without it
        self.is_level = False  # it receives records as they come
        self.problem = "it has not answered yet"
        self.has_agreed = False  # it has the beginning of this tenure
        self.has_lost = False  # less is there than it had acknowledged
        self.is_gone = False  # nobody listens at its address

    def seen(self, charter: Charter, now: float) -> SeenShadow:
        """What decides whether it is in sync."""
        is_level = self.is_level and self.has_agreed
        is_in_charter = self.name in charter.in_sync
        silent = now - self.heard
        return SeenShadow(
            self.name, is_in_charter, is_level, self.is_required, self.has_lost, self.is_gone, self.acknowledged, silent
        )


class Shipping:
    """One tenure's log on its way to the others. `confirmed`: what is known to be confirmed already. `on_lost` is
    called once, with the reason, if this master must not act any more."""

    def __init__(
        self,
        world: World,
        log: FollowedLog,
        claim: Claim,
        charter: Charter,
        generation: int,
        *,
        confirmed: int,
        address: str,
        others: dict[str, str],
        settings: ShippingSettings,
        on_lost: Callable[[str], None],
    ) -> None:
        self.charter = charter
        self.shadows = {name: Shadow(name, where, world.clock.now()) for name, where in others.items()}
        for name in charter.in_sync:
            if name in self.shadows:
                self.shadows[name].is_required = True
        # Whoever is in the charter has these already: the beginning of the tenure that all agreed upon, for one.
        self.confirmed_sequence = max(confirmed, log.first_of(charter.agreed))
        self.begins_at = 0  # the first record of this tenure
        self._world = world
        self._log = log
        self._claim = claim
        self._generation = generation
        self._address = address
        self._settings = settings
        self._on_lost = on_lost
        self._recent = RecentRecords(after=log.last_sequence, kept_bytes=settings.memory_bytes)
        self._waiting: deque[tuple[int, float, asyncio.Future[None]]] = deque()
        self._news = {name: asyncio.Event() for name in others}
        self._streams = 0
        self._lost = ""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send."""
        self._tasks = [
            self._world.spawn(self._serve(shadow), f"bring the log to {name}") for name, shadow in self.shadows.items()
        ]
        self._tasks.append(self._world.spawn(self._keep_charter(), "keep the charter"))

    async def stop(self, reason: str) -> None:
        """Nothing is confirmed any more: whoever waits hears that it may have happened."""
        self._end(reason)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _end(self, reason: str) -> None:
        self._lost = self._lost or reason
        while self._waiting:
            _, _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(Unavailable(self._lost, definite=False))

    def _lose(self, reason: str) -> None:
        if not self._lost:
            self._end(reason)
            self._on_lost(reason)

    def standings(self) -> list[masters_pb2.FollowerStanding]:
        """What is known of the others."""
        now = self._world.clock.now()
        return [
            masters_pb2.FollowerStanding(
                master=shadow.name,
                in_sync=shadow.name in self.charter.in_sync,
                acknowledged=shadow.acknowledged,
                silent_seconds=now - shadow.heard,
                problem=shadow.problem,
            )
            for shadow in self.shadows.values()
        ]

    # What the log calls

    def offer(self, sequence: int, payload: bytes) -> None:
        """A record is durable here."""
        self.begins_at = self.begins_at or sequence
        self._recent.add(sequence, payload)
        for news in self._news.values():
            news.set()
        self._advance()

    async def confirmed(self, sequence: int) -> None:
        """Return when the record is on all masters that are in sync. Raises Unavailable (indefinite)."""
        if self._lost:
            raise Unavailable(self._lost, definite=False)
        if sequence <= self.confirmed_sequence:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((sequence, self._world.clock.now(), future))
        await future

    def _advance(self) -> None:
        """Confirm what all that are waited for have."""
        if self._lost:
            return
        required = [shadow.acknowledged for shadow in self.shadows.values() if shadow.is_required]
        self.confirmed_sequence = max(self.confirmed_sequence, min([self._recent.last, *required]))
        while self._waiting and self._waiting[0][0] <= self.confirmed_sequence:
            _, _, future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)

    # Sending

    async def _serve(self, shadow: Shadow) -> None:
        while not self._lost:
            try:
                stream, after = await self._begin_stream(shadow)
                await self._send_all(shadow, stream, after)
            except Superseded as error:
                self._lose(error.message)
            except TabletopError as error:
                shadow.is_level, shadow.problem = False, error.message
                shadow.is_gone = isinstance(error, Unavailable) and error.definite and not error.is_answer
            await self._world.clock.sleep(_PAUSE_SECONDS)

    async def _begin_stream(self, shadow: Shadow) -> tuple[int, int]:
        """Make the shadow's log a beginning of ours; returns the stream's number and the last record that it has."""
        seconds = self._settings.patience
        stub = self.stub(shadow)
        standing = await stub.AskLog(masters_pb2.AskLogRequest(acting=self._acting()), timeout=seconds)
        namespace = self._log.state.identity
        if standing.namespace not in (0, namespace) and not standing.is_empty:
            raise ForeignNamespace(
                f"the log of {shadow.name} belongs to namespace {standing.namespace:016x}, expected "
                f"{namespace:016x}; give it an empty folder, or its own cluster's address"
            )
        theirs = LogExtent(
            tuple((found.epoch, found.first_sequence) for found in standing.tenures), standing.last_sequence
        )
        # Not the log's own end: a record that is being written has a number already, and may begin this tenure.
        keep = agreed_through(LogExtent(self._log.extent.tenures, self._recent.last), theirs)
        if shadow.is_required and keep < self.confirmed_sequence:
            shadow.problem = f"its log agrees with this one up to {keep}, and it had {self.confirmed_sequence} records"
            shadow.has_lost = True
            await self._until_not_required(shadow)
            shadow.has_lost = False
        self._streams += 1
        stream = self._streams
        if keep + 1 < self._recent.first and keep + 1 < await oldest_record(self._world):
            keep = await self._send_checkpoint(shadow, stream)
        else:
            request = masters_pb2.BeginStreamRequest(acting=self._acting(), stream=stream, keep_through=keep)
            begun = await stub.BeginStream(request, timeout=max(seconds, 5.0))
            if begun.last_sequence not in (keep, keep - 1):  # It may do without the opening of a file, if that is all.
                raise Conflict(f"{shadow.name} has kept records up to {begun.last_sequence}, expected {keep}")
            keep = begun.last_sequence
        self._heard(shadow, keep)
        return stream, keep

    async def _send_checkpoint(self, shadow: Shadow, stream: int) -> int:
        sequence = await newest_checkpoint(self._world)
        async for offset, data, is_last in pieces_of_checkpoint(self._world, sequence):
            request = masters_pb2.InstallCheckpointRequest(
                acting=self._acting(), stream=stream, sequence=sequence, offset=offset, data=data, is_last=is_last
            )
            await self.stub(shadow).InstallCheckpoint(request, timeout=max(self._settings.patience, 30.0))
        return sequence

    async def _send_all(self, shadow: Shadow, stream: int, after: int) -> None:
        """Send records, those of the disk first, until something fails."""
        if after + 1 < self._recent.first:
            async for sequence, payloads in _in_batches(stored_records(self._world, after + 1), self._recent):
                after = await self._send(shadow, stream, sequence, payloads)
        while not self._lost:
            await self._wait_for_news(shadow, after)
            if after + 1 < self._recent.first:
                raise Conflict(f"{shadow.name} fell behind what is kept in memory")
            last = self._recent.last
            payloads = self._recent.since(after + 1, limit_bytes=_BATCH_BYTES)
            after = await self._send(shadow, stream, after + 1, payloads)
            shadow.is_level, shadow.problem = after >= last, ""

    async def _wait_for_news(self, shadow: Shadow, after: int) -> None:
        """Return when there is something to tell, or after a while in which there was nothing."""
        news = self._news[shadow.name]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.heartbeat):
                while after == self._recent.last and shadow.told == self.confirmed_sequence and not self._lost:
                    news.clear()
                    await news.wait()

    async def _send(self, shadow: Shadow, stream: int, first: int, payloads: list[bytes]) -> int:
        confirmed = self.confirmed_sequence
        request = masters_pb2.AppendRecordsRequest(
            acting=self._acting(),
            stream=stream,
            first_sequence=first,
            records=payloads,
            confirmed=confirmed,
            last_sequence=self._recent.last,
        )
        reply = await self.stub(shadow).AppendRecords(request, timeout=self._settings.patience)
        if reply.last_sequence != first + len(payloads) - 1:
            raise Conflict(
                f"{shadow.name} has records up to {reply.last_sequence}, expected {first + len(payloads) - 1}"
            )
        shadow.told = confirmed
        self._heard(shadow, reply.last_sequence)
        return reply.last_sequence

    def _heard(self, shadow: Shadow, last_sequence: int) -> None:
        shadow.acknowledged, shadow.heard, shadow.is_gone = last_sequence, self._world.clock.now(), False
        shadow.has_agreed = 0 < self.begins_at <= last_sequence
        before = self.confirmed_sequence
        self._advance()
        if self.confirmed_sequence > before:
            for news in self._news.values():
                news.set()

    def _acting(self) -> masters_pb2.ActingMaster:
        return masters_pb2.ActingMaster(
            master=self._world.node,
            address=self._address,
            epoch=self.charter.epoch,
            namespace=self._log.state.identity,
        )

    def stub(self, shadow: Shadow) -> "MasterReplicaAsyncStub":
        """To ask this one."""
        return masters_pb2_grpc.MasterReplicaStub(self._world.network.channel(shadow.address))

    # The charter

    async def _keep_charter(self) -> None:
        """Loop: who is in sync. The only task that changes the charter after the takeover."""
        while not self._lost:
            for shadow in self.shadows.values():
                shadow.is_required = shadow.is_required or shadow.is_level
            wanted = self._wanted()
            is_waited_for_in_vain = any(
                shadow.is_required and not shadow.is_level and shadow.name not in wanted.in_sync
                for shadow in self.shadows.values()
            )
            try:
                if wanted != self.charter or is_waited_for_in_vain:
                    await self._write(wanted)
            except (Unavailable, TimedOut):
                pass  # Nothing is answered that would need the change; ask again.
            except (Superseded, Conflict) as error:
                self._lose(f"the charter cannot be changed: {error.message}")
            await self._world.clock.sleep(min(_PAUSE_SECONDS, self._settings.patience / 4))

    def _wanted(self) -> Charter:
        """The charter as it should be now."""
        now = self._world.clock.now()
        oldest, since, _ = self._waiting[0] if self._waiting else (0, now, None)
        in_sync = plan_in_sync(
            [shadow.seen(self.charter, now) for shadow in self.shadows.values()],
            confirmed=self.confirmed_sequence,
            oldest_waiting=oldest,
            waiting_seconds=now - since,
            patience=self._settings.patience,
        )
        is_agreed = 0 < self.begins_at <= self.confirmed_sequence
        agreed = self.charter.epoch if is_agreed else self.charter.agreed
        # The state knows a namespace only once it is founded on all that are waited for.
        namespace = self._log.state.identity
        return replace(self.charter, in_sync=(self._world.node, *in_sync), agreed=agreed, namespace=namespace)

    async def _write(self, wanted: Charter) -> None:
        """Change the charter, and wait for those that are in it from then on, and for no others."""
        try:
            self._generation = await self._claim.write(wanted, self._generation)
        except (Unavailable, TimedOut):
            written, generation = await self._claim.read()
            if written != wanted:
                if written != self.charter:
                    raise Conflict("somebody else has changed it") from None
                raise
            self._generation = generation
        before, self.charter = self.charter, wanted
        for shadow in self.shadows.values():
            shadow.is_required = shadow.name in wanted.in_sync
            if shadow.name in wanted.in_sync and shadow.name not in before.in_sync:
                self._world.events.emit(ShadowInSync(shadow=shadow.name, sequence=shadow.acknowledged))
            elif shadow.name not in wanted.in_sync and shadow.name in before.in_sync:
                reason = shadow.problem or "it does not keep up"
                self._world.events.emit(ShadowOutOfSync(shadow=shadow.name, reason=reason))
        self._advance()

    async def _until_not_required(self, shadow: Shadow) -> None:
        while shadow.is_required and not self._lost:
            await self._world.clock.sleep(_PAUSE_SECONDS)


async def _in_batches(
    records: AsyncIterator[tuple[int, bytes]], recent: RecentRecords
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Records from the disk, many in a message, until the memory has the next one."""
    first, gathered, size = 0, list[bytes](), 0
    async for sequence, payload in records:
        if sequence >= recent.first:
            break
        first = first or sequence
        gathered.append(payload)
        size += len(payload)
        if size >= _BATCH_BYTES:
            yield first, gathered
            first, gathered, size = 0, [], 0
    if gathered:
        yield first, gathered
