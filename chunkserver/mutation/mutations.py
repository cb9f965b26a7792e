"""The primary's and the secondaries' part of a write or a record append (GFS 3.1, steps 4 to 7; 3.3).

The problem. Clients write to one chunk at the same time, and each replica must apply the same mutations in the same
order, whatever order the messages arrive in. The idea: the primary gives every mutation the next serial number, has
itself and all secondaries apply it at the same time, and each replica applies in the order of the numbers.

    Write    -> check everything that can be checked before a number is used up
             -> number -> Apply to every secondary, and apply here -> all done: answer

Every error before the number is definite: nothing has changed anywhere. After it, a failure of any replica is a
`MutationFailed`: some replicas may have applied it, the region is inconsistent (2.7.1). A mutation that has its
number runs to its end even if the client has gone away.

A record append (3.3) is such a mutation, whose offset the primary chooses in the step that gives it its number
(`appending.py`); if the record does not fit, the mutation is padding up to the chunk's end. Appends and writes share
the numbers, so that every replica has them in one order.

Invariants:
1. A replica applies mutations of one version in the order of their serials, each at most once.
2. A write is acknowledged only after every replica of the lease has applied it.
3. A mutation is applied only to a replica at exactly the version it was ordered under.
4. A replica that has missed a mutation does not fill the gap with zeros: each mutation says how far the chunk reached
   before it (`reach`), and a replica that is shorter refuses. Only a hole that the client intended reads as zeros, and
   in an append the remains of tries that failed: there `reach` is how far every replica has come for certain.

What we simplify. A secondary that failed stays in the lease; the error names it, the client complains to the master,
who then leaves it out."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chunkserver.events import ChunkPadded, MutationMissed, TryRefused
from chunkserver.mutation.appending import Place, plan_append
from chunkserver.mutation.leases import Lease, LeaseTable, Secondary
from chunkserver.mutation.push_buffer import DataKey, Payload, PushBuffer
from chunkserver.mutation.serial_order import Applied, SerialOrder, Turn
from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.chunk_store import ChunkStore
from runtime.bulk import checksums_of, digest_of
from runtime.errors import Conflict, Corrupted, InvalidRequest, MutationFailed, NotFound, StaleVersion, TabletopError
from runtime.settings import RECORD_SHARE
from runtime.wire.chunkserver_pb2 import (
    AppendRecordReply,
    AppendRecordRequest,
    ApplyReply,
    ApplyRequest,
    Mutation,
    WriteReply,
    WriteRequest,
)
from runtime.wire.chunkserver_pb2_grpc import ChunkserverStub
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.chunkserver_pb2_grpc import ChunkserverAsyncStub

_MOST_QUEUES = 16_384
_MOST_PAST = 1_048_576


@dataclass(frozen=True, slots=True)
class _Done:
    """A mutation that every replica has applied: the chunk's length afterwards, and its place in the order."""

    length: int
    serial: int


