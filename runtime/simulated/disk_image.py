"""What a file holds, twice: the bytes that programs see, and the bytes that the platter has.

A write is in the *cached* image at once. It reaches the *stable* one sector by sector: by a sync, or by the kernel's
background writeback when it has been unsynced for long enough. At a power cut each of the other sectors is lost, kept
or torn in the middle, as the tape decides, and so is a change of length.

Writeback is decided late. Nothing wakes up for it: when a sector that has waited for long is written again, and at a
power cut, it is reckoned whether the kernel has written it in the meantime.
"""

from collections.abc import Callable, Iterable, Iterator

from runtime.simulated.shared_pages import SharedPages
from runtime.simulated.tape import Stream
from runtime.world import Buffer

SECTOR_BYTES = 512

Image = bytearray | SharedPages
ImageMaker = Callable[[], Image]


class Content:
    """What one file holds, whatever its names: the cached bytes, the stable ones, and which sectors differ."""

    def __init__(self, image: ImageMaker = bytearray) -> None:
        self._image = image
        self.cached = image()
        self.stable = image()
        # Sectors that are not stable: the number of their last write, and the time of the first.
        self.dirty: dict[int, tuple[int, float]] = {}
        self.oldest = 0.0  # the earliest of these times, if there is one
        self.linked = True  # whether a name leads here
        self._writes = 0

    def write(self, offset: int, data: Buffer, now: float = 0.0) -> None:
        """Put bytes into the cached image, at this time in seconds."""
        if not len(data):
            return
        end = offset + len(data)
        if offset > len(self.cached):
            self._mark(len(self.cached), offset, now)
            self.cached.extend(bytes(offset - len(self.cached)))
        self.cached[offset:end] = data
        self._mark(offset, end, now)

    def truncate(self, size: int, now: float = 0.0) -> None:
        """Cut or extend the cached image, at this time in seconds."""
        old = len(self.cached)
        if size < old:
            del self.cached[size:]
        else:
            self.cached.extend(bytes(size - old))
        self._mark(min(old, size), max(old, size), now)

    def begin_sync(self) -> dict[int, tuple[int, float]]:
        """The sectors that a sync which begins now will make stable. What is written later needs another sync."""
        return dict(self.dirty)

    def fail_sync(self, covered: dict[int, tuple[int, float]]) -> None:
        """The sync has failed, and the kernel forgets that it still owes the platter these sectors."""
        for sector, mark in covered.items():
            if self.dirty.get(sector) == mark:
                del self.dirty[sector]

    def write_back(self, before: float) -> None:
        """The kernel has written what was first written at that time or earlier."""
        self.end_sync({sector: mark for sector, mark in self.dirty.items() if mark[1] <= before})
        self.oldest = min((since for _, since in self.dirty.values()), default=0.0)

    def end_sync(self, covered: dict[int, tuple[int, float]]) -> None:
        """The sync is done: the covered sectors are on the platter."""
        for begin, end in _runs(covered):
            if len(self.stable) < begin:
                self.stable.extend(bytes(begin - len(self.stable)))
            self.stable[begin:end] = self.cached[begin:end]
        self.fail_sync(covered)  # Nobody owes the platter these sectors any more.
        if len(self.stable) > len(self.cached):
            del self.stable[len(self.cached) :]

    def sync(self) -> None:
        """Make the cached image the stable one."""
        self.end_sync(self.begin_sync())

    def lose_power(self, tape: Stream | None) -> None:
        """Keep what is stable; each unsynced sector is lost, kept or torn, and so is a change of length. Without a tape
        all of it is lost."""
        survived = self._image()
        survived.extend(self.stable[:])
        if tape is not None:
            self._keep_some(survived, tape)
        self.cached = survived
        self.stable = self._image()
        self.stable.extend(survived[:])
        self.dirty.clear()

    def _keep_some(self, survived: Image, tape: Stream) -> None:
        for sector in self.dirty:
            begin = sector * SECTOR_BYTES
            piece = bytes(self.cached[begin : begin + SECTOR_BYTES])
            fate = tape.below(3)
            if fate == 0:
                continue
            kept = piece if fate == 1 else piece[: tape.below(len(piece) + 1)]
            if len(survived) < begin:
                survived.extend(bytes(begin - len(survived)))
            survived[begin : begin + len(kept)] = kept
        if len(self.cached) < len(survived) and tape.below(2) == 1:
            del survived[len(self.cached) :]

    def _mark(self, begin: int, end: int, now: float) -> None:
        self._writes += 1
        dirty, fresh = self.dirty, (self._writes, now)
        if not dirty:
            self.oldest = now
        for sector in range(begin // SECTOR_BYTES, -(-end // SECTOR_BYTES)):
            known = dirty.get(sector)
            dirty[sector] = fresh if known is None else (self._writes, known[1])


def _runs(sectors: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The byte ranges of sectors, those that follow one another in one.

    >>> list(_runs([0, 1, 2, 7]))
    [(0, 1536), (3584, 4096)]
    """
    first: int | None = None
    last = -1
    for sector in sectors:
        if first is not None and sector != last + 1:
            yield first * SECTOR_BYTES, (last + 1) * SECTOR_BYTES
            first = None
        first = sector if first is None else first
        last = sector
    if first is not None:
        yield first * SECTOR_BYTES, (last + 1) * SECTOR_BYTES
