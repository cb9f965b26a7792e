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

Each path's lock is a `ReadWriteLock`: first come, first served, so that a writer is not starved by readers.

Invariants: (1) a path has one writer and no reader, or any number of readers; (2) an idle path has no record.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from master.namespace.paths import ancestors
from runtime.locks import ReadWriteLock


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


class NamespaceLocks:
    """The lock table."""

    def __init__(self) -> None:
        self._locks: dict[str, ReadWriteLock] = {}

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

    @contextlib.contextmanager
    def hold_free(self, paths: Sequence[str]) -> Iterator[list[str]]:
        """Run the block while holding the locks for writing those of the paths that are free now, which it is given:
        nobody is waited for."""
        locks = plan_locks(write=paths)
        free = list(paths)
        if not self._take_now(locks):
            free = [path for path in paths if self._are_free(plan_locks(write=[path]))]
            locks = plan_locks(write=free)
            taken = self._take_now(locks)
            assert taken, "what is free one by one is free together"
        try:
            yield free
        finally:
            for lock in reversed(locks):
                self._release(lock)

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold."""
        for path, lock in self._locks.items():
            lock.check_invariants()
            assert not lock.is_idle, f"{path} is idle and has a record"

    @property
    def busy_paths(self) -> int:
        """How many paths have a record."""
        return len(self._locks)

    async def _acquire(self, lock: PathLock) -> None:
        found = self._locks.get(lock.path)
        if found is None:
            found = self._locks[lock.path] = ReadWriteLock()
        try:
            await found.acquire(exclusive=lock.write)
        finally:
            self._forget_if_idle(lock.path)

    def _take_now(self, locks: Sequence[PathLock]) -> bool:
        """Take all of these locks, or none if one would have to be waited for."""
        for place, lock in enumerate(locks):
            found = self._locks.get(lock.path)
            if found is None:
                found = self._locks[lock.path] = ReadWriteLock()
            if not found.acquire_now(exclusive=lock.write):
                for taken in reversed(locks[:place]):
                    self._release(taken)
                return False
        return True

    def _are_free(self, locks: Sequence[PathLock]) -> bool:
        taken = self._take_now(locks)
        if taken:
            for lock in reversed(locks):
                self._release(lock)
        return taken

    def _release(self, lock: PathLock) -> None:
        self._locks[lock.path].release(exclusive=lock.write)
        self._forget_if_idle(lock.path)

    def _forget_if_idle(self, path: str) -> None:
        lock = self._locks.get(path)
        if lock is not None and lock.is_idle:
            del self._locks[path]


def _level(path: str) -> int:
    return 0 if path == "/" else path.count("/")
