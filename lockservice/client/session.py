"""A session with our own lock service, seen from its client (Chubby 2.8).

    service = OwnLockService(world, "127.0.0.1:7100")
    session = await service.open_session()
    sequencer = await session.acquire("/master", wait_seconds=3600)
    session.expired         # an event: the lock may not be believed in any more

Two tasks run for each session. One always has a KeepAlive at the service, which answers when half of the lease is over
or when there is an event to be told. The other watches the clock (`standing.py`).

A caller of `acquire` that is cancelled, or gets no answer, may have been given the lock all the same. Such a lock is
*in doubt*, and is given back in the background: nobody keeps a lock without knowing it. The calls about one lock follow
one another, so that what gives it back never meets another task that has just acquired it.

What we simplify. A watch stays at the service until the session ends or the service is restarted: a message that ends
it, doubled and late, would end the next one, too.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from lockservice import paths
from lockservice.client.link import Numbers, Patience, sequencer_on_wire, until_answered
from lockservice.client.standing import Standing
from lockservice.client.watching import Watch
from lockservice.interface import Change, ChangeKind, FileStat, Sequencer, SessionState
from lockservice.settings import LockClientSettings
from runtime.errors import Conflict, Superseded, TabletopError, TimedOut
from runtime.wire import lockservice_pb2 as wire
from runtime.wire.lockservice_pb2_grpc import LockServiceStub
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.lockservice_pb2_grpc import LockServiceAsyncStub

Reply = TypeVar("Reply")
# Parts of a lease: how long a KeepAlive that the service holds may take, one that it answers at once, and the longest
# pause after one that failed. The service holds one for half a lease; what is left must do for a second try.
_HELD_SHARE, _QUICK_SHARE, _PAUSE_SHARE = 0.7, 0.2, 0.05
_POLL_SECONDS = 1.0  # a lock that is waited for is asked for after this time even if no event came


class OwnLockService:
    """Where sessions with our own lock service come from."""

    def __init__(self, world: World, address: str, settings: LockClientSettings | None = None) -> None:
        self._world = world
        self._address = address
        self._settings = settings or LockClientSettings()

    async def open_session(self) -> "OwnSession":
        """Begin a session. Raises TimedOut, NoSpace, DiskFailure."""
        session = OwnSession(self._world, self._address, self._settings)
        await session.begin()
        return session


class OwnSession:
    """One session."""

    def __init__(self, world: World, address: str, settings: LockClientSettings) -> None:
        self._world = world
        self._settings = settings
        self._stub: LockServiceAsyncStub = LockServiceStub(world.network.channel(address))
        self._standing = Standing(world)
        self.expired = self._standing.expired
        self._epoch = 0
        self._seen_event = 0
        self._numbers = Numbers()
        self._held: dict[str, Sequencer] = {}
        self._in_doubt: dict[str, None] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    @property
    def number(self) -> int:
        """The session's."""
        return self._standing.number

    @property
    def state(self) -> SessionState:
        """How it stands at this moment, by this client's clock."""
        return self._standing.state

    def on_change(self, callback: Callable[[SessionState], None]) -> None:
        """Have `callback` called with each new state."""
        self._standing.callbacks.append(callback)

    # Begin, stay, end

    async def begin(self) -> None:
        """Open it, and keep it alive from now on."""
        client = self._world.random.getrandbits(63) + 1
        asked = 0.0

        def request() -> wire.OpenSessionRequest:
            nonlocal asked
            asked = self._world.clock.now()
            return wire.OpenSessionRequest(client=client)

        patience = Patience(self._world, self._settings)
        lease = await until_answered(
            self._world, self._stub.OpenSession, request, patience, is_change=True, after_refusal=_nothing
        )
        self._standing.number, self._epoch = lease.session, lease.epoch
        self._take(lease, asked)
        self._standing.tasks = [
            self._world.spawn(self._stay(), f"keep session {self.number} alive"),
            self._world.spawn(self._standing.watch_clock(), f"watch the clock of session {self.number}"),
        ]

    async def close(self) -> None:
        """End the session. It is over here first, so that nobody believes in its locks while the service frees them."""
        was_over = self._standing.is_over()
        self._end()
        if not was_over:
            patience = Patience(self._world, self._settings)
            request = wire.CloseSessionRequest(session=self.number)
            with contextlib.suppress(TabletopError):  # Then the service finds out by itself.
                await until_answered(
                    self._world,
                    self._stub.CloseSession,
                    lambda: request,
                    patience,
                    is_change=True,
                    after_refusal=_nothing,
                )

    async def _stay(self) -> None:
        """Always have a KeepAlive at the service."""
        hold = True
        while not self._standing.is_over():
            try:
                await self._beat(hold=hold)
                hold = True
            except TabletopError:
                hold = False
                longest = _PAUSE_SHARE * self._standing.lease_seconds
                await self._world.clock.sleep(self._world.random.uniform(longest / 2, longest))

    async def _beat(self, *, hold: bool) -> None:
        """One KeepAlive. Raises Unavailable, TimedOut."""
        asked = self._world.clock.now()
        request = wire.KeepAliveRequest(session=self.number, hold=hold, seen_event=self._seen_event, epoch=self._epoch)
        seconds = self._standing.lease_seconds * (_HELD_SHARE if hold else _QUICK_SHARE)
        try:
            lease = await self._stub.KeepAlive(request, timeout=seconds)
        except Superseded:
            self._end()
            return
        if not self._take(lease, asked):
            return
        for event in lease.events:
            self._standing.tell_watches(event.path, ChangeKind(event.kind))
        if lease.epoch == self._epoch:
            self._seen_event = max(self._seen_event, lease.last_event)
        elif lease.epoch > self._epoch:
            await self._meet(lease.epoch)

    def _take(self, lease: wire.SessionLease, asked: float) -> bool:
        """An answer has come that extends the session. Returns whether it counts."""
        return self._standing.take(
            asked=asked,
            held=lease.held_seconds,
            lease=lease.lease_seconds,
            grace=lease.grace_seconds,
            share=lease.client_share,
        )

    async def _meet(self, epoch: int) -> None:
        """The service has been restarted: it knows of no watches, and events may be lost (Chubby 2.9). Raises as the
        calls do; then the epoch is not taken, and the next KeepAlive begins again."""
        for path in list(self._standing.watches):
            request = wire.LockQuestion(session=self.number, path=path)
            await self._stub.Watch(request, timeout=self._settings.call_seconds)
        self._epoch, self._seen_event = epoch, 0
        for path in self._standing.watches:
            self._standing.tell_watches(path, ChangeKind.READ_AGAIN)

    def _end(self) -> None:
        self._held.clear()
        self._standing.end()

    # Files

    async def create(self, path: str, contents: bytes = b"", *, ephemeral: bool = False) -> FileStat:
        """Make a file. Raises Conflict (it exists)."""
        request = wire.CreateLockFileRequest(path=path, contents=contents, ephemeral=ephemeral)
        return _stat(await self._change(self._stub.CreateLockFile, request))

    async def read(self, path: str) -> tuple[bytes, FileStat]:
        """The contents of a file. Raises NotFound."""
        found = await self._ask(self._stub.ReadLockFile, wire.LockQuestion(session=self.number, path=path))
        return found.contents, _stat(found.stat)

    async def write(
        self, path: str, contents: bytes, *, generation: int | None = None, sequencer: Sequencer | None = None
    ) -> FileStat:
        """Replace the contents of a file. Raises NotFound, Conflict, Superseded."""
        request = wire.WriteLockFileRequest(path=path, contents=contents, generation=generation)
        if sequencer is not None:
            request.sequencer.CopyFrom(sequencer_on_wire(sequencer.path, sequencer.generation, sequencer.session))
        return _stat(await self._change(self._stub.WriteLockFile, request))

    async def delete(self, path: str, *, generation: int | None = None) -> None:
        """Remove a file. Raises NotFound, Conflict."""
        await self._change(self._stub.DeleteLockFile, wire.DeleteLockFileRequest(path=path, generation=generation))

    async def list(self, path: str) -> list[str]:
        """The names directly below a path, sorted."""
        found = await self._ask(self._stub.ListLockFiles, wire.LockQuestion(session=self.number, path=path))
        return list(found.names)

    # Locks

    async def acquire(
        self, path: str, *, wait_seconds: float = 0.0, lock_delay_seconds: float | None = None
    ) -> Sequencer:
        """Take the exclusive lock of a path. Raises Conflict."""
        delay = None if lock_delay_seconds is None else round(lock_delay_seconds * 1000)
        until = self._world.clock.now() + wait_seconds
        watch: Watch | None = None
        try:
            while True:
                try:
                    return await self._acquire(wire.AcquireLockRequest(path=path, delay_milliseconds=delay))
                except Conflict:
                    left = until - self._world.clock.now()
                    if left <= 0:
                        raise
                if watch is None:
                    watch = await self._begin_watch(path)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _POLL_SECONDS)):
                        await watch.next()
        finally:
            if watch is not None:
                self._standing.end_watch(watch)

    async def _acquire(self, request: wire.AcquireLockRequest) -> Sequencer:
        path = request.path
        async with self._turn(path):
            with self._doubting(path):
                generation = (await self._change(self._stub.AcquireLock, request)).generation
                if self._standing.is_over():
                    raise self._over(definite=False)
            sequencer = self._held[path] = Sequencer(path, generation, self.number)
            return sequencer

    async def release(self, path: str) -> None:
        """Give the lock back. Raises Conflict if this session does not hold it."""
        async with self._turn(path):
            self._held.pop(path, None)
            with self._doubting(path):
                await self._change(self._stub.ReleaseLock, wire.ReleaseLockRequest(path=path))

    def _turn(self, path: str) -> asyncio.Lock:
        return self._turns.setdefault(path, asyncio.Lock())

    @contextlib.contextmanager
    def _doubting(self, path: str) -> Iterator[None]:
        """Run the block, a call about the lock. Without an answer, who has the lock is in doubt, unless this session
        did hold it. An answer that says who has it ends every doubt: requests that were given up before are refused
        from then on."""
        try:
            yield
        except BaseException as error:
            if _says_who(error):
                self._in_doubt.pop(path, None)
            is_definite = isinstance(error, TabletopError) and error.definite
            if not is_definite and path not in self._held and path not in self._in_doubt:
                self._in_doubt[path] = None
                if not self._standing.is_over():
                    self._world.spawn(self._give_back(path), f"give back the lock of {path}")
            raise
        self._in_doubt.pop(path, None)

    async def _give_back(self, path: str) -> None:
        """Release a lock that may have been given to nobody who knows, until there is an answer."""
        while path in self._in_doubt and not self._standing.is_over():
            await self._world.clock.sleep(self._settings.first_pause_seconds)
            async with self._turn(path):
                if path in self._in_doubt and not self._standing.is_over():
                    try:
                        await self._change(self._stub.ReleaseLock, wire.ReleaseLockRequest(path=path))
                    except TabletopError as error:
                        if not _says_who(error):
                            continue
                    self._in_doubt.pop(path, None)

    async def check(self, sequencer: Sequencer) -> bool:
        """Whether the lock is still held as the sequencer says."""
        on_wire = sequencer_on_wire(sequencer.path, sequencer.generation, sequencer.session)
        request = wire.CheckLockRequest(session=self.number, sequencer=on_wire)
        return (await self._ask(self._stub.CheckLock, request)).is_held

    # Watches

    async def watch(self, path: str) -> AsyncIterator[Change]:
        """Changes of a path, first READ_AGAIN."""
        watch = await self._begin_watch(path)
        try:
            while (change := await watch.next()) is not None:
                yield change
        finally:
            self._standing.end_watch(watch)

    async def _begin_watch(self, path: str) -> Watch:
        paths.check_path(path, may_be_root=True)
        watch = self._standing.begin_watch(path)
        try:
            await self._ask(self._stub.Watch, wire.LockQuestion(session=self.number, path=path))
        except BaseException:
            self._standing.end_watch(watch)
            raise
        watch.tell(ChangeKind.READ_AGAIN)
        if self._standing.is_over():
            watch.end()
        return watch

    # Calls

    async def _change(self, call: Callable[..., Awaitable[Reply]], request: Any) -> Reply:
        number = self._numbers.begin()

        def named() -> Any:
            name = wire.LockRequest(
                session=self.number,
                number=number,
                oldest=self._numbers.oldest,
                epoch=self._epoch,
                given_up=self._numbers.given_up(),
            )
            request.request.CopyFrom(name)
            return request

        is_answered = False
        try:
            reply = await self._answered(call, named, is_change=True)
            is_answered = True
            return reply
        except TabletopError as error:
            is_answered = error.is_answer
            raise
        finally:
            self._numbers.end(number, is_answered=is_answered)

    async def _ask(self, call: Callable[..., Awaitable[Reply]], request: Any) -> Reply:
        return await self._answered(call, lambda: request, is_change=False)

    async def _answered(
        self, call: Callable[..., Awaitable[Reply]], request: Callable[[], Any], *, is_change: bool
    ) -> Reply:
        if self._standing.is_over():
            raise self._over(definite=True)
        patience = Patience(self._world, self._settings, lambda: self._standing.lease.ends_at)
        try:
            return await until_answered(
                self._world, call, request, patience, is_change=is_change, after_refusal=self._learn_epoch
            )
        except TimedOut as error:
            if self._standing.is_over():
                raise self._over(definite=error.definite) from error
            raise

    async def _learn_epoch(self) -> None:
        """The service cannot now: it may have been restarted, and wants to be asked under its new epoch."""
        with contextlib.suppress(TabletopError):
            await self._beat(hold=False)

    def _over(self, *, definite: bool) -> Superseded:
        what = f"session {self.number} with the lock service is over, and so are its locks; open another"
        return Superseded(what, definite=definite)


async def _nothing() -> None:
    """For those who have nothing to learn."""


def _says_who(error: BaseException) -> bool:
    """Whether this is the service's word that the session does not hold the lock."""
    return isinstance(error, Conflict) and error.is_answer


def _stat(stat: wire.LockFileStat) -> FileStat:
    return FileStat(stat.generation, stat.lock_generation, stat.is_ephemeral, stat.length)
