"""Locks on paths: many namespace operations at once, and none sees another's half (GFS 4.1).

The problem. A mutation of the namespace checks, waits for the operation log, then changes: for that long, what it
checked must stay true. One lock over everything would serialise all clients behind the disk.

The idea, as in the paper: every path can be read- or write-locked. An operation on /d1/d2/leaf takes read locks on /,
/d1 and /d1/d2, and a read or write lock on /d1/d2/leaf itself. Reading a directory's name is enough to keep it from
being deleted, renamed or snapshotted; so two files can be created in one directory at once, while creating
/home/user/foo and renaming /home/user exclude each other. Locks are taken by level in the tree and then by name, so
that no two operations wait for each other in a circle.

>>> plan_locks(write=["/home/user/foo"])
(PathLock(path='/', write=False), PathLock(path='/home', write=False), PathLock(path='/home/user', write=False), \
PathLock(path='/home/user/foo', write=True))

Invariants: (1) a path has one writer and no reader, or any number of readers; (2) waiters are served in the order they
came, so a writer is not starved by readers; (3) an idle path has no record.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from master.paths import ancestors


@dataclass(frozen=True, slots=True)
class PathLock:
    """One lock of a set: a path, and whether it is for writing."""

    path: str
    write: bool


def plan_locks(*, read: Sequence[str] = (), write: Sequence[str] = ()) -> tuple[PathLock, ...]:
    """The locks for an operation that reads and writes these paths, in the order to take them: by level, then name."""
    wanted: dict[str, bool] = {}
    for path in [*read, *write]:
        for name in [*ancestors(path), path]:
            wanted.setdefault(name, False)
    for path in write:
        wanted[path] = True
    ordered = sorted(wanted, key=lambda path: (_level(path), path))
    return tuple(PathLock(path, wanted[path]) for path in ordered)


class _State:
    """Who holds a path, and who waits for it."""

    __slots__ = ("readers", "waiting", "writing")

    def __init__(self) -> None:
        self.readers = 0
        self.writing = False
        self.waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    def admits(self, write: bool) -> bool:
        return not self.writing and (not write or self.readers == 0)

    def enter(self, write: bool) -> None:
        if write:
            self.writing = True
        else:
            self.readers += 1


class NamespaceLocks:
    """The lock table."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    @contextlib.asynccontextmanager
    async def hold(self, locks: Sequence[PathLock]) -> AsyncIterator[None]:
        """Run the block while holding the locks, which `plan_locks` has put in order."""
        taken = 0
        try:
            for lock in locks:
                await self._acquire(lock)
                taken += 1
            yield
        finally:
            for lock in reversed(locks[:taken]):
                self._release(lock)

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold."""
        for path, state in self._states.items():
            assert not (state.writing and state.readers), f"{path} has a writer and readers"
            assert state.writing or state.readers or state.waiting, f"{path} is idle and has a record"
            first = next((write for write, future in state.waiting if not future.done()), None)
            assert first is None or not state.admits(first), f"a waiter for {path} was forgotten"

    @property
    def busy_paths(self) -> int:
        """How many paths have a record."""
        return len(self._states)

    async def _acquire(self, lock: PathLock) -> None:
        state = self._states.get(lock.path)
        if state is None:
            state = self._states[lock.path] = _State()
        if not state.waiting and state.admits(lock.write):
            state.enter(lock.write)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        state.waiting.append((lock.write, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release(lock)  # It was granted in the same turn in which we were cancelled.
            else:
                self._admit_waiters(lock.path, state)
            raise

    def _release(self, lock: PathLock) -> None:
        state = self._states[lock.path]
        if lock.write:
            state.writing = False
        else:
            state.readers -= 1
        self._admit_waiters(lock.path, state)

    def _admit_waiters(self, path: str, state: _State) -> None:
        while state.waiting:
            write, future = state.waiting[0]
            if future.done():  # Cancelled while it waited.
                state.waiting.popleft()
            elif state.admits(write):
                state.waiting.popleft()
                state.enter(write)
                future.set_result(None)
            else:
                return
        if not state.writing and not state.readers:
            self._states.pop(path, None)


def _level(path: str) -> int:
    return 0 if path == "/" else path.count("/")
