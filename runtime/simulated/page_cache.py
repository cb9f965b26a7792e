"""What of a disk lies in its machine's memory, and so costs no time to read; for simulations that are about speed.

The problem. A server that verifies a block and then sends it reads it twice, and the second time it comes from the
kernel's page cache. A disk that charged both would be half as fast as any real one; and one that made a writer wait for
the platter would be slower still, since a write goes to the page cache and from there to the platter in the background.

The idea. With a page cache (`SimulatedDisk.page_cache`) a read takes time for those pages only that are not in it, and
a write occupies the disk but nobody waits for it: who reads or syncs next does.

>>> cache = PageCache(2 * PAGE_BYTES)
>>> cache.read("a", 0, PAGE_BYTES + 1), cache.read("a", 0, 10), cache.read("b", 0, 10), cache.read("a", 0, 10)
(131072, 0, 65536, 0)

What we simplify. Nothing is read ahead, and dirty pages are never too many.
"""

from collections import OrderedDict
from collections.abc import Hashable

PAGE_BYTES = 64 * 1024


class PageCache:
    """The pages that were used last, up to a number of bytes."""

    def __init__(self, capacity_bytes: int) -> None:
        self._most = max(1, capacity_bytes // PAGE_BYTES)
        self._pages: OrderedDict[tuple[Hashable, int], None] = OrderedDict()

    def read(self, content: Hashable, offset: int, count: int) -> int:
        """Use a range of a file's content; returns how many bytes of it come from the platter, whole pages."""
        missing = 0
        for page in range(offset // PAGE_BYTES, -(-(offset + count) // PAGE_BYTES)):
            if (content, page) in self._pages:
                self._pages.move_to_end((content, page))
            else:
                missing += PAGE_BYTES
                self._add((content, page))
        return missing

    def wrote(self, content: Hashable, offset: int, count: int) -> None:
        """A range was written: it can be read without the platter."""
        for page in range(offset // PAGE_BYTES, -(-(offset + count) // PAGE_BYTES)):
            self._add((content, page))

    def clear(self) -> None:
        """The machine has lost its memory."""
        self._pages.clear()

    def _add(self, key: tuple[Hashable, int]) -> None:
        self._pages[key] = None
        self._pages.move_to_end(key)
        if len(self._pages) > self._most:
            self._pages.popitem(last=False)
