"""One thread, one process, one call at a time: an open embedded tablet, and how it is left in order.

One mark guards a tablet, and costs a write two assignments: a call sets it when it begins and takes it away when it
ends well, or with an error of ours, which leaves the engine in order. A caller that finds it set came in the middle of
another call, from another thread; or after one that was interrupted, by Ctrl-C for example, and left locks held and
books unbalanced; or to a tablet that is closed, or belongs to the process that this one was forked from. All of these
are refused. A value that is known to be hot is told without a look at the mark: whenever the mark stays set, the caches
are cleared.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar
from weakref import WeakSet

from runtime.errors import Conflict, TabletopError
from runtime.events import Record
from tablet.embedded.arguments import checked_options
from tablet.embedded.folder import Folder, disk_at, path_of
from tablet.embedded.inline import InlineWorld, RecentEvents, run_inline
from tablet.embedded.pace import Pace
from tablet.engine.engine import Engine
from tablet.engine.world.eventual import Eventual
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

T = TypeVar("T")
P = ParamSpec("P")
S = TypeVar("S", bound="OpenTablet")

_EVENTS_KEPT = 1000

_CLOSED = "is closed; open it again"
_FORKED = "was opened before a fork; open it in this process, once the other one has closed it"
INTERRUPTED = (
    "was interrupted in the middle of a write, or of another operation; close it and open it again: nothing that was "
    "acknowledged is lost"
)
_BUSY = (
    "is in the middle of another call, of another thread or of what a signal handler interrupted; one thread at a time "
    "may use it: guard it with a threading.Lock"
)

_OPEN: "WeakSet[OpenTablet]" = WeakSet()


class OpenTablet:
    """One tablet that is open in a folder. What can be done with it is in `table.py`.

    `_cached` answers what is known to be hot, without a look at the mark.
    """

    _open = False

    def __init__(self, folder: Folder, options: Options | None = None) -> None:
        chosen = checked_options(options)
        self._disk = disk_at(path_of(folder), chosen)
        self.folder = str(self._disk.root)
        self.events: deque[Record] = deque(maxlen=_EVENTS_KEPT)
        self._world = InlineWorld(RecentEvents(self.events))
        self._engine: Engine = run_inline(Engine.open(DiskStorage(self._disk), self._world, chosen, inline=True))
        self._pace = Pace(self._engine)
        self._advance = self._pace.advance
        self._cached: Callable[[bytes, bytes], bytes | None] = self._engine.state.scan_cache.newest
        self._busy = False
        self._why = ""
        self._open = True
        _OPEN.add(self)

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._why == _FORKED:
            self._let_go()
        else:
            self.close()

    @property
    def engine(self) -> Engine:
        """The engine underneath, for those who look inside."""
        return self._engine

    def close(self) -> None:
        """Make everything durable and let go of the folder. Closing twice is harmless.

        After an interrupted operation, nothing but letting go. Raises Conflict in the child of a fork, where the folder
        is the parent's, and while another thread is in the middle of a call.
        """
        if not self._open:
            return
        interrupted = self._why == INTERRUPTED
        if self._busy and not interrupted:
            self._refuse()
        try:
            self._busy, self._why = True, _CLOSED
            self._pace.stop()
            if interrupted:
                with suppress(Exception):  # What was acknowledged is in the log; if it cannot be synced now, so be it.
                    run_inline(self._engine.sync())
            else:
                run_inline(self._engine.close())
        except TabletopError:
            self._let_go()
            raise
        except BaseException:
            self._why = INTERRUPTED
            self._let_go()
            raise
        self._let_go()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.folder!r})"

    def __del__(self) -> None:
        if self._open:
            forked = self._why == _FORKED
            self._let_go()
            if not forked:
                warnings.warn(
                    f"the tablet in {self.folder} was forgotten, not closed; use it in a `with` statement, or close it",
                    ResourceWarning,
                    source=self,
                    stacklevel=2,
                )

    def _alone(self, operation: Callable[P, Coroutine[Any, Any, T]], *arguments: P.args, **named: P.kwargs) -> T:
        """Drive an operation to its end, while no other is under way (see the beginning of this page)."""
        if self._busy:
            self._refuse()
        try:
            # Nothing is called between the question and this line, so that no other thread comes in between.
            self._busy = True
            result = run_inline(operation(*arguments, **named))
        except TabletopError:
            self._busy = False
            raise
        except BaseException:
            # Nothing is called here, so that not even a second Ctrl-C comes in between.
            self._why, self._cached = INTERRUPTED, nothing_cached
            raise
        self._busy = False
        return result

    def _batch_of(self, next_batch: Callable[[], Eventual[list[T]]]) -> list[T]:
        """As `_alone`, for the next rows of a scan: often they are there at once, without a coroutine."""
        if self._busy:
            self._refuse()
        try:
            self._busy = True
            batch = next_batch()
            if not isinstance(batch, list):
                batch = run_inline(batch)
        except TabletopError:
            self._busy = False
            raise
        except BaseException:
            self._why, self._cached = INTERRUPTED, nothing_cached
            raise
        self._busy = False
        return batch

    def _refuse(self) -> NoReturn:
        raise Conflict(f"the tablet in {self.folder} {self._why or _BUSY}")

    def _let_go(self) -> None:
        """Let go of files and folder, and write nothing: to the next one who opens it, it looks like a crash."""
        _OPEN.discard(self)
        with suppress(Exception):
            self._pace.stop()
        with suppress(Exception):
            run_inline(self._engine.state.close())
        if self._why != _FORKED:
            with suppress(Exception):
                run_inline(self._engine.state.storage.unlock())
        self._disk.let_go()
        self._busy, self._why, self._cached = True, _CLOSED, nothing_cached
        self._open = False

    def _belong_to_another_process(self) -> None:
        """In the child of a fork: the parent keeps the files and the folder."""
        self._busy, self._why, self._cached = True, _FORKED, nothing_cached
        self._disk.let_go()


def forwarded(
    operation: Callable[Concatenate[Engine, P], Coroutine[Any, Any, T]], *, after_jobs: bool = False
) -> Callable[Concatenate[OpenTablet, P], T]:
    """An operation of the engine as one of the embedded tablet. `after_jobs`: what is under way in the background is
    brought to its end first, since it holds what the operation needs."""

    @wraps(operation)
    def synchronous(tablet: OpenTablet, /, *arguments: P.args, **named: P.kwargs) -> T:
        if after_jobs:
            tablet._alone(tablet._pace.finish)
        return tablet._alone(partial(operation, tablet._engine), *arguments, **named)

    return synchronous


def _after_a_fork() -> None:
    for tablet in list(_OPEN):
        tablet._belong_to_another_process()


os.register_at_fork(after_in_child=_after_a_fork)


def nothing_cached(row: bytes, column: bytes) -> bytes | None:
    """The cache of a tablet that must not be used."""
    return None
