"""What was acknowledged, and what was answered: kept beside a cluster while work is done on it.

An operation that failed leaves a doubt: it may have happened or not, unless the error is definite. What is in doubt is
nobody's promise, so the ledger does not judge it.
"""

from collections.abc import Awaitable
from typing import Any

from cluster.cords.image import CHUNK_BYTES, RECORDS, Image
from gfs.client import Client
from runtime.errors import NotFound, TabletopError

_MOST_UNREAD = 2


class Ledger:
    """`files` and `records` are acknowledged. `wrong` are answers that no promise allows, `lost` are promises of which
    an answer said that they are not kept, `failed` operations that were not done, `unread` what could not be read."""

    def __init__(self, image: Image) -> None:
        self.files: dict[str, bytes] = dict(image.files)
        self.directories: dict[str, None] = dict.fromkeys(image.directories)
        self.records: dict[int, bytes] = dict(image.records)
        self.wrong: list[str] = []
        self.lost: list[str] = []
        self.failed: list[str] = []
        self.unread: list[str] = []
        self._doubtful: dict[str, list[tuple[int, int]]] = {}
        self._doubtful_names: dict[str, None] = {}

    async def does(self, what: str, work: Awaitable[Any]) -> bool:
        """Wait for an operation; whether it was acknowledged."""
        try:
            await work
        except TabletopError as error:
            self.failed.append(f"{what}: {type(error).__name__}: {error.message}")
            return False
        return True

    def is_kept(self, path: str, index: int, stored: bytes) -> bool:
        """Whether a stored replica of a chunk has all that was acknowledged of it."""
        begin, end = index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES
        if path == RECORDS:
            kept = {offset - begin: record for offset, record in self.records.items() if begin <= offset < end}
            return all(stored[offset : offset + len(record)] == record for offset, record in kept.items())
        if path not in self.files:
            return True
        expected = self.files[path]
        shifted = [(one - begin, other - begin) for one, other in self._doubtful.get(path, [])]
        return _is_allowed(expected[begin:end], stored, shifted)

    def doubt(self, path: str, begin: int = 0, end: int = 1 << 62) -> None:
        """These bytes of a file may be old or new."""
        self._doubtful.setdefault(path, []).append((begin, end))

    def doubt_name(self, path: str) -> None:
        """Whether there is such an entry is open."""
        self._doubtful_names[path] = None

    async def check(self, client: Client, *, names: bool = True) -> None:
        """Read all that was acknowledged, and compare; when two reads have failed, the rest is not tried."""
        for path, expected in self.files.items():
            if len(self.unread) >= _MOST_UNREAD:
                return
            found = await self._read(client, path)
            if found is not None and not _is_allowed(expected, found, self._doubtful.get(path, [])):
                self.wrong.append(f"{path}: {_difference(expected, found)}")
        found = await self._read(client, RECORDS)
        if found is not None:
            for offset, record in self.records.items():
                if found[offset : offset + len(record)] != record:
                    self.wrong.append(f"the record at {offset}: {_difference(record, found[offset:])}")
        if names:
            await self._check_directories(client)

    async def _read(self, client: Client, path: str) -> bytes | None:
        try:
            return await client.read_file(path)
        except NotFound as error:
            if path not in self._doubtful_names:
                self.lost.append(f"{path}: {error.message}")
        except TabletopError as error:
            self.unread.append(f"{path}: {type(error).__name__}: {error.message}")
        return None

    async def _check_directories(self, client: Client) -> None:
        try:
            found = {status.path for status in await client.list("/", recursive=True)}
        except TabletopError as error:
            self.unread.append(f"the names: {type(error).__name__}: {error.message}")
            return
        missing = [path for path in self.directories if path not in found and path not in self._doubtful_names]
        if missing:
            self.lost.append(f"{len(missing)} directories are not there, {missing[0]} is the first")


def _is_allowed(expected: bytes, found: bytes, doubtful: list[tuple[int, int]]) -> bool:
    if not doubtful:
        return expected == found
    longest = max(len(expected), len(found))
    one, other = expected.ljust(longest, b"\0"), found.ljust(longest, b"\0")
    return all(one[at] == other[at] or any(begin <= at < end for begin, end in doubtful) for at in range(longest))


def _difference(expected: bytes, found: bytes) -> str:
    if len(found) < len(expected):
        return f"{len(found)} bytes, expected {len(expected)}"
    place = next((at for at, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), None)
    return f"{len(found)} bytes, expected {len(expected)}" if place is None else f"another byte at {place}"
