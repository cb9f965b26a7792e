"""What a timeline shows, and nothing of how: plain values, in microseconds since the epoch."""

import enum
from dataclasses import dataclass, field


class Tone(enum.IntEnum):
    """How much a moment matters to somebody who looks for what went wrong."""

    PLAIN = 0
    TROUBLE = 1  # a node met an error, or a replica was lost
    FAULT = 2  # somebody broke something on purpose
    VIOLATION = 3  # a judge says that this must not be


class BarKind(enum.IntEnum):
    """What lasts."""

    DOWN = 0
    PAUSED = 1
    LEASE = 2
    OPERATION = 3
    FAULT = 4
    LIFE = 5  # of a tablet server: it holds its lock (BT 5.2)
    TABLET = 6  # served by a tablet server


class ArrowKind(enum.IntEnum):
    """What goes from one lane to another."""

    CALL = 0
    DATA = 1  # a segment of a bulk stream
    HEARTBEAT = 2  # what nodes say whether or not anything happens
    ANSWERS = 3  # not a message that was seen: one record certainly answers another
    SAME_WORK = 4  # not a message that was seen: records of one cause, by their Lamport clocks


@dataclass(frozen=True, slots=True)
class Moment:
    """Something happened on a lane. `subjects` are "chunk 0x2a", "file /a", "tablet usertable"."""

    time: int
    lane: int
    kind: str
    text: str
    tone: Tone
    cause: str
    lamport: int
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a lane to another; `arrived` is None for what was lost. `trouble`: an error, or a loss."""

    sent: int
    arrived: int | None
    source: int
    target: int
    kind: ArrowKind
    text: str
    detail: str
    trouble: bool
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """Something lasted on a lane. `is_open`: the end of the run, or an unknown end, is not its end."""

    begin: int
    end: int
    lane: int
    kind: BarKind
    text: str
    tone: Tone
    cause: str
    subjects: tuple[str, ...]
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a judge says, and when it happened: None if that is not known."""

    text: str
    time: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the whole run, in an order that respects cause: a record (`moment`), or a message that leaves or
    arrives (`message`)."""

    lane: int
    moment: int = -1
    message: int = -1


@dataclass(slots=True)
class Timeline:
    """A run. Moments and arrows are sorted by time. `parts` says which subjects belong to another: a file's chunks.
    `is_virtual`: the times are those of a simulation."""

    title: str
    lanes: list[str]
    moments: list[Moment] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    is_virtual: bool = False

    @property
    def begin(self) -> int:
        """When the first thing happened."""
        times = [one.time for one in self.moments[:1]] + [one.sent for one in self.arrows[:1]]
        return min([*times, *(bar.begin for bar in self.bars)], default=0)

    @property
    def end(self) -> int:
        """When the last thing happened."""
        times = [one.time for one in self.moments[-1:]]
        times += [arrow.sent if arrow.arrived is None else arrow.arrived for arrow in self.arrows]
        return max([*times, *(bar.end for bar in self.bars)], default=0)

    def check_invariants(self) -> None:
        """Raise AssertionError unless all refers to what is there, in order."""
        for moment in self.moments:
            assert 0 <= moment.lane < len(self.lanes), moment
        for bar in self.bars:
            assert 0 <= bar.lane < len(self.lanes) and bar.begin <= bar.end, bar
        for arrow in self.arrows:
            assert 0 <= arrow.source < len(self.lanes) and 0 <= arrow.target < len(self.lanes), arrow
        assert all(one.time <= other.time for one, other in zip(self.moments, self.moments[1:], strict=False))
        assert all(one.sent <= other.sent for one, other in zip(self.arrows, self.arrows[1:], strict=False))
        seen = [step.moment for step in self.steps if step.moment >= 0]
        assert sorted(seen) == list(range(len(self.moments))), "each moment is one step"
