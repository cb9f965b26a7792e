"""A small compaction simulator: a workload and a policy in; read, write and space amplification out (BT 5.4).

The problem. Which policy is best depends on the workload, and trying it with bytes takes hours. But a policy looks at
nothing but sizes; so keys without values will do.

The idea. An SSTable is a set of keys and a set of deletions. A workload fills a memtable of keys; when it is full it
becomes a table; then the *real* policies of `tablet/engine/maintenance/policies.py` say what to merge, until they want
nothing more. A second of this stands for hours of a disk.

    write amplification   bytes written to SSTables (flushes and compactions), for each byte of the user's
    read amplification    files that a scan merges; and the data blocks that a read of a live row touches
    space amplification   bytes on the disk, for each byte that is live; the peak counts a merge's inputs and its output

>>> outcome = simulate(Workload(rows=2_000, updates=8_000, memtable_rows=500), "everything")
>>> outcome.final.tables < 4, outcome.write_amplification > 1
(True, True)

What we simplify. All rows have one size and nothing is compressed; a merge takes no time, so no write ever waits; the
log, which would add one to write amplification for every policy, is left out.
"""

import itertools
import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runtime.errors import InvalidRequest
from tablet.engine.maintenance.policies import CompactionPlan, TableSize, policy_named
from tablet.engine.world.options import PolicySettings

PATTERNS = ("uniform", "skewed", "sequential")
"""Which rows are updated: all alike; a few of them most of the time (Zipf); one after the other."""

DELETION_BYTES = 50
_READS_SAMPLED = 200
_OTHER_NAMES = {"leveled": "leveling", "levelled": "leveling", "tiered": "size_tiered", "all": "everything"}


@dataclass(frozen=True, slots=True)
class Workload:
    """First `rows` are inserted in random order, then `updates` go to them; of these, the share `deletions` deletes."""

    rows: int = 100_000
    updates: int = 400_000
    row_bytes: int = 1_000
    memtable_rows: int = 4_000
    pattern: str = "uniform"
    deletions: float = 0.0
    false_positive_rate: float = 0.004
    seed: int = 1

    def check(self) -> None:
        """Raise InvalidRequest for what cannot be simulated."""
        if self.rows < 1 or self.updates < 0 or self.row_bytes < 1 or self.memtable_rows < 1:
            raise InvalidRequest("a workload needs at least one row of one byte, and a memtable of one row")
        if self.rows + self.updates > 50_000_000:
            raise InvalidRequest(
                f"{self.rows + self.updates:,} writes are too many to simulate; choose at most 50,000,000"
            )
        if self.pattern not in PATTERNS:
            raise InvalidRequest(f"there is no pattern {self.pattern!r}; choose one of {', '.join(PATTERNS)}")
        if not 0 <= self.deletions <= 1 or not 0 <= self.false_positive_rate <= 1:
            raise InvalidRequest("deletions and the false-positive rate are shares, from 0 to 1")


@dataclass(frozen=True, slots=True)
class Sample:
    """The tree after one flush and the compactions that it led to."""

    writes: int
    tables: int
    write_amplification: float
    blocks_read: float
    space_amplification: float
    peak_space_amplification: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one policy. Means are over the samples."""

    policy: str
    samples: tuple[Sample, ...]
    flushes: int
    compactions: int
    written_bytes: int
    user_bytes: int

    @property
    def final(self) -> Sample:
        """The tree at the end."""
        return self.samples[-1]

    @property
    def write_amplification(self) -> float:
        """Bytes written to SSTables for each byte of the user's."""
        return self.written_bytes / self.user_bytes

    def mean(self, figure: Callable[[Sample], float]) -> float:
        """The mean of one figure of the samples."""
        return sum(map(figure, self.samples)) / len(self.samples)

    def peak(self, figure: Callable[[Sample], float]) -> float:
        """Its highest value."""
        return max(map(figure, self.samples))


@dataclass(frozen=True, slots=True)
class _Table:
    """An SSTable without values."""

    number: int
    puts: frozenset[int]
    deletions: frozenset[int]
    file_bytes: int

    def __contains__(self, row: int) -> bool:
        return row in self.puts or row in self.deletions


