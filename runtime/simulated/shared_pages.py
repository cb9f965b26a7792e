r"""A file's bytes in little memory: pages that are equal are kept once.

The problem. A simulation of a paper's cluster writes gigabytes, and a bytearray for each file would hold them all. The
idea: what such a simulation writes is the same few pages again and again. So a file is a list of pages of 64 KiB, and a
page that was written whole and equals one that was written lately is the very same object. Every byte is still there to
be read, checked and damaged: nothing of the servers knows the difference.

    disk.image = pool.image         # files that are made from now on share the pool's pages

>>> pool = PagePool()
>>> image = pool.image()
>>> image.extend(bytes(3 * PAGE_BYTES)); image[10:13] = b"abc"; bytes(image[9:14]), len(image), pool.kept(image)
(b'\x00abc\x00', 196608, 65536)

What we simplify. A page that was written in parts is a page of its own, even if it becomes equal to another.
"""

from typing import SupportsIndex, overload

from runtime.world import Buffer

PAGE_BYTES = 64 * 1024
_MOST_KNOWN = 4
_ZEROS = bytes(PAGE_BYTES)


class PagePool:
    """Pages that were written whole, the last few."""

    def __init__(self) -> None:
        self._known: list[bytes] = [_ZEROS]

    def image(self) -> "SharedPages":
        """An empty file."""
        return SharedPages(self)

    def shared(self, page: bytes) -> bytes:
        """This page, or the equal one that is known."""
        for known in self._known:
            if known == page:
                return known
        self._known.append(page)
        if len(self._known) > _MOST_KNOWN:
            del self._known[1]
        return page

    def kept(self, image: "SharedPages") -> int:
        """Bytes of an image that it shares with nobody."""
        return sum(PAGE_BYTES for page in image.pages if isinstance(page, bytearray))


class SharedPages:
    """Bytes as a bytearray has them, as far as files need it."""

    def __init__(self, pool: PagePool) -> None:
        self.pages: list[bytes | bytearray] = []  # each of PAGE_BYTES; what lies behind the length is zeros
        self._pool = pool
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return self[:]

    @overload
    def __getitem__(self, place: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> bytes: ...
    def __getitem__(self, place: SupportsIndex | slice) -> int | bytes:
        if not isinstance(place, slice):
            page, at = divmod(range(self._length)[place], PAGE_BYTES)
            return self.pages[page][at]
        begin, end, _ = place.indices(self._length)
        parts = []
        while begin < end:
            page, at = divmod(begin, PAGE_BYTES)
            until = min(PAGE_BYTES, at + end - begin)
            parts.append(self.pages[page] if until - at == PAGE_BYTES else self.pages[page][at:until])
            begin += until - at
        return b"".join(parts)

    @overload
    def __setitem__(self, place: SupportsIndex, value: int) -> None: ...
    @overload
    def __setitem__(self, place: slice, value: Buffer) -> None: ...
    def __setitem__(self, place: SupportsIndex | slice, value: int | Buffer) -> None:
        if isinstance(place, slice):
            begin, end, _ = place.indices(self._length)
            assert not isinstance(value, int)
            data = memoryview(value)
            assert begin + len(data) <= end or end == self._length, "bytes are not pushed apart"
            if begin + len(data) < end:  # As a bytearray does: what follows moves up.
                rest = self[end:]
                del self[begin:]
                data = memoryview(b"".join((data, rest)))
        else:
            begin = range(self._length)[place]
            assert isinstance(value, int)
            data = memoryview(bytes([value]))
        self._grow(begin + len(data))
        self._put(begin, data)

    def __delitem__(self, place: slice) -> None:
        """Cut the end off."""
        begin, end, _ = place.indices(self._length)
        assert end == self._length, "only the end of a file is cut off"
        if begin >= end:
            return
        del self.pages[-(-begin // PAGE_BYTES) :]
        if begin % PAGE_BYTES:
            self.pages[-1] = bytearray(self.pages[-1][: begin % PAGE_BYTES]).ljust(PAGE_BYTES, b"\0")
        self._length = begin

    def extend(self, data: Buffer) -> None:
        """Add at the end."""
        begin = self._length
        self._grow(begin + len(data))
        self._put(begin, memoryview(data))

    def _grow(self, length: int) -> None:
        self.pages += [_ZEROS] * (-(-length // PAGE_BYTES) - len(self.pages))
        self._length = max(self._length, length)

    def _put(self, begin: int, data: memoryview) -> None:
        done = 0
        while done < len(data):
            page, at = divmod(begin + done, PAGE_BYTES)
            part = data[done : done + PAGE_BYTES - at]
            if len(part) == PAGE_BYTES:
                self.pages[page] = self._pool.shared(bytes(part))
            else:
                own = self.pages[page]
                if not isinstance(own, bytearray):
                    own = self.pages[page] = bytearray(own)
                own[at : at + len(part)] = part
            done += len(part)
