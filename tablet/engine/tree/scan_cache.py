"""The scan cache: what all SSTables together say about a row, or about one column of it (BT 6).

It stands above the SSTables and serves reads of the same data again and again. If nothing that is not in SSTables can
change the answer, the newest value is kept beside it, and a read of it ends here. The cache forgets what was used
longest ago, and is bounded in bytes. It is told of each row that a new SSTable brings (`forget`); compactions change
files, not answers, and leave it alone.
"""

from collections import OrderedDict
from collections.abc import Callable, Container

from tablet.engine.model.fragments import Entries
from tablet.engine.sstable.block_cache import CacheFigures

_ENTRY_BYTES = 250
"""What a cached entry costs beside its bytes: tuples and a place in the cache."""
_NOTE_BYTES = 500
"""For each so many bytes of the scan cache, one row may be noted as missed once."""
ScanKey = tuple[str, bytes | None, bool]
"""(locality group, column, or None for the whole row, whether older versions may be missing)"""
_Kept = tuple[ScanKey, Entries, int, bytes | None, bytes | None]
"""(key, entries, charge; and, if known, the key's column and its newest value)"""


class ScanMemory:
    """The memory of the scan caches of several tablets. Each keeps its own rows; if there are too many bytes in all of
    them together, they give back their oldest entries in turn."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._caches: list[ScanCache] = []
        self._next = 0

    def join(self, cache: "ScanCache") -> None:
        """A tablet's cache takes part from here on."""
        self._caches.append(cache)

    def leave(self, cache: "ScanCache") -> None:
        """A tablet's cache, which is empty, takes part no more."""
        self._caches.remove(cache)

    @property
    def notes(self) -> int:
        """How many rows each cache may note as missed once."""
        return self.limit_bytes // _NOTE_BYTES // max(1, len(self._caches))

    def note(self, change: int) -> None:
        """A cache holds so many bytes more, or less."""
        self.bytes += change
        while self.bytes > self.limit_bytes:
            self._next = (self._next + 1) % len(self._caches)
            self._caches[self._next].drop_oldest()

    def check_invariants(self) -> None:
        """Assert that the books balance."""
        assert self.bytes == sum(cache.figures.bytes for cache in self._caches)
        assert self.bytes <= self.limit_bytes


class ScanCache:
    """What the SSTables of a group say about a row or one of its columns. A limit of 0 switches it off.

    What is read once is often never read again: a row is only noted at its first miss, and kept at its second.
    `knows(row)`: whether anything is kept of a row; counts neither as a hit nor as a miss.

    Invariant: if the newest value of a column is kept, no memtable speaks of its row, and the column's family has no
    version policy. Call `overtaken` after a write to a row, and `clear` after a schema change.
    """

    def __init__(self, limit_bytes: int, memory: ScanMemory | None = None) -> None:
        self.limit_bytes = limit_bytes if memory is None else min(limit_bytes, memory.limit_bytes)
        self._memory = memory
        if memory is not None:
            memory.join(self)
        self._rows: OrderedDict[bytes, _Kept] = OrderedDict()
        self._find = self._rows.get
        self._touch = self._rows.move_to_end
        self.knows: Callable[[object], bool] = self._rows.__contains__
        self._missed_once: dict[bytes, None] = {}
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    def get(self, row: bytes, key: ScanKey) -> Entries | None:
        """The entries, or None if they are not cached; an empty tuple is the knowledge that there are none."""
        found = self._rows.get(row)
        if found is None or found[0] != key:
            self._misses += 1
            return None
        self._hits += 1
        self._rows.move_to_end(row)
        return found[1]

    def newest(self, row: bytes, column: bytes) -> bytes | None:
        """The newest value of a column, if it is known here that it is; a caller that gets None asks further, so that
        only a hit counts."""
        find = self._find
        found = find(row)
        if found is None or found[3] != column:
            return None
        self._hits += 1
        self._touch(row)
        return found[4]

    def wants(self, row: bytes) -> bool:
        """Whether to keep what a read found that missed: not the first time, which is only noted."""
        noted = self._missed_once
        if row in self._rows:
            return True
        if row in noted:
            del noted[row]
            return True
        notes = self.limit_bytes // _NOTE_BYTES if self._memory is None else self._memory.notes
        if len(noted) >= notes:
            noted.clear()
        noted[row] = None
        return False

    def put(self, row: bytes, key: ScanKey, entries: Entries, newest: bytes | None = None) -> None:
        """Keep what a read found; of each row, the last thing that was asked. `newest`: the newest value of the key's
        column, if nothing but SSTables has a say in it."""
        charge = len(row) + _ENTRY_BYTES
        for column, _, _, value in entries:
            charge += len(column) + len(value) + _ENTRY_BYTES
        if charge * 16 > self.limit_bytes:
            return
        rows = self._rows
        before = rows.pop(row, None)
        if before is not None:
            self._charge(-before[2])
        rows[row] = (key, entries, charge, None if newest is None else key[1], newest)
        self._charge(charge)
        while self._bytes > self.limit_bytes:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Give back what was used longest ago, if there is anything."""
        if self._rows:
            self._charge(-self._rows.popitem(last=False)[1][2])

    def _charge(self, change: int) -> None:
        self._bytes += change
        if self._memory is not None:
            self._memory.note(change)

    def overtaken(self, row: bytes) -> None:
        """A memtable speaks of the row from here on. What the SSTables say stays as it is."""
        found = self._rows.get(row)
        if found is not None and found[3] is not None:
            self._rows[row] = (*found[:3], None, None)

    def forget(self, rows: Container[object]) -> None:
        """Drop rows that a new SSTable says something about."""
        for row in [row for row in self._rows if row in rows]:
            found = self._rows.pop(row, None)
            if found is not None:
                self._charge(-found[2])

    def settled_rows(self) -> list[bytes]:
        """The rows of which the newest value of a column is known."""
        return [row for row, found in self._rows.items() if found[3] is not None]

    def clear(self) -> None:
        """Drop everything."""
        self._rows.clear()
        self._missed_once.clear()
        self._charge(-self._bytes)

    def close(self) -> None:
        """Drop everything for good."""
        self.clear()
        if self._memory is not None:
            self._memory.leave(self)
            self._memory = None

    @property
    def figures(self) -> CacheFigures:
        """Hits, misses and size."""
        return CacheFigures(self._hits, self._misses, self._bytes, len(self._rows))

    def check_invariants(self) -> None:
        """Assert that the books balance."""
        assert self._bytes == sum(charge for _, _, charge, _, _ in self._rows.values())
        assert self._bytes <= self.limit_bytes or not self._rows
