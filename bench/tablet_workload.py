"""One contestant of the tablet engine's benchmark, measured in a process of its own.

    python -m bench.tablet_workload tabletop --rows 200000

writes, reads and scans, and prints what it found as one line of JSON. A process for each, so that memory is that
contestant's and one's heap does not slow the next. Values have 1000 random bytes that nobody can compress, keys 16.

How each figure comes about:

- Keys and values are made outside the clock, a thousand at a time, and answers are compared with what was written there
  too: `wrong` counts the rows that came back otherwise, or not at all.
- *Background work included* adds the time after the last write until the store has come to rest: for ours the merges
  that are due, for stores with threads until the process uses no CPU and writes nothing. All reads come after that.
- *Within the cache*: 5,000 rows, read twice before and four times for the measurement. *Larger than the cache*: rows of
  all that was written, each once. The operating system's page cache holds the files either way.
- *Short scans* give the first three rows from a random key on, *batched writes* are a thousand rows a call.
  *Overwritten*: a random fiftieth of the rows is written once more before the scan, and not merged yet.
- Python's garbage collector runs before each measurement, so that it is not charged for what earlier ones have left. It
  is on meanwhile, as it is for a program.
- Bytes written and read are the process's own, as Linux counts them at `read` and `write` (`/proc/self/io`), divided by
  those of the rows. A store that maps its files into memory, as LevelDB does to read them, is not seen reading.
- Memory is the process's anonymous memory at its peak, less that before a store was opened, sampled 50 times a second.
  Mapped files do not count. Elsewhere than on Linux it is the peak resident set.
"""

import argparse
import base64
import contextlib
import gc
import importlib
import itertools
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.tablet_contestants import MEBIBYTE, Contestant, Store, contestant_named

VALUE_BYTES = 1000
"""As long as a value is, if nothing else is asked for."""
KEY_BYTES = 16
POOL_BYTES = 16 * MEBIBYTE
READS = 20_000
HOT = 5_000
HOT_PASSES = 4
SHORT_SCANS = 2_000
SHORT_ROWS = 3
OVERWRITTEN_SHARE = 50

SEQUENTIAL = "sequential writes"
RANDOM = "random writes"
SETTLED = "random writes, background work included"
WARM = "random reads, within the cache"
COLD = "random reads, larger than the cache"
ABSENT = "absent keys, Bloom filter"
UNFILTERED = "absent keys, no filter"
SCAN = "scan"
SHORT = "scans of 3 rows"
OVERWRITTEN = "scan, 2 % overwritten"
BATCHED = "batched writes"
REOPEN = "reopenings, each with a first read"
RATES = (SEQUENTIAL, BATCHED, RANDOM, SETTLED, WARM, COLD, ABSENT, UNFILTERED, SCAN, OVERWRITTEN, SHORT, REOPEN)

WRITTEN = "write amplification"
READ = "read amplification"
SPACE = "space amplification"
FILES = "sorted files a read may ask"
BLOCKS = "blocks per random read"
ABSENT_BLOCKS = "blocks per 100 absent keys, Bloom filter"
UNFILTERED_BLOCKS = "blocks per 100 absent keys, no filter"
MEMORY = "peak memory"
PROCESSOR = "processor time, "
BATCHED_PROCESSOR = f"{PROCESSOR}a batched write"
RANDOM_PROCESSOR = f"{PROCESSOR}a random write"
COLD_PROCESSOR = f"{PROCESSOR}a random read, larger than the cache"
ABSENT_PROCESSOR = f"{PROCESSOR}an absent key, Bloom filter"
SCAN_PROCESSOR = f"{PROCESSOR}a row of a scan"
OVERWRITTEN_PROCESSOR = f"{PROCESSOR}a row of a scan, 2 % overwritten"
SHORT_PROCESSOR = f"{PROCESSOR}a scan of 3 rows"
PROCESSOR_TIMES = (
    BATCHED_PROCESSOR,
    RANDOM_PROCESSOR,
    COLD_PROCESSOR,
    ABSENT_PROCESSOR,
    SCAN_PROCESSOR,
    OVERWRITTEN_PROCESSOR,
    SHORT_PROCESSOR,
)
COSTS = (
    *PROCESSOR_TIMES,
    WRITTEN,
    READ,
    SPACE,
    FILES,
    BLOCKS,
    ABSENT_BLOCKS,
    UNFILTERED_BLOCKS,
    MEMORY,
)

