"""One client at work: it plays its operations in whatever life it has, and opens a session when it has none."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from cluster.swarm.history import Answer
from cluster.swarm.locks.history import History, Operation
from cluster.swarm.locks.host import ClientLife, Host
from cluster.swarm.locks.plan import Kind, PlannedOperation, Setup
from lockservice.client.session import OwnSession
from lockservice.interface import Sequencer, SessionState
from runtime.errors import DiskFailure, NoSpace, NotFound, TabletopError
from runtime.simulated.world import NodeEnded

SHOWN = "/here"
_LOOK_SECONDS = 0.1


def lock_path(number: int) -> str:
    """The path of a lock."""
    return f"/locks/{number}"


def register_path(number: int) -> str:
    """The path of a register."""
    return f"/registers/{number}"


def shown_path(client: str) -> str:
    """The path of a client's ephemeral file."""
    return f"{SHOWN}/{client}"


def followed(setup: Setup) -> list[str]:
    """The paths that every client watches: the registers, and the folder of the ephemeral files."""
    return [*(register_path(number) for number in range(setup.registers)), SHOWN]


async def look_at(session: OwnSession, path: str) -> str:
    """What there is, as text."""
    return ",".join(await session.list(path)) if path == SHOWN else (await session.read(path))[0].decode()


class Player:
    """One client. `on_held` is called at the moment at which it is given a lock."""

    def __init__(
        self, name: str, host: Host, setup: Setup, history: History, on_held: Callable[[str, Sequencer], None]
    ) -> None:
        self.name = name
        self._host = host
        self._setup = setup
        self._history = history
        self._on_held = on_held
        self._fence: Sequencer | None = None

    @property
    def life(self) -> ClientLife:
        """The present one."""
        return self._host.lives[self.name]

    async def play(self, operations: Sequence[PlannedOperation]) -> None:
        """Play them all."""
        for planned in operations:
            await asyncio.sleep(planned.pause)
            while not self._host.is_running(self.name):  # noqa: ASYNC110 - a node that starts sets no event
                await asyncio.sleep(_LOOK_SECONDS)
            life = self.life
            with contextlib.suppress(NodeEnded):
                await self._host.simulation.on(life.world, self._perform(life, planned))

    async def _perform(self, life: ClientLife, planned: PlannedOperation) -> None:
        session = await self._session(life)
        if session is None:
            return
        operation = self._history.new(self.name, planned, self._path(planned), session.number, self._host.now)
        try:
            async with asyncio.timeout(planned.gives_up_after or None):
                await self._do(life, session, operation)
            operation.answer = Answer.VALUE
        except TimeoutError:
            operation.answer, operation.error = Answer.DOUBTFUL, "Cancelled"
        except TabletopError as error:
            operation.answer = Answer.REFUSED if error.definite else Answer.DOUBTFUL
            operation.error, operation.message = type(error).__name__, error.message
        operation.responded = self._host.now

    async def _session(self, life: ClientLife) -> OwnSession | None:
        """The life's session, or a new one; None if there is none to be had now."""
        if life.session is None or life.session.state is SessionState.EXPIRED:
            life.session = None
            life.held.clear()
            with contextlib.suppress(TabletopError):
                life.session = await self._host.service(life.world).open_session()
                for path in followed(self._setup):
                    life.world.spawn(self._follow(life, life.session, path), f"follow {path}")
        return life.session

    async def _follow(self, life: ClientLife, session: OwnSession, path: str) -> None:
        """Look again after each change, as long as the session lives."""
        while session.state is not SessionState.EXPIRED:
            with contextlib.suppress(TabletopError):  # The watch could not begin.
                async for _ in session.watch(path):
                    await self._see(life, session, path)

    async def _see(self, life: ClientLife, session: OwnSession, path: str) -> None:
        while session.state is not SessionState.EXPIRED:
            try:
                life.seen[path] = await look_at(session, path)
                return
            except TabletopError:
                await life.world.clock.sleep(_LOOK_SECONDS)

    def _path(self, planned: PlannedOperation) -> str:
        if planned.kind in (Kind.ACQUIRE, Kind.RELEASE, Kind.CHECK):
            return lock_path(planned.number)
        if planned.kind in (Kind.SHOW, Kind.HIDE, Kind.LOOK):
            return shown_path(self.name)
        return register_path(planned.number)

    async def _do(self, life: ClientLife, session: OwnSession, operation: Operation) -> None:
        planned, path, value = operation.planned, operation.path, str(operation.number).encode()
        match planned.kind:
            case Kind.ACQUIRE:
                delay = round(self._setup.delay_seconds * planned.delay_share, 3)
                held = await session.acquire(path, wait_seconds=planned.wait_seconds, lock_delay_seconds=delay)
                operation.generation = held.generation
                life.held[path] = life.last = self._fence = held
                self._on_held(self.name, held)
            case Kind.RELEASE:
                released = life.held.pop(path, None)
                try:
                    await session.release(path)
                except (NoSpace, DiskFailure) as error:  # It knows that it has the lock still.
                    if released is not None and error.definite and session is life.session:
                        life.held[path] = released
                    raise
            case Kind.CHECK | Kind.FENCED:
                await self._show_sequencer(life, session, operation)
            case Kind.COMPARE:
                operation.expected = (await session.read(path))[1].generation
                written = await session.write(path, value, generation=operation.expected)
                operation.generation = written.generation
            case Kind.WRITE:
                operation.generation = (await session.write(path, value)).generation
            case Kind.READ:
                contents, stat = await session.read(path)
                operation.value, operation.generation = int(contents), stat.generation
            case Kind.SHOW:
                operation.generation = (await session.create(path, value, ephemeral=True)).generation
            case Kind.HIDE:
                await session.delete(path)
            case Kind.LOOK:
                try:
                    contents, stat = await session.read(path)
                    operation.value, operation.generation = int(contents), stat.generation
                finally:
                    operation.was_held = session.state is not SessionState.EXPIRED
            case Kind.LEAVE:
                life.session = None
                life.held.clear()
                await session.close()

    async def _show_sequencer(self, life: ClientLife, session: OwnSession, operation: Operation) -> None:
        """Show the last sequencer that this client has seen, perhaps of an earlier life."""
        fence = self._fence
        if fence is None:
            raise NotFound("no sequencer yet")
        operation.lock, operation.expected = fence.path, fence.generation
        believed = life.believes(fence.path)
        try:
            if operation.kind is Kind.CHECK:
                operation.value = int(await session.check(fence))
            else:
                written = await session.write(operation.path, str(operation.number).encode(), sequencer=fence)
                operation.generation = written.generation
        finally:
            operation.was_held = believed == fence and life.believes(fence.path) == fence
