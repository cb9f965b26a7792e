"""The memory that the tablets of a server have together, and the turns that their background work takes (BT 6).

The problem. A hundred tablets with a cache and a memtable each would need a hundred times the memory of one, and most
of it would lie idle: a few tablets are busy at any time, and nobody knows before which.

The idea. There is one budget, and each tablet takes of it what it needs. Blocks of all tablets lie in one block cache.
Each tablet has a scan cache of its own, for its rows, while their bytes are counted together: if there are too many,
the tablets give back their oldest entries in turn. Memory for memtables is *reserved* before it is used, in pieces;
when nothing is left, the tablet with the most in memory is flushed, by the writer that needs room. And of flushes and
of compactions only a few run at a time, for each has its buffers; who waits longest goes next.

Invariants: (1) no more is reserved for memtables than the limit, but for what a log brought back at an opening, until
`shrink`; (2) a tablet's memtables hold at most what it has reserved, and the writes that are under way; (3) the scan
caches together hold at most their limit.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from runtime.errors import InvalidRequest, TabletopError
from tablet.engine.sstable.block_cache import BlockCache, PinnedBlocks
from tablet.engine.tree.scan_cache import ScanMemory
from tablet.engine.world.options import Options

_PIECES = 8
"""A tablet reserves memory in pieces of this part of its even share."""
_SMALLEST_PIECE = 1024
_SMALLEST_BUDGET = 2 * _SMALLEST_PIECE


@dataclass(frozen=True, slots=True)
class BudgetFigures:
    """What is used now, in bytes, of how much. `reserved_bytes`: for memtables, used or not."""

    block_cache_bytes: int
    block_cache_limit: int
    pinned_bytes: int
    pinned_limit: int
    scan_cache_bytes: int
    scan_cache_limit: int
    memtable_bytes: int
    reserved_bytes: int
    memtable_limit: int

    @property
    def used_bytes(self) -> int:
        """All together."""
        caches = self.block_cache_bytes + self.pinned_bytes + self.scan_cache_bytes
        return caches + max(self.memtable_bytes, self.reserved_bytes)

    @property
    def limit_bytes(self) -> int:
        """All together."""
        return self.block_cache_limit + self.pinned_limit + self.scan_cache_limit + self.memtable_limit


class Share:
    """What one tablet has of the memory for memtables. `used` says how much is in them, `changed` is called when it has
    more or less, `flush` puts all of it into SSTables."""

    def __init__(
        self,
        memory: "MemtableMemory",
        used: Callable[[], int],
        changed: Callable[[], None],
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self.reserved_bytes = 0
        self.used = used
        self.changed = changed
        self.flush = flush
        self._memory = memory

    def used_bytes(self) -> int:
        """How much is in the tablet's memtables."""
        return self.used()

    def extend(self) -> bool:
        """Reserve a piece more than is used; whether there was room."""
        return self._memory.extend(self)

    def trim(self) -> None:
        """Give back what is not used: a flush has ended."""
        self._memory.trim(self)

    async def make_room(self) -> None:
        """Reserve a piece more than is used, when others have been flushed for it. Raises NoSpace, DiskFailure."""
        await self._memory.make_room(self)

    def leave(self) -> None:
        """Give everything back: the tablet is closed."""
        self._memory.leave(self)