_BATCH = 1000
_STRIDE = 4099
_SAMPLE_SECONDS = 0.02
_STEP_SECONDS = 0.05
_QUIET_SECONDS = 0.5
_QUIET_SHARE = 0.05
_LONGEST_SETTLING_SECONDS = 120


@dataclass(slots=True)
class Measured:
    """What one process found: rates a second (higher is better), costs (lower is better), and wrong answers."""

    rates: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Measured":
        """The other way."""
        return Measured(**json.loads(text))


class Spent:
    """The time that passes in `with` blocks, and the processor time of all threads meanwhile: that of other processes
    does not count."""

    def __init__(self) -> None:
        gc.collect()  # What was left by others is not charged to this one.
        self.seconds = 0.0
        self.processor_seconds = 0.0

    def __enter__(self) -> None:
        self._processor_begin, self._begin = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._begin
        self.processor_seconds += time.process_time() - self._processor_begin


class Rows:
    """The rows that are written, by number: nothing of them is kept but their order."""

    def __init__(self, rows: int, seed: int, contestant: Contestant, value_bytes: int = VALUE_BYTES) -> None:
        self.draw = random.Random(seed)
        self.rows = rows
        self.value_bytes = value_bytes
        noise = self.draw.randbytes(POOL_BYTES)
        self._pool: Any = base64.b64encode(noise).decode() if contestant.text_values else noise
        self._text_keys = contestant.text_keys

    def key(self, number: int) -> Any:
        """The key of a row."""
        return f"{number:016d}" if self._text_keys else b"%016d" % number

    def absent_key(self, number: int) -> Any:
        """A key that is not there, right behind that of a row."""
        return f"{number:016d}x" if self._text_keys else b"%016dx" % number

    def value(self, number: int) -> Any:
        """The value of a row."""
        place = number * _STRIDE % (POOL_BYTES - self.value_bytes)
        return self._pool[place : place + self.value_bytes]

    def shuffled(self) -> Sequence[int]:
        """All numbers in a random order; four bytes each."""
        numbers = array("I", range(self.rows))
        self.draw.shuffle(numbers)
        return numbers

    def some(self, count: int) -> list[int]:
        """Some numbers, each once."""
        return self.draw.sample(range(self.rows), min(count, self.rows))


class Memory:
    """Watches the process's memory from a thread."""

    def __init__(self) -> None:
        self._before = self._peak = resident_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def grown_bytes(self) -> int:
        """Stop watching; the peak, less what there was at the beginning."""
        self._stop.set()
        self._thread.join()
        return max(self._peak, resident_bytes()) - self._before

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, resident_bytes())


def resident_bytes() -> int:
    """The process's anonymous memory now; where that is not told, its resident set at its peak."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
        return int(text.partition("RssAnon:")[2].split(maxsplit=1)[0]) * 1024
    except (OSError, IndexError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def moved_bytes(kind: str) -> int | None:
    """Bytes that this process has read ("rchar") or written ("wchar"). None: the platform does not tell."""
    try:
        text = Path("/proc/self/io").read_text(encoding="ascii")
    except OSError:
        return None
    return int(text.partition(kind + ":")[2].split(maxsplit=1)[0])


def folder_bytes(folder: Path) -> int:
    """The length of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def wait_until_quiet() -> float:
    """Wait until the process's threads have come to rest; returns the seconds until they had."""
    begin = quiet_since = time.perf_counter()
    while time.perf_counter() - quiet_since < _QUIET_SECONDS:
        cpu, written = time.process_time(), moved_bytes("wchar")
        time.sleep(_STEP_SECONDS)
        if time.process_time() - cpu > _QUIET_SHARE * _STEP_SECONDS or moved_bytes("wchar") != written:
            quiet_since = time.perf_counter()
        if quiet_since - begin > _LONGEST_SETTLING_SECONDS:
            break
    return quiet_since - begin


