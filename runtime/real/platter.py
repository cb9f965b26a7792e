"""The stored bytes of a node, as whoever damages them on purpose sees them: behind the back of a server that may run.

The server's page cache and the file are one and the same on one machine, so that it reads the damage at once.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

from runtime.errors import InvalidRequest, NotFound
from runtime.real.disk import translated


class RealPlatter:
    """The files below a node's folder. Paths are relative to it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def stored(self, path: str) -> bytes:
        """What a file holds. Raises NotFound."""
        full = self._root / path
        with translated("read", str(full)):
            return full.read_bytes()

    def rot(self, path: str, offset: int, *, count: int = 1) -> None:
        """Flip all bits of `count` stored bytes. Raises NotFound, and InvalidRequest for bytes beyond the end."""
        self._change(path, offset, count, lambda old: bytes(byte ^ 0xFF for byte in old))

    def tear(self, path: str, offset: int, count: int) -> int:
        """Damage `count` bytes as a write that was cut off does: some of them stay, at least one and not all, and the
        rest becomes zeros. Returns how many stay. Raises as `rot`."""
        kept = min(count - 1, random.randint(1, max(1, count - 1)))
        self._change(path, offset, count, lambda old: old[:kept] + bytes(count - kept))
        return kept

    def _change(self, path: str, offset: int, count: int, change: Callable[[bytes], bytes]) -> None:
        full = self._root / path
        if not full.is_file():
            raise NotFound(f"{full}: no such file")
        with translated("damage", str(full)), full.open("r+b") as file:
            length = os.fstat(file.fileno()).st_size
            if not 0 <= offset < offset + count <= length:
                raise InvalidRequest(f"{full} has {length} bytes; there are no {count} at offset {offset}")
            file.seek(offset)
            old = file.read(count)
            file.seek(offset)
            file.write(change(old))
