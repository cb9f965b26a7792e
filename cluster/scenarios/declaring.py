"""What a scenario is, and what may be called in one.

The decorator carries the cluster's settings (`ClusterSettings`) and the limits of a run. Everything else that a
scenario needs is asked of the run that it is in, which a context variable names: so helpers are plain functions, and
a scenario has the signature that a reader expects.
"""

import asyncio
import contextlib
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, overload

from cluster.interface import Cluster
from cluster.scenarios.recording import RecordedClient
from cluster.settings import ClusterSettings
from runtime.errors import InvalidRequest
from runtime.simulated.tape import Stream, Tape

T = TypeVar("T")
Play = Callable[[Any, int], Awaitable[None]]

# Small, so that a file has several chunks and a dead primary's lease is over soon (GFS 2.5, 3.1: 64 MB and 60 s). The
# nodes' networks and disks can be broken on purpose, also those of processes.
DEFAULTS: dict[str, Any] = {
    "chunkservers": 4,
    "chunk_bytes": 256 * 1024,
    "lease_seconds": 10.0,
    "experiments": True,
}
CLIENTS = 3
LONGEST_SECONDS = 900.0
WALL_SECONDS = 60.0
_STREAM = "scenario"


class CheckFailed(AssertionError):
    """A claim of a scenario does not hold. `place` is the file and line of the claim."""

    def __init__(self, sentence: str, place: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.place = place


class Recorder(Protocol):
    """What a run offers to the functions below."""

    seed: int
    tape: Tape

    def new_client(self) -> RecordedClient:
        """Another recorded client. Raises InvalidRequest if there are no more."""


CURRENT: ContextVar[Recorder | None] = ContextVar("scenario run", default=None)


@dataclass(frozen=True)
class Scenario:
    """A coroutine over a cluster, with the settings of that cluster and the limits of a run.

    `longest_seconds` are seconds of the cluster: virtual ones in the simulated world. `wall_seconds` is how long a
    simulated run may take by the clock on the wall."""

    name: str
    play: Play
    settings: ClusterSettings = field(default_factory=lambda: ClusterSettings(**DEFAULTS))
    clients: int = CLIENTS
    longest_seconds: float = LONGEST_SECONDS
    wall_seconds: float = WALL_SECONDS
    file: str = ""
    line: int = 0

    def __call__(self, cluster: Cluster, seed: int) -> Awaitable[None]:
        """Its coroutine: one scenario may be a part of another."""
        return self.play(cluster, seed)

    @property
    def about(self) -> str:
        """The first sentence of its documentation."""
        return (inspect.getdoc(self.play) or "").split("\n")[0]


@overload
def scenario(play: Play, /) -> Scenario: ...


@overload
def scenario(
    *,
    clients: int = CLIENTS,
    longest_seconds: float = LONGEST_SECONDS,
    wall_seconds: float = WALL_SECONDS,
    **settings: Any,
) -> Callable[[Play], Scenario]: ...


def scenario(
    play: Play | None = None,
    /,
    *,
    clients: int = CLIENTS,
    longest_seconds: float = LONGEST_SECONDS,
    wall_seconds: float = WALL_SECONDS,
    **settings: Any,
) -> Scenario | Callable[[Play], Scenario]:
    """Make a coroutine a scenario; `settings` are fields of ClusterSettings. Raises InvalidRequest, TooFewServers."""

    def declare(play: Play) -> Scenario:
        name = getattr(play, "__name__", "?")
        _check_signature(name, play)
        if not 1 <= clients <= 100:
            raise InvalidRequest(f"scenario {name}: {clients} clients: expected between 1 and 100")
        for what, seconds in (("longest_seconds", longest_seconds), ("wall_seconds", wall_seconds)):
            if not seconds > 0:
                raise InvalidRequest(f"scenario {name}: {what} is {seconds}, expected more than 0")
        try:
            found = ClusterSettings.from_json(DEFAULTS | settings)
            found.check()
        except InvalidRequest as error:
            raise InvalidRequest(f"scenario {name}: {error.message}") from None
        code = play.__code__
        return Scenario(
            name, play, found, clients, longest_seconds, wall_seconds, code.co_filename, code.co_firstlineno
        )

    return declare if play is None else declare(play)


def _check_signature(name: str, play: Any) -> None:
    if not inspect.iscoroutinefunction(play):
        raise InvalidRequest(f"scenario {name} is no coroutine: write `async def {name}(cluster, seed)`")
    try:
        inspect.signature(play).bind(None, 0)
    except TypeError:
        takes = inspect.signature(play)
        raise InvalidRequest(
            f"scenario {name} takes {takes}: expected a cluster and a seed, `async def {name}(cluster, seed)`"
        ) from None


# What may be called in a scenario.


def recorded(cluster: Cluster) -> RecordedClient:
    """Another client of the cluster, whose calls go into the history and are judged at the end.

    Raises InvalidRequest outside of a run, and when the scenario was declared with fewer `clients`."""
    return _current("recorded").new_client()


def check(holds: object, sentence: str) -> None:
    """Claim something. If it does not hold the scenario ends here, and the sentence is its verdict."""
    if not holds:
        raise CheckFailed(sentence, _place())


async def eventually(
    condition: Callable[[], T | Awaitable[T]], sentence: str, *, within_seconds: float = 60.0, poll_seconds: float = 0.1
) -> T:
    """Ask again and again until the condition returns something true, and return that. If it does not come true within
    the time, the scenario ends, and the sentence is its verdict. What the condition raises passes through."""
    loop = asyncio.get_running_loop()
    deadline, place = loop.time() + within_seconds, _place()
    while True:
        found: Any = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found  # type: ignore[no-any-return]
        if loop.time() >= deadline:
            raise CheckFailed(f"{sentence}: it did not come true within {within_seconds:g} s", place)
        await asyncio.sleep(poll_seconds)


class Chance:
    """Random choices that a seed decides. The first of several is the plain one: shrinking turns choices into it.

    >>> dice = Chance(Tape(7).stream("example"))
    >>> dice.of(["kill", "pause", "part"]), dice.below(10), dice.happens(0.5)
    ('kill', 6, False)
    >>> Chance(Tape(7, quiet=True).stream("example")).of(["kill", "pause"])
    'kill'
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def of(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[self._stream.below(len(choices))]

    def below(self, bound: int) -> int:
        """A whole number from 0 up to, not including, `bound`."""
        return self._stream.below(bound)

    def between(self, low: float, high: float) -> float:
        """A number between the two."""
        return self._stream.between(low, high)

    def happens(self, probability: float) -> bool:
        """True with this probability."""
        return self._stream.chance(probability)


def chance(seed: int) -> Chance:
    """Random choices of the scenario's own, decided by the seed; in a run, a stream of its tape."""
    run = CURRENT.get()
    tape = run.tape if run is not None and run.seed == seed else Tape(seed)
    return Chance(tape.stream(_STREAM))


@contextlib.contextmanager
def current(run: Recorder) -> Iterator[None]:
    """The block is a part of this run."""
    token = CURRENT.set(run)
    try:
        yield
    finally:
        CURRENT.reset(token)


def _current(what: str) -> Recorder:
    run = CURRENT.get()
    if run is None:
        raise InvalidRequest(f"{what}() is for scenarios: run this one with `tabletop scenario run`")
    return run


def _place() -> str:
    """Where the caller of the caller of this function stands."""
    frame = sys._getframe(2)
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