class Course:
    """The course that a contestant runs. `found` is what has been measured so far."""

    def __init__(self, contestant: Contestant, rows: Rows, folder: Path) -> None:
        self._contestant = contestant
        self._rows = rows
        self._folder = folder
        self._filters = contestant.filters[0]
        self.found = Measured()

    def sequential(self) -> None:
        """Write in the order of the keys."""
        folder = self._folder / "sequential"
        store = self._contestant.make(folder, self._filters)
        self._note_writes(SEQUENTIAL, self._write(store, range(self._rows.rows)).seconds)
        store.close()
        shutil.rmtree(folder)

    def batched(self) -> None:
        """Write in a random order, many rows a call."""
        folder = self._folder / "batched"
        store, spent = self._contestant.make(folder, self._filters), Spent()
        for batch in _batches(self._rows.shuffled()):
            rows = [(self._rows.key(number), self._rows.value(number)) for number in batch]
            with spent:
                if not store.put_many(rows):
                    break
        else:
            self._note_writes(BATCHED, spent.seconds)
            self.found.costs[BATCHED_PROCESSOR] = spent.processor_seconds / self._rows.rows * 1e6
        store.close()
        shutil.rmtree(folder)

    def main(self, keep: Path | None = None) -> None:
        """Write in a random order, read, scan, reopen; count bytes meanwhile. `keep`: do it in this folder."""
        folder = keep or self._folder / "random"
        order = self._rows.shuffled()
        before = moved_bytes("wchar")
        store = self._contestant.make(folder, self._filters)
        spent = self._write(store, order)
        self._note_writes(RANDOM, spent.seconds)
        self.found.costs[RANDOM_PROCESSOR] = spent.processor_seconds / len(order) * 1e6
        self._note_writes(SETTLED, spent.seconds + _settled(store))
        self._reads(store)
        self.found.costs[FILES] = store.sorted_files()
        store.close()
        user_bytes = len(order) * (KEY_BYTES + self._rows.value_bytes)
        self._note_moved(WRITTEN, "wchar", before, user_bytes)
        self.found.costs[SPACE] = folder_bytes(folder) / user_bytes
        self._reopen(folder)
        if keep is None:
            self._overwritten(folder)

    def unfiltered(self) -> None:
        """Absent keys once more, in a store without Bloom filters."""
        if self._filters not in self._contestant.filters[:-1]:
            return
        folder = self._folder / "unfiltered"
        store = self._contestant.make(folder, False)
        self._write(store, self._rows.shuffled())
        _settled(store)
        self._absent(store, UNFILTERED, UNFILTERED_BLOCKS)
        store.close()
        shutil.rmtree(folder)

    def _write(self, store: Store, numbers: Sequence[int]) -> "Spent":
        """Write rows; returns the time within the store."""
        spent, put = Spent(), store.put
        key, value = self._rows.key, self._rows.value
        for batch in _batches(numbers):
            rows = [(key(number), value(number)) for number in batch]
            with spent:
                for row, content in rows:
                    put(row, content)
        return spent

    def _reads(self, store: Store) -> None:
        wanted, hot = self._rows.some(READS), self._rows.some(HOT)
        read, blocks = moved_bytes("rchar"), store.blocks_touched()
        self._read(store, COLD, wanted)
        self._note_moved(READ, "rchar", read, len(wanted) * self._rows.value_bytes)
        self._note_blocks(store, BLOCKS, blocks, len(wanted))
        for number in hot * 2:
            store.get(self._rows.key(number))
        self._read(store, WARM, hot * HOT_PASSES)
        label = (ABSENT, ABSENT_BLOCKS) if self._filters else (UNFILTERED, UNFILTERED_BLOCKS)
        self._absent(store, *label)
        self._scan(store, SCAN, SCAN_PROCESSOR)
        self._short_scans(store)

    def _read(self, store: Store, label: str, numbers: Sequence[int]) -> None:
        spent, wrong = Spent(), 0
        for batch in _batches(numbers):
            keys = [self._rows.key(number) for number in batch]
            with spent:
                answers = [store.get(key) for key in keys]
            wrong += sum(answer != self._rows.value(number) for number, answer in zip(batch, answers, strict=True))
        self._note_spent(label, COLD_PROCESSOR if label == COLD else None, len(numbers), spent)
        self._note_wrong(label, wrong)

    def _scan(self, store: Store, label: str, processor_label: str) -> None:
        spent = Spent()
        with spent:
            count = sum(1 for _, _ in store.scan())
        self._note_spent(label, processor_label, count, spent)
        self._note_wrong(label, abs(self._rows.rows - count))

    def _absent(self, store: Store, label: str, blocks_label: str) -> None:
        numbers = self._rows.some(READS)
        before, spent = store.blocks_touched(), Spent()
        keys = [self._rows.absent_key(number) for number in numbers]
        with spent:
            answers = [store.get(key) for key in keys]
        self._note_spent(label, ABSENT_PROCESSOR if label == ABSENT else None, len(numbers), spent)
        self._note_wrong(label, sum(answer is not None for answer in answers))
        self._note_blocks(store, blocks_label, before, len(numbers) / 100)

    def _short_scans(self, store: Store) -> None:
        starts = [min(number, self._rows.rows - SHORT_ROWS) for number in self._rows.some(SHORT_SCANS)]
        spent, wrong = Spent(), 0
        for batch in _batches(starts):
            keys, answers = [self._rows.key(number) for number in batch], []
            with spent:
                for key in keys:
                    scan = store.scan_from(key)
                    if scan is None:
                        return
                    answers.append(list(itertools.islice(scan, SHORT_ROWS)))
            for number, found in zip(batch, answers, strict=True):
                rows = range(number, number + SHORT_ROWS)
                wrong += found != [(self._rows.key(one), self._rows.value(one)) for one in rows]
        self._note_spent(SHORT, SHORT_PROCESSOR, len(starts), spent)
        self._note_wrong(SHORT, wrong)

    def _overwritten(self, folder: Path) -> None:
        store = self._contestant.make(folder, self._filters)
        self._write(store, self._rows.some(self._rows.rows // OVERWRITTEN_SHARE))
        self._scan(store, OVERWRITTEN, OVERWRITTEN_PROCESSOR)
        store.close()

    def _reopen(self, folder: Path) -> None:
        (number,) = self._rows.some(1)
        key = self._rows.key(number)
        begin = time.perf_counter()
        store = self._contestant.make(folder, self._filters)
        answer = store.get(key)
        self.found.rates[REOPEN] = 1 / (time.perf_counter() - begin)
        self._note_wrong(REOPEN, int(answer != self._rows.value(number)))
        store.close()

    def _note_writes(self, label: str, seconds: float) -> None:
        self.found.rates[label] = self._rows.rows / seconds

    def _note_spent(self, label: str, processor_label: str | None, operations: int, spent: "Spent") -> None:
        self.found.rates[label] = operations / spent.seconds
        if processor_label is not None:
            self.found.costs[processor_label] = spent.processor_seconds / operations * 1e6

    def _note_wrong(self, label: str, count: int) -> None:
        if count:
            self.found.wrong[label] = count

    def _note_moved(self, label: str, kind: str, before: int | None, user_bytes: int) -> None:
        after = moved_bytes(kind)
        if before is not None and after is not None and after - before >= user_bytes // 2:
            self.found.costs[label] = (after - before) / user_bytes

    def _note_blocks(self, store: Store, label: str, before: int | None, count: float) -> None:
        after = store.blocks_touched()
        if before is not None and after is not None:
            self.found.costs[label] = (after - before) / count


def _batches(numbers: Sequence[int]) -> Iterator[list[int]]:
    steps = iter(numbers)
    while batch := list(itertools.islice(steps, _BATCH)):
        yield batch


def _settled(store: Store) -> float:
    """Let the background work end; returns the seconds it took."""
    begin = time.perf_counter()
    return time.perf_counter() - begin if store.settle() else wait_until_quiet()


def measure(
    name: str,
    rows: int,
    seed: int,
    folder: Path,
    *,
    growth: bool,
    keep: Path | None = None,
    value_bytes: int = VALUE_BYTES,
) -> Measured:
    """Run the course, or of it what growth is about: random writes, and what follows them."""
    contestant = contestant_named(name)
    importlib.import_module(contestant.module)
    course = Course(contestant, Rows(rows, seed, contestant, value_bytes), folder)
    memory = Memory()
    if not growth:
        course.sequential()
        course.batched()
    course.main(keep)
    course.found.costs[MEMORY] = memory.grown_bytes() / MEBIBYTE
    if not growth:
        course.unfiltered()
    return course.found


def main() -> None:
    """Measure one contestant and print the line."""
    parser = argparse.ArgumentParser(prog="python -m bench.tablet_workload", description=__doc__)
    parser.add_argument("contestant")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--growth", action="store_true", help="only what follows random writes")
    parser.add_argument("--value-bytes", type=int, default=VALUE_BYTES)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the store there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder, contextlib.redirect_stdout(sys.stderr):
        found = measure(  # Some contestants talk, hence the redirection.
            options.contestant,
            options.rows,
            options.seed,
            Path(folder),
            growth=options.growth,
            keep=options.keep,
            value_bytes=options.value_bytes,
        )
    print(found.to_json(), flush=True)
    sys.stderr.flush()
    os._exit(0)  # Do not wait for threads that a contestant has left behind.


if __name__ == "__main__":
    main()