class MemtableMemory:
    """The memory for the memtables of all tablets."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.reserved_bytes = 0
        self._shares: dict[Share, None] = {}
        self._making_room = asyncio.Lock()

    def join(self, used: Callable[[], int], changed: Callable[[], None], flush: Callable[[], Awaitable[None]]) -> Share:
        """A tablet takes part from here on, with what it has in memory already."""
        share = Share(self, used, changed, flush)
        self._shares[share] = None
        self._reserve(share, used())
        return share

    @property
    def used_bytes(self) -> int:
        """What is in the memtables."""
        return sum(share.used() for share in self._shares)

    @property
    def piece_bytes(self) -> int:
        """How much is reserved at a time."""
        return max(_SMALLEST_PIECE, self.limit_bytes // (_PIECES * max(1, len(self._shares))))

    def extend(self, share: Share) -> bool:
        """See `Share.extend`."""
        if share not in self._shares:
            return True  # Its tablet was closed while a writer waited for room: that write is refused.
        wanted = share.used() + self.piece_bytes
        if self.reserved_bytes - share.reserved_bytes + wanted > self.limit_bytes:
            return False
        self._reserve(share, wanted)
        return True

    def trim(self, share: Share) -> None:
        """See `Share.trim`."""
        if share in self._shares:
            self._reserve(share, min(share.reserved_bytes, share.used()))

    def leave(self, share: Share) -> None:
        """See `Share.leave`."""
        self._reserve(share, 0)
        self._shares.pop(share, None)

    async def make_room(self, share: Share) -> None:
        """See `Share.make_room`. Who asks first is served first."""
        async with self._making_room:
            for other in self._shares:
                self.trim(other)
            await self._flush_until(lambda: self.extend(share), share)

    async def shrink(self) -> None:
        """Flush tablets until what is in memory fits: a log may have brought back more. Raises NoSpace, DiskFailure."""
        async with self._making_room:
            await self._flush_until(lambda: self.reserved_bytes <= self.limit_bytes)

    async def _flush_until(self, is_enough: Callable[[], bool], asking: Share | None = None) -> None:
        """Flush the tablet with the most in memory, and again. One that cannot be flushed is passed over; the trouble
        is raised if it is the asking one's, or if nobody is left."""
        passed_over: list[Share] = []
        trouble: TabletopError | None = None
        while not is_enough():
            others = [share for share in self._shares if share not in passed_over and share.used()]
            if not others:
                if trouble is not None:
                    raise trouble
                await asyncio.sleep(0)  # Who is being closed will give back what it has.
                return
            largest = max(others, key=Share.used_bytes)
            before = largest.used()
            try:
                await largest.flush()
            except TabletopError as error:
                if largest is asking:
                    raise
                trouble = error
            if largest.used() >= before:
                passed_over.append(largest)
            self.trim(largest)

    def check_invariants(self) -> None:
        """Assert that the books balance."""
        assert self.reserved_bytes == sum(share.reserved_bytes for share in self._shares)

    def _reserve(self, share: Share, wanted: int) -> None:
        self.reserved_bytes += wanted - share.reserved_bytes
        share.reserved_bytes = wanted
        share.changed()


class Budget:
    """What tablets share. `turns`: so many flushes, and so many compactions, run at a time."""

    def __init__(
        self,
        *,
        block_cache_bytes: int,
        pinned_bytes: int,
        scan_cache_bytes: int,
        memtable_bytes: int,
        whole_blocks: bool = False,
        turns: int = 2,
    ) -> None:
        if memtable_bytes < _SMALLEST_BUDGET:
            raise InvalidRequest(f"{memtable_bytes} bytes for memtables are too few; give {_SMALLEST_BUDGET} or more")
        self.block_cache = BlockCache(block_cache_bytes, whole_blocks=whole_blocks)
        self.pinned_blocks = PinnedBlocks(pinned_bytes)
        self.scan_memory = ScanMemory(scan_cache_bytes)
        self.memtables = MemtableMemory(memtable_bytes)
        self.flush_turns = asyncio.Semaphore(turns)
        self.compaction_turns = asyncio.Semaphore(turns)

    @classmethod
    def of(cls, options: Options, *, turns: int = 2) -> "Budget":
        """As much for all tablets together as one has by these options."""
        return cls(
            block_cache_bytes=options.block_cache_bytes,
            pinned_bytes=options.pinned_bytes,
            scan_cache_bytes=options.scan_cache_bytes,
            memtable_bytes=options.memtable_bytes * (1 + options.frozen_memtables),
            whole_blocks=options.whole_blocks,
            turns=turns,
        )

    def figures(self) -> BudgetFigures:
        """What is used now."""
        blocks, pinned = self.block_cache.figures, self.pinned_blocks.figures
        return BudgetFigures(
            block_cache_bytes=blocks.bytes,
            block_cache_limit=self.block_cache.limit_bytes,
            pinned_bytes=pinned.bytes,
            pinned_limit=self.pinned_blocks.limit_bytes,
            scan_cache_bytes=self.scan_memory.bytes,
            scan_cache_limit=self.scan_memory.limit_bytes,
            memtable_bytes=self.memtables.used_bytes,
            reserved_bytes=self.memtables.reserved_bytes,
            memtable_limit=self.memtables.limit_bytes,
        )

    def check_invariants(self) -> None:
        """Assert that the books balance."""
        self.memtables.check_invariants()
        self.block_cache.check_invariants()
        self.scan_memory.check_invariants()
