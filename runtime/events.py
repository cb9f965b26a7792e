"""Typed events: what happened, where, when, and because of what.

Every server emits events into one append-only stream. A record carries a Lamport clock, so that records of different
nodes can be put in an order that respects cause, and a cause id, which crosses RPCs and bulk streams with the work it
belongs to: all records of one client write share one cause. Logs for people, timelines and golden traces are views of
this stream.

An event is a frozen dataclass that a room defines for itself, in the past tense, with one sentence for people:

>>> @dataclass(frozen=True, slots=True)
... class ReplicaLost(Event):
...     sentence: ClassVar[str] = "lost the replica of chunk {handle:#x} on {server}"
...     handle: int
...     server: str
>>> log = EventLog("master", MemorySink(), wall_microseconds=lambda: 1_000_000)
>>> with because("c1"):
...     log.emit(ReplicaLost(handle=42, server="cs1"))
>>> print(rendered(log.sink.records[0]))
00:00:01.000 master   lost the replica of chunk 0x2a on cs1 [c1]

Values of events are str, int, float, bool, or tuples of these.
"""

import contextlib
import contextvars
import dataclasses
import datetime
import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import NoneType
from typing import ClassVar, Protocol

_cause: contextvars.ContextVar[str] = contextvars.ContextVar("cause", default="")

_kinds: dict[str, type["Event"]] = {}


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events. `sentence` is a format string over the event's fields."""

    sentence: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        _kinds[cls.__name__] = cls


@dataclass(frozen=True, slots=True)
class Record:
    """One event with its circumstances. `wall_microseconds` is since the epoch, by the emitting node's own clock, and
    `true_microseconds` the same without that clock's error: known only where the time is simulated."""

    lamport: int
    wall_microseconds: int
    node: str
    cause: str
    event: Event
    true_microseconds: int | None = None

    def to_json(self) -> str:
        """One line, keys in a fixed order: equal records give equal bytes."""
        fields = {_key_of(name): getattr(self.event, name) for name in _field_names(type(self.event))}
        return json.dumps(
            {
                "lamport": self.lamport,
                "wall": self.wall_microseconds,
                **({} if self.true_microseconds is None else {"true": self.true_microseconds}),
                "node": self.node,
                "cause": self.cause,
                "kind": type(self.event).__name__,
                **fields,
            },
            ensure_ascii=True,
        )


class Sink(Protocol):
    """Where records go."""

    def write(self, record: Record) -> None:
        """Take one record. Must not raise and must not wait."""


class MemorySink:
    """Keeps the records in a list: the simulated world's sink, and the tests'."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        """Append the record."""
        self.records.append(record)


class EventLog:
    """One node's end of the stream, and its Lamport clock."""

    def __init__(
        self,
        node: str,
        sink: Sink,
        wall_microseconds: Callable[[], int],
        true_microseconds: Callable[[], int] | None = None,
    ) -> None:
        self._true_microseconds = true_microseconds
        self.node = node
        self.sink = sink
        self.lamport = 0
        self._wall_microseconds = wall_microseconds
        self._causes = 0

    def new_cause(self) -> str:
        """An id for a piece of work that begins here, such as one call of a client."""
        self._causes += 1
        return f"{self.node}.{self._causes}"

    def emit(self, event: Event) -> None:
        """Record that `event` happened here and now, because of the current cause."""
        self.lamport += 1
        true = None if self._true_microseconds is None else self._true_microseconds()
        self.sink.write(Record(self.lamport, self._wall_microseconds(), self.node, _cause.get(), event, true))

    def sent(self) -> int:
        """The Lamport time to put on an outgoing message."""
        self.lamport += 1
        return self.lamport

    def received(self, lamport: int) -> None:
        """Take note of the Lamport time of an incoming message."""
        self.lamport = max(self.lamport, lamport) + 1


def current_cause() -> str:
    """The cause id of the work that this task does; empty outside of any."""
    return _cause.get()


@contextlib.contextmanager
def because(cause: str) -> Iterator[None]:
    """Run the block under this cause id."""
    token = _cause.set(cause)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a coroutine thrown away unfinished is closed in another task's context
            _cause.reset(token)


def set_cause(cause: str) -> None:
    """Set the cause of the current task until it ends: for tasks that serve exactly one request."""
    _cause.set(cause)


