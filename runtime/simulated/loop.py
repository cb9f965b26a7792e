"""An asyncio event loop on virtual time.

The problem. asyncio asks the operating system what time it is and what has happened, so no two runs are alike. The
idea: a loop whose clock stands still while callbacks run, and jumps to the next timer when none is left. Everything
that a simulated node waits for (a message, a disk, an alarm) is a callback at a virtual time, so nothing else is
needed.

Each callback belongs to the *life* of a node: asyncio copies the context of whoever schedules a callback, and a
context variable in it says whose that is. This makes a real kill possible: the callbacks of an ended life are thrown
away, so no `finally` runs and nobody sees a CancelledError, exactly as with SIGKILL. A paused life's callbacks are
kept for later.

Invariants:
1. Time never goes back, and is an integer number of nanoseconds.
2. Callbacks of one life that are due at one moment run in the order in which they were scheduled, as asyncio promises.
   Which life goes first is a choice of the tape: 0 means "as asyncio would".
3. A callback of an ended life never runs.
4. Threads, sockets, signals and processes are refused: code that reaches for the real world fails at once.

What we simplify. A callback takes no time by itself; a node charges time for heavy work (`SimulatedWorld.breathe`).
"""

import asyncio
import contextlib
import gc
import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from typing import Any, NoReturn, TypeVar

from runtime.faults.undo import Imposed
from runtime.simulated.tape import Tape

T = TypeVar("T")

NANOSECONDS = 1_000_000_000
STEPS_AT_ONE_INSTANT = 2_000_000
STEPS_BETWEEN_COLLECTIONS = 500_000
STEPS_BETWEEN_LOOKS = 4096
REORDER_CHANCE = 0.1
CANCELLED_TIMERS_KEPT = 1000


class SimulationDeadlock(Exception):
    """Nothing is left to happen, and what the simulation waits for has not come. Says what each task waits for."""


class SimulationStuck(Exception):
    """Too much happened without time going on (two tasks keep waking each other), or the run takes too long."""


class RealWorldTouched(Exception):
    """Simulated code asked for a thread, a socket, a signal or a process."""


class Life:
    """One life of one node, from a start to the kill or stop that ends it."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.alive = True
        self.paused = False
        self.pauses = Imposed[str]()
        self.held: deque[asyncio.Handle] = deque()
        # Also keeps the tasks of an ended life from being collected, which would run their `finally` blocks.
        self.tasks: dict[int, asyncio.Task[Any]] = {}


LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class SimulatedTask(asyncio.Task[T]):
    """A task whose hash is its number, so that sets of tasks have the same order in every run."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], number: int, life: Life | None, **options: Any) -> None:
        self.number = number
        self.life = life
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number


class SimulatedFuture(asyncio.Future[T]):
    """A future whose hash is its number."""

    number: int

    def __hash__(self) -> int:
        return self.number


class _Handle(asyncio.Handle):
    """A callback that knows whose it is."""

    __slots__ = ("life",)

    def __init__(self, callback: Any, args: Any, loop: asyncio.AbstractEventLoop, context: Context | None) -> None:
        # What asyncio's own handles do when they are made, without its debug mode: it is done for every single step.
        self._context = context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self.life = context.get(LIFE)