@dataclass(slots=True)
class _Queue:
    """The mutations of one chunk under one version that are on their way here."""

    order: SerialOrder
    is_over: bool = False  # The version has risen.
    running: bool = False
    waiting: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Let everyone who waits look again."""
        if self.waiting:
            self.changed.set()
            self.changed = asyncio.Event()


class Mutations:
    """Orders mutations where this server is primary, and applies them everywhere."""

    def __init__(
        self, world: World, settings: ChunkserverSettings, store: ChunkStore, buffer: PushBuffer, leases: LeaseTable
    ) -> None:
        self.counters = {
            "writes_ordered": 0,
            "records_appended": 0,
            "chunks_padded": 0,
            "mutations_applied": 0,
            "bytes_written": 0,
            "mutations_skipped": 0,
            "mutations_failed": 0,
        }
        self._world = world
        self._settings = settings
        self._store = store
        self._buffer = buffer
        self._leases = leases
        self._queues: OrderedDict[int, _Queue] = OrderedDict()
        self._past: OrderedDict[int, tuple[int, int]] = OrderedDict()  # version and last serial, of forgotten queues
        self._idle: dict[int, asyncio.Event] = {}
        self._stubs: dict[str, ChunkserverAsyncStub] = {}

    # The primary

    async def write(self, request: WriteRequest) -> WriteReply:
        """Step 4: order a mutation, have all replicas apply it.

        Raises NotPrimary, StaleVersion, NotFound, InvalidRequest, DataNotBuffered, Corrupted, NoSpace (all definite:
        nothing has changed), MutationFailed.
        """
        reply: WriteReply = await self._once(request, lambda: self._order(request))
        return reply

    async def append(self, request: AppendRecordRequest) -> AppendRecordReply:
        """Choose an offset for a record, have all replicas write it there; or pad the chunk (GFS 3.3).

        Raises as `write`. After MutationFailed the record may be there on some replicas; tried again, it gets another
        offset.
        """
        reply: AppendRecordReply = await self._once(request, lambda: self._order_append(request))
        return reply

    async def _once(self, request: WriteRequest | AppendRecordRequest, order: Callable[[], Awaitable[Any]]) -> Any:
        """Carry a client's try out, unless this is the second copy of its message."""
        lease = self._leases.find(request.handle)
        if lease is None or lease.version != request.version:
            lease = self._leases.current(request.handle, version=request.version, now=self._world.clock.now())
        task = self._known_try(request, lease)
        if task is None:
            task = self._world.spawn(_outcome(order), f"mutate {request.handle:#x}")
            if request.number:
                lease.tries_of(request.client).note(request.number, task)
        outcome = await asyncio.shield(task)
        if isinstance(outcome, TabletopError):
            raise outcome
        return outcome

    def _known_try(
        self, request: WriteRequest | AppendRecordRequest, lease: Lease
    ) -> "asyncio.Task[Any | TabletopError] | None":
        """What became of this very try when it came before. Raises Conflict if its client has given it up."""
        if not request.number:
            return None
        try:
            return lease.tries_of(request.client).find(request.number, oldest=request.oldest)
        except Conflict:
            self._world.events.emit(TryRefused(request.handle, request.number))
            raise

    async def _order(self, request: WriteRequest) -> WriteReply | TabletopError:
        handle, mutation = request.handle, request.mutation
        self._leases.current(handle, version=request.version, now=self._world.clock.now())
        self._store.require_sure(handle)
        _refuse_padding(mutation)
        self._check_bounds(handle, mutation)
        state = self._store.state(handle)
        if state is not None and mutation.offset + mutation.length > state.length:
            await self._store.check_space(mutation.offset + mutation.length - state.length)
        lease, length = self._lease_now(request)
        payload = self._pin(mutation)
        outcome = await self._replicate(lease, mutation, payload, lease.reach(length))
        if isinstance(outcome, TabletopError):
            return outcome
        return WriteReply(length=outcome.length, serial=outcome.serial)

    async def _order_append(self, request: AppendRecordRequest) -> AppendRecordReply | TabletopError:
        handle, record = request.handle, request.record
        capacity = self._store.capacity(handle)
        self._check_record(handle, record, capacity)
        while True:
            self._leases.current(handle, version=request.version, now=self._world.clock.now())
            self._store.require_sure(handle)
            await self._store.check_space(record.length)
            lease, _ = self._lease_now(request)
            placed = plan_append(lease, record.length, capacity)
            if placed.place is not Place.LATER:
                break
            await self.until_settled(lease)
        if placed.place is Place.FULL:
            return AppendRecordReply(chunk_is_full=True, length=capacity)
        mutation = _padding(placed.offset, capacity) if placed.place is Place.PADDING else record
        mutation.offset = placed.offset
        payload = self._pin(mutation)
        outcome = await self._replicate(lease, mutation, payload, lease.sound_end)
        if isinstance(outcome, TabletopError):
            return outcome
        if placed.place is Place.PADDING:
            self.counters["chunks_padded"] += 1
            self._world.events.emit(ChunkPadded(handle, placed.offset, capacity, record.length))
            return AppendRecordReply(chunk_is_full=True, length=outcome.length, serial=outcome.serial)
        self.counters["records_appended"] += 1
        return AppendRecordReply(offset=placed.offset, length=outcome.length, serial=outcome.serial)

    def _lease_now(self, request: WriteRequest | AppendRecordRequest) -> tuple[Lease, int]:
        """The lease under which a mutation is ordered in this step, and the chunk's length here. While space was looked
        for, the lease may have ended, and the client may have given this try up."""
        lease = self._leases.current(request.handle, version=request.version, now=self._world.clock.now())
        if request.number:
            lease.tries_of(request.client).find(request.number, oldest=request.oldest)
        state = self._store.state(request.handle)
        length = 0 if state is None else state.length
        self._leases.begin_mutation(lease, length)
        return lease, length

    async def until_settled(self, lease: Lease) -> None:
        """Return when no mutation under the lease is in flight."""
        while lease.undecided:
            await self._idle.setdefault(lease.handle, asyncio.Event()).wait()

    async def _replicate(self, lease: Lease, mutation: Mutation, payload: Payload, reach: int) -> _Done | TabletopError:
        """Steps 4 to 6: what came of it, or why the mutation failed. Its number is drawn before anything is awaited."""
        handle, used, is_nowhere = lease.handle, False, False
        end = mutation.offset + mutation.length
        serial = self._leases.next_serial(lease, self._world.clock.now(), end=end)
        try:
            request = ApplyRequest(
                handle=handle,
                version=lease.version,
                serial=serial,
                mutation=mutation,
                settled_through=lease.settled_through,
                reach=reach,
            )
            secondaries = lease.secondaries
            sent = asyncio.gather(*(self._forward(secondary, request) for secondary in secondaries))
            ours = await self._apply_in_order(request, payload, settled_through=0)  # While the others are at it.
            theirs = await sent
            names = [secondary.server for secondary in secondaries]
            failed = [(name, error) for name, error in zip(names, theirs, strict=True) if error is not None]
            if isinstance(ours, TabletopError):
                failed.insert(0, (self._world.node, ours))
            elif not failed:
                used = True
                return _Done(ours, serial)
            is_nowhere = len(failed) == 1 + len(secondaries) and all(error.definite for _, error in failed)
            return self._failure(lease, serial, mutation, failed, is_nowhere=is_nowhere)
        finally:
            self._unpin(mutation, used=used)
            self._leases.decided(lease, serial, is_everywhere=used, is_nowhere=is_nowhere)
            if not lease.undecided and handle in self._idle:
                self._idle.pop(handle).set()

    async def _forward(self, secondary: Secondary, request: ApplyRequest) -> TabletopError | None:
        """Step 5: have one secondary apply it; returns why it did not."""
        try:
            await self._stub(secondary).Apply(request, timeout=self._settings.forward_seconds)
        except TabletopError as error:
            return error
        return None

    def _failure(
        self,
        lease: Lease,
        serial: int,
        mutation: Mutation,
        failed: list[tuple[str, TabletopError]],
        *,
        is_nowhere: bool,
    ) -> TabletopError:
        self.counters["mutations_failed"] += 1
        reason = "; ".join(f"{name}: {error.message}" for name, error in failed)
        begin, end = mutation.offset, mutation.offset + mutation.length
        for name, error in failed:
            self._world.events.emit(MutationMissed(lease.handle, serial, begin, end, name, error.message))
        names = tuple(name for name, _ in failed)
        if is_nowhere:
            first = failed[0][1]
            message = f"no replica of chunk {lease.handle:#x} applied the mutation: {reason}"
            return type(first)(message, definite=True, servers=names)
        return MutationFailed(
            f"mutation {serial} of chunk {lease.handle:#x} was not applied by {', '.join(names)} ({reason}); "
            "write it again",
            servers=names,
        )

    # Every replica

    async def apply(self, request: ApplyRequest) -> ApplyReply:
        """Step 5 at a secondary: apply a mutation when its turn has come.

        Raises StaleVersion, NotFound, Unavailable (the replica is unsure), DataNotBuffered, Corrupted, NoSpace,
        Conflict (it came too late, or this replica has missed another)."""
        mutation = request.mutation
        self._store.require_sure(request.handle)
        self._check_bounds(request.handle, mutation)
        self._leases.note_use(request.handle, request.version)
        outcome = await asyncio.shield(
            self._world.spawn(self._apply_as_secondary(request), f"apply {request.serial} of {request.handle:#x}")
        )
        if isinstance(outcome, TabletopError):
            raise outcome
        return ApplyReply(length=outcome)

    def begin_version(self, handle: int) -> None:
        """The chunk's version has risen: what waits under the old one is refused, serials begin at 1 again."""
        self._past.pop(handle, None)
        queue = self._queues.pop(handle, None)
        if queue is not None:
            queue.is_over = True
            queue.wake()

    async def _apply_as_secondary(self, request: ApplyRequest) -> int | TabletopError:
        mutation = request.mutation
        payload: Payload | TabletopError
        try:
            payload = self._pin(mutation)
        except TabletopError as error:
            payload = error
        outcome = await self._apply_in_order(request, payload, settled_through=request.settled_through)
        if not isinstance(payload, TabletopError):
            self._unpin(mutation, used=not isinstance(outcome, TabletopError))
        return outcome

    async def _apply_in_order(
        self, request: ApplyRequest, payload: Payload | TabletopError, *, settled_through: int
    ) -> int | TabletopError:
        """Apply when it is this serial's turn; returns the chunk's length, or why it was not applied."""
        handle, serial, mutation = request.handle, request.serial, request.mutation
        try:
            queue = self._queue(handle, request.version)
            repeated = await self._take_turn(queue, handle, serial, mutation, settled_through)
            if repeated is not None:
                return repeated.chunk_length
        except TabletopError as error:
            return error
        applied: Applied | None = None
        try:
            if isinstance(payload, TabletopError):
                raise payload
            length = await self._store.write(
                handle,
                version=request.version,
                offset=mutation.offset,
                data=payload.data,
                checksums=payload.checksums,
                reach=request.reach,
                serial=serial,
            )
            applied = Applied(mutation.offset, mutation.length, mutation.crc32c, length)
            self.counters["mutations_applied"] += 1
            self.counters["bytes_written"] += mutation.length
        except TabletopError as error:
            return error
        finally:
            queue.order.went_past(serial, applied)
            queue.running = False
            queue.wake()
        return length

    async def _take_turn(
        self, queue: _Queue, handle: int, serial: int, mutation: Mutation, settled_through: int
    ) -> Applied | None:
        """Return when this serial may be applied, and let nobody else apply until it is over.

        Returns what happened the first time if it was applied before. Raises StaleVersion, Conflict.
        """
        order = queue.order
        may_wait_until = self._world.clock.now() + self._settings.turn_seconds
        while True:
            if queue.is_over:
                raise StaleVersion(f"chunk {handle:#x} went on from version {order.version}; ask the master again")
            if not queue.running and order.last < min(settled_through, serial - 1):
                self._go_past(queue, min(settled_through, serial - 1))
            turn = order.judge(serial)
            if turn is Turn.LATE:
                repeated = order.repeated(
                    serial, offset=mutation.offset, length=mutation.length, crc32c=mutation.crc32c
                )
                if repeated is None:
                    raise Conflict(
                        f"mutation {serial} of chunk {handle:#x} came after number {order.last}; write it again"
                    )
                return repeated
            if not queue.running and turn is Turn.WAIT and self._world.clock.now() >= may_wait_until:
                self._go_past(queue, order.last + 1)
                continue
            if not queue.running and turn is Turn.NOW:
                queue.running = True
                return None
            await self._wait_for_change(queue, may_wait_until)

    def _go_past(self, queue: _Queue, serial: int) -> None:
        """Give up waiting for everything up to this serial that has not come."""
        self.counters["mutations_skipped"] += serial - queue.order.last
        queue.order.went_past(serial)
        queue.wake()

    async def _wait_for_change(self, queue: _Queue, until: float) -> None:
        seconds = until - self._world.clock.now()
        queue.waiting += 1
        try:
            async with asyncio.timeout(seconds if seconds > 0 else None):
                await queue.changed.wait()
        except TimeoutError:
            pass
        finally:
            queue.waiting -= 1

    def _queue(self, handle: int, version: int) -> _Queue:
        state = self._store.state(handle)
        if state is None:
            raise NotFound(f"there is no replica of chunk {handle:#x} here; ask the master where its replicas are")
        if state.version != version:
            raise StaleVersion(f"chunk {handle:#x} is at version {state.version} here, the mutation is for {version}")
        queue = self._queues.get(handle)
        if queue is None or queue.order.version != version:
            past, last = self._past.pop(handle, (version, 0))
            queue = self._queues[handle] = _Queue(SerialOrder(version, last=last if past == version else 0))
            if len(self._queues) > _MOST_QUEUES:
                self._forget_an_idle_queue()
        self._queues.move_to_end(handle)
        return queue

    def _forget_an_idle_queue(self) -> None:
        """What was applied is forgotten, and not how far the chunk has come: a doubled message that is late must not be
        taken for the first one, and be applied over what came after it."""
        for handle, queue in self._queues.items():
            if not queue.running and not queue.waiting and self._leases.find(handle) is None:
                self._past[handle] = (queue.order.version, queue.order.last)
                if len(self._past) > _MOST_PAST:
                    self._past.popitem(last=False)
                del self._queues[handle]
                return

    def check_invariants(self) -> None:
        """Raise AssertionError if an order contradicts itself."""
        for handle, queue in self._queues.items():
            queue.order.check_invariants()
            assert not queue.is_over, f"the mutations of chunk {handle:#x} under an old version are still in the table"

    # Data

    def _check_bounds(self, handle: int, mutation: Mutation) -> None:
        capacity = self._store.capacity(handle)
        if not mutation.length or mutation.offset + mutation.length > capacity:
            raise InvalidRequest(
                f"a mutation of {mutation.length} bytes at {mutation.offset} of chunk {handle:#x}: expected 1 byte or "
                f"more, within the chunk's {capacity} bytes"
            )
        if mutation.WhichOneof("data") == "inline" and len(mutation.inline) != mutation.length:
            raise InvalidRequest(
                f"a mutation of {mutation.length} bytes came with {len(mutation.inline)} bytes of data"
            )

    def _check_record(self, handle: int, record: Mutation, capacity: int) -> None:
        most = capacity // RECORD_SHARE
        _refuse_padding(record)
        if not 0 < record.length <= most:
            raise InvalidRequest(
                f"a record of {record.length} bytes for chunk {handle:#x}: expected 1 to {most} bytes, a quarter of a "
                "chunk; write a longer one at an offset, or cut it"
            )
        record.offset = 0
        self._check_bounds(handle, record)

    def _pin(self, mutation: Mutation) -> Payload:
        """The mutation's bytes, verified. Raises DataNotBuffered, Corrupted."""
        if mutation.WhichOneof("data") == "padding":
            zeros = bytes(mutation.length)
            payload = Payload(memoryview(zeros), checksums_of(zeros))
        elif mutation.WhichOneof("data") == "inline":
            payload = Payload(memoryview(mutation.inline), checksums_of(mutation.inline))
        else:
            payload = self._buffer.pin(_key(mutation), mutation.length)
        actual = digest_of(payload.checksums)
        if actual != mutation.crc32c:
            self._unpin(mutation, used=False)
            raise Corrupted(
                f"the checksums of a mutation's data have CRC32C {actual:#010x}, the client says "
                f"{mutation.crc32c:#010x}; push it again"
            )
        return payload

    def _unpin(self, mutation: Mutation, *, used: bool) -> None:
        if mutation.WhichOneof("data") == "pushed":
            self._buffer.unpin(_key(mutation), used=used, now=self._world.clock.now())

    def _stub(self, secondary: Secondary) -> "ChunkserverAsyncStub":
        address = secondary.control_address
        if address not in self._stubs:
            self._stubs[address] = ChunkserverStub(self._world.network.channel(address))
        return self._stubs[address]


async def _outcome(order: Callable[[], Awaitable[Any]]) -> Any:
    """Check everything, order the mutation, have all replicas apply it. A refusal is an outcome like any other: a
    second copy of the message gets it as well."""
    try:
        return await order()
    except TabletopError as error:
        return error


def _refuse_padding(mutation: Mutation) -> None:
    if mutation.WhichOneof("data") == "padding":
        raise InvalidRequest("a client asked for padding: only a primary orders it, when a record does not fit")


def _padding(offset: int, capacity: int) -> Mutation:
    """Zeros up to the chunk's end: each replica makes them itself."""
    length = capacity - offset
    return Mutation(offset=offset, length=length, padding=True, crc32c=digest_of(checksums_of(bytes(length))))


def _key(mutation: Mutation) -> DataKey:
    return (mutation.pushed.client, mutation.pushed.number)