class Simulation:
    """One policy at work. `write` and `delete` rows, `flush` at the end, then look at `outcome`."""

    def __init__(self, workload: Workload, policy: str, settings: PolicySettings) -> None:
        self._workload = workload
        self._name = _usual_name(policy)
        self._policy = policy_named(self._name)
        self._settings = settings
        self._memtable: dict[int, bool] = {}
        self._tables: list[_Table] = []
        self._numbers = itertools.count(1)
        self._live: dict[int, None] = {}
        self._random = random.Random(f"reads {workload.seed}")
        self._samples: list[Sample] = []
        self._writes = self._user_bytes = self._written_bytes = 0
        self._flushes = self._compactions = 0

    def write(self, row: int, *, deletes: bool = False) -> None:
        """One write to one row."""
        self._memtable[row] = deletes
        self._writes += 1
        self._user_bytes += DELETION_BYTES if deletes else self._workload.row_bytes
        if deletes:
            self._live.pop(row, None)
        else:
            self._live[row] = None
        if len(self._memtable) >= self._workload.memtable_rows:
            self.flush()

    def flush(self) -> None:
        """Minor compaction of the memtable, then whatever the policy wants."""
        if not self._memtable:
            return
        deletions = frozenset(row for row, deletes in self._memtable.items() if deletes)
        self._tables.insert(0, self._written(frozenset(self._memtable) - deletions, deletions))
        self._memtable = {}
        self._flushes += 1
        peak = self._stored()
        while (plan := self._policy(self._sizes(), self._settings)) is not None:
            peak = max(peak, self._merge(plan))
        self._samples.append(self._sample(peak))

    def outcome(self) -> Outcome:
        """What came of it."""
        return Outcome(
            self._name, tuple(self._samples), self._flushes, self._compactions, self._written_bytes, self._user_bytes
        )

    def _merge(self, plan: CompactionPlan) -> int:
        """Put one table in the place of its inputs; returns the bytes stored while both are there."""
        start = [table.number for table in self._tables].index(plan.numbers[0])
        chosen = self._tables[start : start + len(plan.numbers)]
        puts: set[int] = set()
        deletions: set[int] = set()
        for table in reversed(chosen):  # From old to new, each laid over those before.
            puts |= table.puts
            puts -= table.deletions
            deletions |= table.deletions
            deletions -= table.puts
        before = self._stored()
        merged = self._written(frozenset(puts), frozenset() if plan.drops_deletions else frozenset(deletions))
        self._compactions += 1
        between = [merged] if merged.file_bytes else []
        self._tables[start : start + len(chosen)] = between
        return before + merged.file_bytes

    def _written(self, puts: frozenset[int], deletions: frozenset[int]) -> _Table:
        size = len(puts) * self._workload.row_bytes + len(deletions) * DELETION_BYTES
        self._written_bytes += size
        return _Table(next(self._numbers), puts, deletions, size)

    def _sizes(self) -> list[TableSize]:
        return [TableSize(f"{table.number:06}.sst", table.number, table.file_bytes) for table in self._tables]

    def _stored(self) -> int:
        return sum(table.file_bytes for table in self._tables)

    def _sample(self, peak: int) -> Sample:
        live = max(1, len(self._live) * self._workload.row_bytes)
        return Sample(
            writes=self._writes,
            tables=len(self._tables),
            write_amplification=self._written_bytes / self._user_bytes,
            blocks_read=self._blocks_read(),
            space_amplification=self._stored() / live,
            peak_space_amplification=peak / live,
        )

    def _blocks_read(self) -> float:
        """Mean blocks for a read of a live row: the one that holds it, and the Bloom filters' mistakes before it."""
        rate, total, reads = self._workload.false_positive_rate, 0.0, 0
        for _ in range(_READS_SAMPLED):
            row = self._random.randrange(self._workload.rows)
            place = next((place for place, table in enumerate(self._tables) if row in table), None)
            if row in self._live and place is not None:
                total += 1 + rate * place
                reads += 1
        return total / max(1, reads)


def simulate(workload: Workload, policy: str, settings: PolicySettings | None = None) -> Outcome:
    """Run a workload under a policy. The same seed gives the same writes to each policy. Raises InvalidRequest."""
    settings = settings or PolicySettings()
    check(workload, [policy], settings)
    simulation = Simulation(workload, policy, settings)
    for row, deletes in writes_of(workload):
        simulation.write(row, deletes=deletes)
    simulation.flush()
    return simulation.outcome()