def record_from_json(line: str) -> Record:
    """Parse one line of `Record.to_json`. A kind that this program does not know becomes an `UnknownEvent`.

    Raises ValueError, KeyError or TypeError for what is no record."""
    fields = json.loads(line)
    lamport, wall, node, cause, kind = (fields.pop(key) for key in ("lamport", "wall", "node", "cause", "kind"))
    true = fields.pop("true", None)
    if type(lamport) is not int or type(wall) is not int or type(true) not in (int, NoneType):
        raise ValueError(f"no record: a clock is {lamport!r}, {wall!r} or {true!r}")
    if not isinstance(node, str) or not isinstance(cause, str):
        raise ValueError(f"no record: the node is {node!r}, the cause {cause!r}")
    event_type = _kinds.get(kind)
    if event_type is None or set(fields) != {_key_of(name) for name in _field_names(event_type)}:
        return Record(lamport, wall, node, cause, UnknownEvent(kind=kind, fields=json.dumps(fields)), true)
    read = {name: fields[_key_of(name)] for name in _field_names(event_type)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in read.items()}
    return Record(lamport, wall, node, cause, event_type(**values), true)


def in_causal_order(records: Iterable[Record]) -> list[Record]:
    """Records of several nodes in an order that respects cause, whatever their clocks say; each node's own stay as they
    are, oldest first.

    A process that starts counts from 1 again, so that its clock says nothing of what happened before. Its first records
    are put after all that the others had recorded by then, as far as the clocks on the wall tell.
    """
    by_node: dict[str, list[Record]] = {}
    for record in records:
        by_node.setdefault(record.node, []).append(record)
    placed: list[tuple[int, int, Record]] = []
    latest: dict[str, tuple[int, int]] = {}  # each node's Lamport clock, and the place of its latest record
    highest = 0
    for record in heapq.merge(*by_node.values(), key=_moment):
        before, place = latest.get(record.node, (0, -1))
        begin = highest + 1 if record.lamport <= before else 0
        place = max(record.lamport, place + 1, begin)
        latest[record.node] = (record.lamport, place)
        highest = max(highest, place)
        placed.append((place, _moment(record), record))
    placed.sort(key=lambda one: one[:2])
    return [record for _, _, record in placed]


def _moment(record: Record) -> int:
    return record.wall_microseconds if record.true_microseconds is None else record.true_microseconds


def sentence(event: Event) -> str:
    """The event in words.

    >>> sentence(UnknownEvent(kind="Moved", fields="{}"))
    'Moved {}'
    """
    values = {name: _in_words(getattr(event, name)) for name in _field_names(type(event))}
    template = type(event).sentence
    return template.format(**values) if template else f"{type(event).__name__} {values}"


def rendered(record: Record, *, zone: datetime.tzinfo | None = datetime.UTC) -> str:
    """One line for people; without a zone, in local time."""
    time = datetime.datetime.fromtimestamp(record.wall_microseconds / 1e6, zone)
    cause = f" [{record.cause}]" if record.cause else ""
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d} {record.node:<8} {sentence(record.event)}{cause}"


def _in_words(value: object) -> object:
    """Several things as people list them."""
    return (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else value


_CIRCUMSTANCES = frozenset({"lamport", "wall", "true", "node", "cause", "kind"})


def _key_of(name: str) -> str:
    """How a field of an event is called in JSON, where the circumstances of the record stand beside it.

    >>> _key_of("server"), _key_of("kind")
    ('server', 'kind_')
    """
    return f"{name}_" if name in _CIRCUMSTANCES else name


def _field_names(kind: type[Event]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@dataclass(frozen=True, slots=True)
class UnknownEvent(Event):
    """An event of another program version, kept so that reading a log loses nothing."""

    sentence: ClassVar[str] = "{kind} {fields}"
    kind: str
    fields: str


@dataclass(frozen=True, slots=True)
class NodeStarted(Event):
    """A node began to serve."""

    sentence: ClassVar[str] = "started as {role}"
    role: str


@dataclass(frozen=True, slots=True)
class NodeStopped(Event):
    """A node ended in good order."""

    sentence: ClassVar[str] = "stopped"


@dataclass(frozen=True, slots=True)
class EventsLost(Event):
    """Records could not be written, because the disk was full or failed; this one could again."""

    sentence: ClassVar[str] = "could not write {count} records before this one: the disk was full, or failed"
    count: int


@dataclass(frozen=True, slots=True)
class TaskFailed(Event):
    """A background task ended with an exception that nobody awaits: a bug, or a fault that nobody handles."""

    sentence: ClassVar[str] = "the background task {task!r} failed: {trace}"
    task: str
    trace: str
