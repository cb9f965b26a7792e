"""The block cache: decompressed SSTable blocks, or the heads of blocks that can be read in parts (BT 6).

It serves reads near those just made, forgets what was used longest ago, and is bounded in bytes. A block never changes,
so the cache is never wrong. `PinnedBlocks` is the same for in-memory locality groups, with a budget of its own.

>>> cache = BlockCache(limit_bytes=10_000)
>>> cache.get((1, 0)) is None, cache.figures
(True, CacheFigures(hits=0, misses=1, bytes=0, entries=0))
"""

from collections import OrderedDict
from dataclasses import dataclass

from tablet.engine.sstable.format import Block

BlockKey = tuple[int, int]
"""(the cache's number for the file, place of the block in the file)"""


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """How a cache does. `bytes` is what it is charged now."""

    hits: int
    misses: int
    bytes: int
    entries: int


class BlockCache:
    """Decompressed blocks, least recently used first out. A limit of 0 switches it off.

    `whole_blocks`: point reads put no heads here, but blocks.
    """

    def __init__(self, limit_bytes: int, *, whole_blocks: bool = False) -> None:
        self.limit_bytes = limit_bytes
        self.whole_blocks = whole_blocks
        self._blocks: OrderedDict[BlockKey, Block] = OrderedDict()
        self._files: dict[str, tuple[int, int]] = {}
        self._last_file = 0
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    def enter(self, path: str) -> int:
        """A file is opened; returns the number that its blocks have here. Whoever opens it too, perhaps another tablet
        that shares it, gets the same."""
        number, users = self._files.get(path, (0, 0))
        if not users:
            self._last_file = number = self._last_file + 1
        self._files[path] = number, users + 1
        return number

    def leave(self, path: str, blocks: int) -> None:
        """A file is closed; if nobody else has it open, its blocks go."""
        number, users = self._files[path]
        if users > 1:
            self._files[path] = number, users - 1
            return
        del self._files[path]
        self.forget_file(number, blocks)

    def get(self, key: BlockKey) -> Block | None:
        """The block, or None; counts either way."""
        block = self._blocks.get(key)
        if block is None:
            self._misses += 1
            return None
        self._hits += 1
        self._blocks.move_to_end(key)
        return block

    def put(self, key: BlockKey, block: Block) -> None:
        """Keep a block, in place of its head if that is here, and drop others for it."""
        blocks, charge = self._blocks, block.charged_bytes
        if charge > self.limit_bytes:
            return
        before = blocks.pop(key, None)
        if before is not None:
            self._bytes -= before.charged_bytes
        blocks[key] = block
        self._bytes += charge
        while self._bytes > self.limit_bytes:
            self._bytes -= blocks.popitem(last=False)[1].charged_bytes

    def forget_file(self, file_number: int, blocks: int) -> None:
        """Drop the blocks of a file that is no more."""
        for place in range(blocks):
            block = self._blocks.pop((file_number, place), None)
            if block is not None:
                self._bytes -= block.charged_bytes

    @property
    def figures(self) -> CacheFigures:
        """Hits, misses and size."""
        return CacheFigures(self._hits, self._misses, self._bytes, len(self._blocks))

    def check_invariants(self) -> None:
        """Assert that the books balance."""
        assert self._bytes == sum(block.charged_bytes for block in self._blocks.values())
        assert self._bytes <= self.limit_bytes or not self._blocks


class PinnedBlocks(BlockCache):
    """The blocks of in-memory locality groups: loaded when first needed, and kept for good, as long as all of them fit
    into the budget (BT 6)."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes, whole_blocks=True)
