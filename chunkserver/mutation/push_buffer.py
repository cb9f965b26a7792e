"""Pushed data that waits to be written (GFS 3.1 step 3).

The problem. Clients push data to every replica before they ask the primary to write it, and some never ask. The buffer
must hold what is about to be used, within a bound of memory. The idea is the paper's: least recently used data goes
first, and old data ages out.

An entry is in one of these states, and may be dropped in this order:

    used        applied by this server; kept for a moment, in case a reply was lost and the request comes again
    complete    all bytes have come; somebody will ask soon, or never
    arriving    bytes are still coming: never dropped
    pinned      a mutation is being made of it: never dropped

Complete data that has only just come is spared for a moment: when many clients push at once, it is better that a new
push waits (for the writes that free room) than that everybody's data is dropped before it is used.

Buffers of dropped entries are used again, the latest first, and little of what was used is kept: memory that is fresh,
or that has left the processor's caches, costs more than the checksums of what it is filled with.

>>> buffer = PushBuffer(limit_bytes=100)
>>> buffer.reserve((1, 1), 60, now=0.0) is not None
True
>>> buffer.reserve((1, 2), 60, now=0.0) is None
True
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import DataNotBuffered

SPARED_SECONDS = 2.0
USED_SECONDS = 2.0
_KEPT_BUFFERS = 8
_USED_SHARE = 12  # At most this part of the limit is taken by what was used.

DataKey = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Payload:
    """A mutation's bytes, which were verified, and the CRC32C of each 64 KiB of them."""

    data: memoryview
    checksums: Sequence[int]


@dataclass(slots=True)
class _Entry:
    memory: bytearray
    length: int
    checksums: Sequence[int]
    touched: float
    is_complete: bool = False
    is_used: bool = False
    pins: int = 0

    @property
    def is_droppable(self) -> bool:
        return self.is_complete and not self.pins

    @property
    def view(self) -> memoryview:
        return memoryview(self.memory)[: self.length]


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many complete entries left the buffer without ever having been used."""

    unused: int


class PushBuffer:
    """Entries by (client, number). Bounded by the bytes of memory that entries and spare buffers take."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.dropped_unused = 0
        self._entries: OrderedDict[DataKey, _Entry] = OrderedDict()
        self._used: dict[DataKey, int] = {}  # Bytes of memory by key, the oldest first.
        self._spare: list[bytearray] = []

    def __len__(self) -> int:
        return len(self._entries)

    def reserve(self, key: DataKey, length: int, *, now: float, checksums: Sequence[int] = ()) -> memoryview | None:
        """Room for data that is about to arrive and should have these checksums; None if there is none at this moment.

        The same key again replaces what there was, unless it is in use or arriving: then there is no room either.
        """
        present = self._entries.get(key)
        if present is not None:
            if not present.is_droppable:
                return None
            self._drop(key)
        if length > self.limit_bytes or not self._make_room(length, now):
            return None
        memory = self._memory(length)
        self.held_bytes += len(memory)
        entry = self._entries[key] = _Entry(memory, length, checksums, now)
        return entry.view

    def complete(self, key: DataKey, *, now: float) -> None:
        """All bytes have come, and they match their checksums."""
        entry = self._entries[key]
        entry.is_complete = True
        entry.touched = now
        self._entries.move_to_end(key)

    def abandon(self, key: DataKey) -> None:
        """The data did not arrive."""
        if key in self._entries:
            self._drop(key)

    def pin(self, key: DataKey, length: int) -> Payload:
        """The bytes, which stay until `unpin`. Raises DataNotBuffered."""
        entry = self._entries.get(key)
        if entry is None or not entry.is_complete or entry.length != length:
            found = "it holds nothing" if entry is None else f"{entry.length} bytes, complete: {entry.is_complete}"
            raise DataNotBuffered(
                f"piece {key[1]} of client {key[0]:#x} ({length} bytes) is not in the buffer ({found}); push it again"
            )
        entry.pins += 1
        return Payload(entry.view, entry.checksums)

    def unpin(self, key: DataKey, *, used: bool, now: float) -> None:
        """The mutation has been made (`used`), or not."""
        entry = self._entries[key]
        entry.pins -= 1
        entry.touched = now
        if used and not entry.is_used:
            entry.is_used = True
            self._entries.move_to_end(key, last=False)
            self._used[key] = len(entry.memory)
            self._drop_surplus_of_used()

    def drop_aged(self, now: float, age_seconds: float) -> int:
        """Drop what nobody asked for in so long, and what was used; returns how many were never used."""
        aged = [
            key
            for key, entry in self._entries.items()
            if entry.is_droppable and now - entry.touched > (USED_SECONDS if entry.is_used else age_seconds)
        ]
        before = self.dropped_unused
        for key in aged:
            self._drop(key)
        if not self._entries:
            self.held_bytes -= sum(map(len, self._spare))
            self._spare.clear()
        return self.dropped_unused - before

    def check_invariants(self) -> None:
        """Raise AssertionError if the byte count is wrong or exceeds the bound."""
        held = sum(len(entry.memory) for entry in self._entries.values()) + sum(map(len, self._spare))
        assert held == self.held_bytes <= self.limit_bytes
        assert list(self._used) == [key for key in self._used if self._entries[key].is_used]
        assert all(entry.pins >= 0 and entry.length <= len(entry.memory) for entry in self._entries.values())

    def _make_room(self, length: int, now: float) -> bool:
        """Drop entries, the least valuable first, until `length` bytes fit (or a spare buffer does)."""
        while self.held_bytes + length > self.limit_bytes:
            if any(_suits(spare, length) for spare in self._spare):
                return True
            if self._spare:
                self.held_bytes -= len(self._spare.pop(0))
                continue
            victim = next((key for key, entry in self._entries.items() if self._may_go(entry, now)), None)
            if victim is None:
                return False
            self._drop(victim)
        return True

    def _may_go(self, entry: _Entry, now: float) -> bool:
        return entry.is_droppable and (entry.is_used or now - entry.touched >= SPARED_SECONDS)

    def _drop_surplus_of_used(self) -> None:
        surplus = sum(self._used.values()) - self.limit_bytes // _USED_SHARE
        for key in list(self._used)[:-1]:
            if surplus <= 0:
                break
            if self._entries[key].is_droppable:
                surplus -= self._used[key]
                self._drop(key)

    def _drop(self, key: DataKey) -> None:
        entry = self._entries.pop(key)
        self._used.pop(key, None)
        if entry.is_complete and not entry.is_used:
            self.dropped_unused += 1
        if len(self._spare) < _KEPT_BUFFERS:
            self._spare.append(entry.memory)
        else:
            self.held_bytes -= len(entry.memory)

    def _memory(self, length: int) -> bytearray:
        """A spare buffer that is not much too large, or a new one. Its bytes are not counted as held any more."""
        for place in reversed(range(len(self._spare))):
            if _suits(self._spare[place], length):
                memory = self._spare.pop(place)
                self.held_bytes -= len(memory)
                return memory
        return bytearray(length)


def _suits(spare: bytearray, length: int) -> bool:
    """Whether a buffer is large enough, and not much too large."""
    return length <= len(spare) <= 2 * length + 4096