class _Timer(asyncio.TimerHandle):
    """A callback at a time, which knows whose it is."""

    __slots__ = ("life",)

    def __init__(
        self, due: int, callback: Any, args: Any, loop: asyncio.AbstractEventLoop, context: Context | None
    ) -> None:
        self._when = due / NANOSECONDS
        self._scheduled = False
        self._context = context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self.life = context.get(LIFE)


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop of one simulation. `nanoseconds` is the virtual time since its beginning."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.nanoseconds = 0
        self.steps = 0
        self._order = tape.stream("loop order")
        # (when, number, timer): `when` alone would leave the order of equal times to the heap.
        self._timers: list[tuple[int, int, _Timer]] = []
        self._cancelled_timers = 0
        self._due: deque[asyncio.Handle] = deque()
        self._numbers = 0
        self._instant_steps = 0
        self._next_collection = STEPS_BETWEEN_COLLECTIONS
        self._processor_deadline = math.inf
        self._next_look: float = math.inf  # the step at which to look whether the run takes too long
        self.unhandled: list[str] = []
        self.set_exception_handler(self._note_unhandled)

    # Time and order.

    def time(self) -> float:
        """Virtual seconds."""
        return self.nanoseconds / NANOSECONDS

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback at this moment, after the ones already scheduled."""
        handle = _Handle(callback, args, self, context)
        self._due.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback after `delay` seconds. Time goes on for any delay above 0, however small: who waits for what
        is left of a second, as floats reckon it, would otherwise wait for ever."""
        due = self.nanoseconds + math.ceil(delay * NANOSECONDS)
        return self.call_at_nanoseconds(due, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a virtual time, in seconds. When it runs, `time` is not before `when`, also where floats
        round: who asks for the same time until it has come would otherwise ask for ever."""
        due = math.ceil(when * NANOSECONDS)
        while due / NANOSECONDS < when:
            due += 1
        if when > self.time():
            due = max(due, self.nanoseconds + 1)
        return self.call_at_nanoseconds(due, callback, *args, context=context)

    def call_at_nanoseconds(
        self, due: int, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a virtual time, in nanoseconds."""
        self._numbers += 1
        due = max(due, self.nanoseconds)
        timer = _Timer(due, callback, args, self, context)
        heapq.heappush(self._timers, (due, self._numbers, timer))
        return timer

    def _run_once(self) -> None:
        if not self._due:
            self._advance()
        due = self._due
        for _ in range(len(due)):
            self._run_one(due)
            if self._stopping:  # type: ignore[attr-defined]
                return

    def _run_one(self, due: deque[asyncio.Handle]) -> None:
        handle: Any = due.popleft()
        if due and self._order.chance(REORDER_CHANCE):
            due.appendleft(handle)
            handle = self._other_life_first(due)
        life = handle.life
        if handle._cancelled or (life is not None and not life.alive):
            return
        if life is not None and life.paused:
            life.held.append(handle)
            return
        self.steps += 1
        self._instant_steps += 1
        if self._instant_steps > STEPS_AT_ONE_INSTANT:
            raise SimulationStuck(f"{STEPS_AT_ONE_INSTANT} steps at {self.time():.9f} s; next: {handle!r}")
        if self.steps >= self._next_look:
            self._look_at_the_clock(handle)
        handle._run()

    def _other_life_first(self, due: deque[asyncio.Handle]) -> Any:
        """Take the first callback of a life that the tape picks among those that have one due."""
        chosen: Any = due[self._order.below(min(len(due), 64))]
        for place, handle in enumerate(due):
            if handle.life is chosen.life:  # type: ignore[attr-defined]
                del due[place]
                return handle
        raise AssertionError("the chosen life has nothing due")

    def _advance(self) -> None:
        timers = self._timers
        while timers and not _lives(timers[0][2]):
            heapq.heappop(timers)
        if not timers:
            raise SimulationDeadlock(self._deadlock())
        if timers[0][0] > self.nanoseconds:
            self._instant_steps = 0
        if self.steps > self._next_collection:
            self._next_collection = self.steps + STEPS_BETWEEN_COLLECTIONS
            gc.collect()
        self.nanoseconds = timers[0][0]
        while timers and timers[0][0] == self.nanoseconds:
            self._due.append(heapq.heappop(timers)[2])

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is dropped when its time comes, or when there are too many of them: each call has a
        deadline that is nearly always cancelled long before."""
        self._cancelled_timers += 1
        if self._cancelled_timers > CANCELLED_TIMERS_KEPT and self._cancelled_timers * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if _lives(entry[2])]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def resume(self, life: Life) -> None:
        """Let a paused life go on with what it missed, in order."""
        life.paused = False
        self._due.extend(life.held)
        life.held.clear()

    # Running.

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` is done. Raises SimulationDeadlock, SimulationStuck, and what `main` raises."""
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return self.run_until_complete(main)
        finally:
            if was_enabled:
                gc.enable()

    @contextlib.contextmanager
    def watch(self, processor_seconds: float | None) -> Iterator[None]:
        """Raise SimulationStuck from what runs in this block when it takes more seconds of the processor than these.
        This is no part of the simulation: a run that ends is the same with and without it. A callback that never
        comes back is not noticed."""
        before = self._processor_deadline, self._next_look
        if processor_seconds is not None:
            self._processor_deadline = time.process_time() + processor_seconds
            self._next_look = self.steps + STEPS_BETWEEN_LOOKS
        try:
            yield
        finally:
            self._processor_deadline, self._next_look = before

    def _look_at_the_clock(self, handle: asyncio.Handle) -> None:
        self._next_look = self.steps + STEPS_BETWEEN_LOOKS
        if time.process_time() > self._processor_deadline:
            self._next_look = math.inf  # What ends because of this error may take its time.
            lines = [f"the run takes too long: step {self.steps}, {self.time():.6f} virtual s; next: {handle!r}"]
            raise SimulationStuck("\n".join(lines + self._waiting_tasks()))

    def create_future(self) -> asyncio.Future[Any]:
        """A future that sets keep in the same place in every run."""
        self._numbers += 1
        future: SimulatedFuture[Any] = SimulatedFuture(loop=self)
        future.number = self._numbers
        return future

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[T]:
        """A task of the life in whose context it is made. Not by a task factory: from CPython 3.12 on, asyncio gives
        the tasks of a factory the name "None"."""
        self._check_closed()  # type: ignore[attr-defined]
        self._numbers += 1
        number = self._numbers
        if name is None:
            name = f"task {number}"
        life = LIFE.get() if context is None else context.get(LIFE)
        task: SimulatedTask[T] = SimulatedTask(coro, number, life, loop=self, name=name, context=context, **options)
        if life is not None:
            life.tasks[number] = task
            task.add_done_callback(lambda _: life.tasks.pop(number, None), context=Context())
        return task

    def _deadlock(self) -> str:
        lines = [f"nothing is left to happen at {self.time():.6f} s, and these tasks wait:"]
        return "\n".join(lines + self._waiting_tasks())

    def _waiting_tasks(self) -> list[str]:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: getattr(task, "number", 0))
        return [f"  {task.get_name()} at {_where(task.get_coro())}" for task in tasks if _of_the_living(task)]

    def _note_unhandled(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.unhandled.append(f"{context.get('message')}: {error!r}")

    def close(self) -> None:
        """Never run again. The tasks that are left end here, with nobody listening, rather than whenever the garbage
        collector comes by."""
        if self.is_closed():
            return
        super().close()
        self._timers.clear()
        self._due.clear()
        for task in sorted(asyncio.all_tasks(self), key=lambda task: getattr(task, "number", 0)):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            with contextlib.suppress(BaseException):
                coroutine.close()

    def __del__(self) -> None:
        """A loop without file descriptors holds nothing that it would have to warn about."""

    # The real world.

    def _process_events(self, events: Any) -> None:
        """There are no file descriptors here."""

    def _write_to_self(self) -> None:
        """Nobody waits in a system call."""

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> NoReturn:
        """Refused: there are no threads here."""
        raise RealWorldTouched(f"call_soon_threadsafe({callback!r}): simulated code has no threads")

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # type: ignore[override]
        """Refused: there are no threads here."""
        raise RealWorldTouched(f"run_in_executor({func!r}): ask the world's in_background instead")

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """An abandoned asynchronous generator is closed in a task, as asyncio does, but without a thread's detour."""
        self.call_soon(self.create_task, agen.aclose())

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""


def _of_the_living(task: Any) -> bool:
    return task.life is None or task.life.alive


def _where(awaited: Any) -> str:
    """The innermost line of our own source in a chain of suspended coroutines and generators."""
    place = "its beginning"
    while awaited is not None:
        frame = next((found for kind in ("cr", "ag", "gi") if (found := getattr(awaited, f"{kind}_frame", None))), None)
        if frame is not None and "/asyncio/" not in frame.f_code.co_filename:
            place = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno} in {frame.f_code.co_name}"
        inner = ("cr_await", "ag_await", "gi_yieldfrom")
        awaited = next((found for name in inner if (found := getattr(awaited, name, None)) is not None), None)
    return place


def _lives(timer: _Timer) -> bool:
    return not timer.cancelled() and (timer.life is None or timer.life.alive)


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(self: SimulatedLoop, *args: Any, **options: Any) -> NoReturn:
        raise RealWorldTouched(f"loop.{name}: simulated code has no sockets, signals or processes; ask its world")

    refuse.__name__ = name
    return refuse


def _names_of_the_real_world() -> Iterator[str]:
    for name in dir(asyncio.AbstractEventLoop):
        if name.startswith(("sock_", "add_", "remove_", "create_", "subprocess_", "connect_", "getaddr", "getname")):
            yield name
    yield from ("sendfile", "start_tls")


for _name in _names_of_the_real_world():
    if _name not in ("create_future", "create_task"):
        setattr(SimulatedLoop, _name, _refusal(_name))