def check(workload: Workload, policies: Sequence[str], settings: PolicySettings) -> None:
    """Raise InvalidRequest for what cannot be simulated."""
    workload.check()
    for policy in policies:
        policy_named(_usual_name(policy))
    if settings.fan_in < 2 or settings.max_tables < settings.fan_in:
        raise InvalidRequest(
            f"fan-in is {settings.fan_in} and max tables {settings.max_tables}; a merge takes at least 2 files, and "
            f"that many must be allowed to stand"
        )


def writes_of(workload: Workload) -> Iterator[tuple[int, bool]]:
    """The writes of a workload: (row, whether it is deleted)."""
    choice = random.Random(workload.seed)
    order = list(range(workload.rows))
    if workload.pattern != "sequential":
        choice.shuffle(order)
    for row in order:
        yield row, False
    rows = _updated_rows(workload, choice, order)
    for row in itertools.islice(rows, workload.updates):
        yield row, choice.random() < workload.deletions


def _usual_name(policy: str) -> str:
    name = policy.replace("-", "_")
    return _OTHER_NAMES.get(name, name)


def _updated_rows(workload: Workload, choice: random.Random, order: Sequence[int]) -> Iterator[int]:
    if workload.pattern == "sequential":
        yield from itertools.cycle(range(workload.rows))
    if workload.pattern == "uniform":
        while True:
            yield choice.randrange(workload.rows)
    shares = list(itertools.accumulate(1 / rank for rank in range(1, workload.rows + 1)))
    while True:
        place = bisect_left(shares, choice.random() * shares[-1])
        yield order[min(place, workload.rows - 1)]


COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
_WIDTH, _PANEL, _LEFT, _TOP, _GAP = 760, 170, 60, 60, 56


def plot(outcomes: Sequence[Outcome], title: str) -> str:
    """The outcomes as an SVG picture: write, read and space amplification over the writes, a line for each policy."""
    panels: list[tuple[str, Callable[[Sample], float]]] = [
        ("write amplification so far", lambda sample: sample.write_amplification),
        ("files that a scan merges", lambda sample: sample.tables),
        ("space amplification, at its peak", lambda sample: sample.peak_space_amplification),
    ]
    height = _TOP + len(panels) * (_PANEL + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14" font-weight="bold">{_escaped(title)}</text>',
    ]
    for number, outcome in enumerate(outcomes):
        x, colour = _LEFT + number * 150, COLOURS[number % len(COLOURS)]
        parts.append(f'<line x1="{x}" y1="36" x2="{x + 20}" y2="36" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 26}" y="40">{_escaped(outcome.policy)}</text>')
    for number, (label, figure) in enumerate(panels):
        parts += _panel(outcomes, label, figure, _TOP + number * (_PANEL + _GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(outcomes: Sequence[Outcome], label: str, figure: Callable[[Sample], float], top: int) -> Iterator[str]:
    most = _round_up(max(outcome.peak(figure) for outcome in outcomes))
    last = max(outcome.final.writes for outcome in outcomes)
    width, bottom = _WIDTH - _LEFT - 20, top + 16 + _PANEL
    yield f'<text x="{_LEFT}" y="{top + 8}">{_escaped(label)}</text>'
    for step in range(5):
        y = bottom - step * _PANEL / 4
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + width}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * step / 4:g}</text>'
    yield f'<text x="{_LEFT}" y="{bottom + 14}">0</text>'
    yield f'<text x="{_LEFT + width}" y="{bottom + 14}" text-anchor="end">{last:,} writes</text>'
    for number, outcome in enumerate(outcomes):
        points = " ".join(
            f"{_LEFT + width * sample.writes / last:.1f},{bottom - _PANEL * figure(sample) / most:.1f}"
            for sample in _thinned(outcome.samples)
        )
        colour = COLOURS[number % len(COLOURS)]
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    step = max(1, len(samples) // 1_000)
    return [*samples[:-1:step], samples[-1]]


def _round_up(value: float) -> float:
    """A round number at or above: 1, 2, 4 or 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(power * factor for factor in (1, 2, 4, 8, 10, 20) if power * factor >= value)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
