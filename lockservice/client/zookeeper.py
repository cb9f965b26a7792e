"""The same interface over a real ZooKeeper, for those who outgrow one process (the extra `zookeeper` brings kazoo).

    service = ZooKeeperService(world, "127.0.0.1:2181")
    session = await service.open_session()

ZooKeeper has no locks, only nodes, versions, and transactions over several nodes. What the interface promises is made
of these (`NAME` stands for a path with its slashes escaped, so that there are no directories to make and remove):

    /tabletop/files/NAME          a file, ephemeral or not; its generation is the transaction that last wrote it (mzxid)
    /tabletop/locks/NAME          "SESSION DELAY" while somebody holds the lock or was lost with it, empty when it is
                                  released; its version is the lock's generation
    /tabletop/locks/NAME/holder   ephemeral: there as long as the holder's session is

To acquire is one transaction: write the lock's node if nobody else has, and create the holder. A fenced write is one,
too: the lock's version is still that of the sequencer, the holder is there, write the file. A lock whose node says that
somebody holds it, and that has no holder, is that of a lost session: it is withheld for its lock-delay.

kazoo runs threads; everything it calls is handed to the event loop. ZooKeeper tells a client that is cut off nothing,
so the client's own clock decides here as it does for our own service (`lease.py`): something is asked several times in
a session timeout, and counted from the moment of asking.

What differs from our own service: a lock-delay is counted by each client from when it first sees the lock without a
holder, so that it may be longer; its end is no event, so that who waits asks again now and then; a change whose
connection broke is in doubt, and is not asked for again, since ZooKeeper does not know that it is the same; and a file
that others delete and make again between the two steps of a compare-and-set passes for the same file.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote

from kazoo import exceptions as refusals
from kazoo.client import KazooClient
from kazoo.protocol.states import KazooState

from lockservice import paths
from lockservice.client.standing import Standing
from lockservice.client.watching import Watch
from lockservice.interface import Change, ChangeKind, FileStat, Sequencer, SessionState
from lockservice.settings import CLOCK_DRIFT, LOCK_DELAY_SECONDS, MOST_CONTENTS_BYTES, LockServiceSettings
from runtime.errors import Conflict, InvalidRequest, NotFound, Superseded, TabletopError, TimedOut, Unavailable
from runtime.world import World

SESSION_SECONDS = 12.0
_CALL_SECONDS = 5.0
_GRACE_SHARE = 1 / 3  # of a session timeout: what is left of it counts as the lease
_BEATS_A_SESSION = 8
_POLL_SECONDS = 0.25
ROOT = "/tabletop"


class ZooKeeperService:
    """Where sessions with a ZooKeeper come from. `hosts` is as kazoo has it: "host:port,host:port". All nodes lie below
    `root`, so that several lock services can share a ZooKeeper."""

    def __init__(
        self,
        world: World,
        hosts: str,
        *,
        session_seconds: float = SESSION_SECONDS,
        lock_delay_seconds: float = LOCK_DELAY_SECONDS,
        clock_drift: float = CLOCK_DRIFT,
        root: str = ROOT,
    ) -> None:
        self._root = root
        self._world = world
        self._hosts = hosts
        self._session_seconds = session_seconds
        self._delay = lock_delay_seconds
        self._share = LockServiceSettings(clock_drift=clock_drift).share_for_clients

    async def open_session(self) -> "ZooKeeperSession":
        """Begin a session. Raises Unavailable."""
        client = KazooClient(hosts=self._hosts, timeout=self._session_seconds)
        try:
            await asyncio.to_thread(client.start, _CALL_SECONDS)
        except Exception as error:
            await asyncio.to_thread(client.stop)
            raise Unavailable(f"no ZooKeeper answers at {self._hosts}: {error}", definite=True) from error
        session = ZooKeeperSession(self._world, client, self._root, delay=self._delay, share=self._share)
        await session.begin()
        return session


class ZooKeeperSession:
    """One session; see `lockservice.interface.Session` for what its methods do."""

    def __init__(self, world: World, client: Any, root: str, *, delay: float, share: float) -> None:
        self.client = client
        self._files, self._locks = f"{root}/files", f"{root}/locks"
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._standing = Standing(world)
        self.expired = self._standing.expired
        self._delay = delay
        self._share = share
        self._turns: dict[str, asyncio.Lock] = {}
        self._held: dict[str, Sequencer] = {}
        self._abandoned: dict[tuple[str, int], float] = {}  # since when a lock is seen without its holder, by version
        self._is_stopped = False

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
        """Keep it alive from now on. Raises Unavailable, TimedOut."""
        self._standing.number = self.client.client_id[0] & (1 << 64) - 1
        self.client.add_listener(self._on_connection)
        await self._beat()
        for path in (self._files, self._locks):
            await self._call(self.client.ensure_path_async, path)
        self._standing.tasks = [
            self._world.spawn(self._stay(), f"keep session {self.number} alive"),
            self._world.spawn(self._standing.watch_clock(), f"watch the clock of session {self.number}"),
            self._world.spawn(self._stop_when_over(), f"stop the client of session {self.number}"),
        ]

    async def close(self) -> None:
        """End the session. Locks are given back first: a holder that goes without that is taken for lost."""
        for path in list(self._held):
            with contextlib.suppress(TabletopError):
                await self.release(path)
        self._standing.end()
        await self._stop()

    async def _stay(self) -> None:
        pause = self._session_seconds / _BEATS_A_SESSION
        while not self._standing.is_over():
            with contextlib.suppress(TabletopError):
                await self._beat()
            await self._world.clock.sleep(pause)

    @property
    def _session_seconds(self) -> float:
        """As the server grants it."""
        return float(self.client._session_timeout) / 1000

    async def _beat(self) -> None:
        """Ask for something: the server counts the session from when it hears it, which is not before now."""
        asked, whole = self._world.clock.now(), self._session_seconds
        await self._call(self.client.exists_async, "/")
        grace = whole * _GRACE_SHARE
        self._standing.take(asked=asked, held=0.0, lease=whole - grace, grace=grace, share=self._share)

    def _on_connection(self, state: str) -> None:
        """Called by kazoo, in a thread of its own. A session that kazoo calls lost is over; it would begin another."""
        if state == KazooState.LOST:
            self._loop.call_soon_threadsafe(self._standing.end)

    async def _stop_when_over(self) -> None:
        try:
            await self.expired.wait()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            await asyncio.shield(asyncio.to_thread(self._stop_client))

    def _stop_client(self) -> None:
        self.client.stop()
        self.client.close()

    # Files

    async def create(self, path: str, contents: bytes = b"", *, ephemeral: bool = False) -> FileStat:
        """Make a file."""
        node = _checked(self._files, path, contents)
        try:
            made = await self._call(
                self.client.create_async, node, contents, ephemeral=ephemeral, include_data=True, is_change=True
            )
        except refusals.NodeExistsError:
            raise Conflict(f"the file {path} is there already") from None
        return self._stat(made[1], await self._lock_generation(path))

    async def read(self, path: str) -> tuple[bytes, FileStat]:
        """The contents of a file."""
        node = _checked(self._files, path)
        try:
            contents, stat = await self._call(self.client.get_async, node)
        except refusals.NoNodeError:
            raise _no_file(path) from None
        return contents, self._stat(stat, await self._lock_generation(path))

    async def write(
        self, path: str, contents: bytes, *, generation: int | None = None, sequencer: Sequencer | None = None
    ) -> FileStat:
        """Replace the contents of a file."""
        node = _checked(self._files, path, contents)
        version = await self._version(path, node, generation)
        transaction = self.client.transaction()
        if sequencer is not None:
            lock = _checked(self._locks, sequencer.path)
            transaction.check(lock, sequencer.generation)
            transaction.check(f"{lock}/holder", 0)
        transaction.set_data(node, contents, version)
        results = await self._commit(transaction)
        for result in results[:-1]:
            if isinstance(result, (refusals.BadVersionError, refusals.NoNodeError)):
                raise Superseded(
                    f"the lock of {sequencer and sequencer.path} is not held any more; {path} was not written"
                )
        if isinstance(results[-1], refusals.NoNodeError):
            raise _no_file(path)
        if isinstance(results[-1], refusals.BadVersionError):
            raise Conflict(f"{path} is not at generation {generation} any more; read it again")
        return self._stat(results[-1], await self._lock_generation(path))

    async def delete(self, path: str, *, generation: int | None = None) -> None:
        """Remove a file."""
        node = _checked(self._files, path)
        version = await self._version(path, node, generation)
        try:
            await self._call(self.client.delete_async, node, version, is_change=True)
        except refusals.NoNodeError:
            raise _no_file(path) from None
        except refusals.BadVersionError:
            raise Conflict(f"{path} is not at generation {generation} any more; read it again") from None

    async def list(self, path: str) -> list[str]:
        """The names directly below a path, sorted."""
        paths.check_path(path, may_be_root=True)
        return sorted(await self._names(path))

    async def _names(self, path: str, watch: Callable[[Any], None] | None = None) -> dict[str, None]:
        nodes = await self._call(self.client.get_children_async, self._files, watch=watch)
        names = (paths.name_below(unquote(node), path) for node in nodes)
        return dict.fromkeys(name for name in names if name)

    async def _version(self, path: str, node: str, generation: int | None) -> int:
        """The version of the node at this generation of the file; -1 for any."""
        if generation is None:
            return -1
        stat = await self._call(self.client.exists_async, node)
        if stat is None:
            raise _no_file(path)
        if stat.mzxid != generation:
            raise Conflict(f"{path} is at generation {stat.mzxid}, expected {generation}; read it again")
        return int(stat.version)

    # Locks

    async def acquire(
        self, path: str, *, wait_seconds: float = 0.0, lock_delay_seconds: float | None = None
    ) -> Sequencer:
        """Take the exclusive lock of a path."""
        delay = self._delay if lock_delay_seconds is None else lock_delay_seconds
        if delay > self._delay:
            raise InvalidRequest(f"a lock-delay of {delay:g} s: at most {self._delay:g} s")
        lock = _checked(self._locks, path)
        until = self._world.clock.now() + wait_seconds
        while True:
            taking = asyncio.ensure_future(self._take_lock(path, lock, delay))
            try:
                return await asyncio.shield(taking)
            except Conflict:
                left = until - self._world.clock.now()
                if left <= 0:
                    raise
            except asyncio.CancelledError:
                self._world.spawn(self._give_back(path, taking), f"give back the lock of {path}")
                raise
            await self._until_freed(lock, min(left, _POLL_SECONDS))

    async def _take_lock(self, path: str, lock: str, delay: float) -> Sequencer:
        async with self._turns.setdefault(path, asyncio.Lock()):
            while True:
                text, stat = await self._lock_node(lock)
                if await self._call(self.client.exists_async, f"{lock}/holder") is not None:
                    if text.split()[:1] == [str(self.number)]:
                        self._held[path] = Sequencer(path, stat.version, self.number)
                        return self._held[path]
                    raise Conflict(f"the lock of {path} is held by session {text.partition(' ')[0]}")
                self._refuse_if_withheld(path, text, stat.version)
                transaction = self.client.transaction()
                transaction.set_data(lock, f"{self.number} {round(delay * 1000)}".encode(), stat.version)
                transaction.create(f"{lock}/holder", ephemeral=True)
                results = await self._commit(transaction)
                if not any(isinstance(result, Exception) for result in results):
                    self._held[path] = Sequencer(path, stat.version + 1, self.number)
                    return self._held[path]

    async def _lock_node(self, lock: str) -> tuple[str, Any]:
        """What the lock's node says, which is made if there is none."""
        while True:
            try:
                contents, stat = await self._call(self.client.get_async, lock)
                return contents.decode(), stat
            except refusals.NoNodeError:
                with contextlib.suppress(refusals.NodeExistsError):
                    await self._call(self.client.create_async, lock, b"", is_change=True)

    def _refuse_if_withheld(self, path: str, text: str, version: int) -> None:
        """Raise Conflict while a lost session's lock-delay lasts, counted from when this client first saw it."""
        _, _, milliseconds = text.partition(" ")
        if not milliseconds:
            return
        since = self._abandoned.setdefault((path, version), self._world.clock.now())
        if self._world.clock.now() - since < int(milliseconds) / 1000:
            raise Conflict(f"the lock of {path} is withheld: its last holder's session was lost (lock-delay)")

    async def _until_freed(self, lock: str, seconds: float) -> None:
        """Wait until the holder goes, but no longer than so many seconds."""
        freed = asyncio.Event()
        if await self._call(self.client.exists_async, f"{lock}/holder", watch=self._set_by_thread(freed)) is None:
            await self._world.clock.sleep(min(seconds, _POLL_SECONDS))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await freed.wait()

    async def _give_back(self, path: str, taking: "asyncio.Task[Sequencer]") -> None:
        """Whoever asked for the lock was cancelled: nobody knows that it is held."""
        await asyncio.wait([taking])
        with contextlib.suppress(TabletopError):
            if not taking.cancelled() and taking.exception() is None:
                await self.release(path)

    async def release(self, path: str) -> None:
        """Give the lock back."""
        lock = _checked(self._locks, path)
        async with self._turns.setdefault(path, asyncio.Lock()):
            held = self._held.pop(path, None)
            if held is None:
                self._refuse_if_over()
                raise Conflict(f"session {self.number} does not hold the lock of {path}")
            transaction = self.client.transaction()
            transaction.set_data(lock, b"", held.generation)
            transaction.delete(f"{lock}/holder")
            if any(isinstance(result, Exception) for result in await self._commit(transaction)):
                raise Conflict(f"session {self.number} does not hold the lock of {path}")

    async def check(self, sequencer: Sequencer) -> bool:
        """Whether the lock is still held as the sequencer says."""
        return await self._lock_generation(sequencer.path) == sequencer.generation

    async def _lock_generation(self, path: str) -> int:
        lock = _checked(self._locks, path)
        if await self._call(self.client.exists_async, f"{lock}/holder") is None:
            return 0
        stat = await self._call(self.client.exists_async, lock)
        return 0 if stat is None else int(stat.version)

    # Watches

    async def watch(self, path: str) -> AsyncIterator[Change]:
        """Changes of a path, first READ_AGAIN."""
        paths.check_path(path, may_be_root=True)
        self._refuse_if_over()
        watch = self._standing.begin_watch(path)
        looking = self._world.spawn(self._look(watch), f"look at {path}")
        try:
            while (change := await watch.next()) is not None:
                yield change
        finally:
            looking.cancel()
            self._standing.end_watch(watch)

    async def _look(self, watch: Watch) -> None:
        """ZooKeeper's watches tell of one change: look again, watching, and compare."""
        before: tuple[Any, ...] | None = None
        while not self._standing.is_over():
            news = asyncio.Event()
            try:
                now = await self._looked_at(watch.path, self._set_by_thread(news))
            except TabletopError:
                await self._world.clock.sleep(_POLL_SECONDS)
                continue
            for kind in _differences(before, now):
                watch.tell(kind)
            before = now
            await news.wait()

    async def _looked_at(self, path: str, watch: Callable[[Any], None]) -> tuple[Any, ...]:
        file = holder = None
        if path != paths.ROOT:
            file = await self._call(self.client.exists_async, _checked(self._files, path), watch=watch)
            holder = await self._call(self.client.exists_async, f"{_checked(self._locks, path)}/holder", watch=watch)
        created = None if file is None else file.czxid
        written = None if file is None else file.mzxid
        return created, written, None if holder is None else holder.czxid, await self._names(path, watch)

    # Calls

    def _set_by_thread(self, event: asyncio.Event) -> Callable[[Any], None]:
        def told(_: Any) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits.
                self._loop.call_soon_threadsafe(event.set)

        return told

    async def _call(self, method: Callable[..., Any], *arguments: Any, is_change: bool = False, **named: Any) -> Any:
        """What one of kazoo's calls gives, or raises of what ZooKeeper refuses. Raises Superseded, Unavailable,
        TimedOut: definite unless it is a change that may have been made."""
        self._refuse_if_over()
        answered: asyncio.Future[Any] = self._loop.create_future()

        def settle(result: Any) -> None:
            if not answered.done():
                if result.exception is None:
                    answered.set_result(result.value)
                else:
                    answered.set_exception(result.exception)

        method(*arguments, **named).rawlink(lambda result: self._loop.call_soon_threadsafe(settle, result))
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await answered
        except TimeoutError:
            raise TimedOut("ZooKeeper gave no answer in time", definite=not is_change) from None
        except (refusals.SessionExpiredError, refusals.ConnectionClosedError):
            raise Superseded(f"session {self.number} with ZooKeeper is over; open another") from None
        except (refusals.ConnectionLoss, refusals.OperationTimeoutError) as error:
            what = f"the connection to ZooKeeper broke ({type(error).__name__})"
            raise Unavailable(what, definite=not is_change) from None

    async def _commit(self, transaction: Any) -> Sequence[Any]:
        """What became of each step of a transaction: a result, or an exception."""
        results: Sequence[Any] = await self._call(transaction.commit_async, is_change=True)
        return results

    def _refuse_if_over(self) -> None:
        if self._standing.is_over() and self._standing.lease_seconds:
            raise Superseded(f"session {self.number} with ZooKeeper is over, and so are its locks; open another")

    def _stat(self, stat: Any, lock_generation: int) -> FileStat:
        return FileStat(stat.mzxid, lock_generation, stat.ephemeralOwner != 0, stat.dataLength)


def _checked(folder: str, path: str, contents: bytes = b"") -> str:
    """The node for a path. Raises InvalidRequest."""
    paths.check_path(path)
    if len(contents) > MOST_CONTENTS_BYTES:
        raise InvalidRequest(f"{len(contents):,} bytes for {path}: a file takes {MOST_CONTENTS_BYTES:,}")
    return f"{folder}/{quote(path, safe='')}"


def _no_file(path: str) -> NotFound:
    return NotFound(f"no file {path} in the lock service")


def _differences(before: tuple[Any, ...] | None, now: tuple[Any, ...]) -> list[ChangeKind]:
    """What to tell of two looks at a path."""
    if before is None:
        return [ChangeKind.READ_AGAIN]
    found = []
    if before[0] != now[0]:
        found += [ChangeKind.DELETED] * (before[0] is not None) + [ChangeKind.CREATED] * (now[0] is not None)
    elif before[1] != now[1]:
        found.append(ChangeKind.CONTENTS)
    if before[2] != now[2]:
        found.append(ChangeKind.LOCK)
    if before[3] != now[3]:
        found.append(ChangeKind.CHILDREN)
    return found
