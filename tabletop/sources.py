"""Folder trees to be stored: one on this machine's disk, one in the cluster, or one in memory (for tests in the
simulated world).

A tree is looked through before anything is stored, so that what cannot be stored is refused before anything changes.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path, PurePosixPath
from typing import Protocol

from gfs.client import Client
from runtime.errors import InvalidRequest, NotFound, shown

PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a tree: its path within it, with `/` between parts, and its length in bytes."""

    path: str
    size: int


class Tree(Protocol):
    """A folder tree. `directories` come before what is in them; both lists are sorted by path."""

    directories: list[str]
    files: list[SourceFile]

    def pieces(self, path: str) -> AsyncIterator[bytes]:
        """The bytes of one file, in pieces of up to 1 MB."""


class MemoryTree:
    """A tree in memory."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = dict(contents)
        self.files = [SourceFile(path, len(data)) for path, data in sorted(self._contents.items())]
        parents = {parent.as_posix() for path in self._contents for parent in PurePosixPath(path).parents}
        self.directories = sorted(parents - {"."})

    async def pieces(self, path: str) -> AsyncIterator[bytes]:
        """The bytes of one file."""
        data = self._contents[path]
        for start in range(0, len(data), PIECE_BYTES):
            yield data[start : start + PIECE_BYTES]


class LocalTree:
    """A folder on this machine, or a single file of it under the name ""."""

    def __init__(self, root: Path, directories: list[str], files: list[SourceFile], skipped: list[str]) -> None:
        self.root = root
        self.directories = directories
        self.files = files
        self.skipped = skipped

    async def pieces(self, path: str) -> AsyncIterator[bytes]:
        """The bytes of one file. Raises OSError, with the file's name."""
        place = self.root / path
        with named(place):
            file, piece = await asyncio.to_thread(_opened, place)
        with file:
            while piece:
                yield piece
                if len(piece) < PIECE_BYTES:
                    break
                with named(place):
                    piece = await asyncio.to_thread(_read, file)


def _opened(place: Path) -> tuple[RawIOBase, bytes]:
    """An open file and its first piece: for a small file, that is all."""
    file = place.open("rb", 0)
    try:
        return file, _read(file)
    except BaseException:
        file.close()
        raise


def _read(file: RawIOBase) -> bytes:
    """The next piece, shorter only at the end of the file."""
    parts: list[bytes] = []
    missing = PIECE_BYTES
    while missing and (part := file.read(missing)):
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What the system says while it reads or writes names no file: let it name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


class ClusterTree:
    """A directory of the cluster, or a single file of it under the name ""."""

    def __init__(self, client: Client, root: str, directories: list[str], files: list[SourceFile]) -> None:
        self._client = client
        self._root = root
        self.directories = directories
        self.files = files

    async def pieces(self, path: str) -> AsyncIterator[bytes]:
        """The bytes of one file. Raises what the client raises."""
        async with await self._client.open(f"{self._root}/{path}" if path else self._root) as file:
            while piece := await file.read(PIECE_BYTES):
                yield piece


def look_through(root: Path, *, ignore: Iterable[str] = ()) -> LocalTree:
    """A folder of this machine as a tree; `ignore` names folders to leave out wherever they are.

    Links to files are followed, links to folders are not, and what is neither file nor folder is skipped: `skipped`
    lists both. Raises InvalidRequest for a name that is not Unicode, and OSError for a folder that cannot be read.
    """
    ignored = frozenset(ignore)
    tree = LocalTree(root, [], [], [])
    for folder, inner, names in os.walk(root, onerror=_raise):
        inner[:] = sorted(name for name in inner if name not in ignored)
        for name in list(inner):
            path = _relative(root, Path(folder, name))
            if os.path.islink(os.path.join(folder, name)):
                inner.remove(name)
                tree.skipped.append(path)
            else:
                tree.directories.append(path)
        for name in names:
            path = _relative(root, Path(folder, name))
            found = os.stat(os.path.join(folder, name)) if os.path.exists(os.path.join(folder, name)) else None
            if found is not None and stat.S_ISREG(found.st_mode):
                tree.files.append(SourceFile(path, found.st_size))
            else:
                tree.skipped.append(path)
    tree.directories.sort()
    tree.files.sort(key=lambda file: file.path)
    return tree


def local_source(path: Path, *, ignore: Iterable[str] = ()) -> LocalTree:
    """A file or folder of this machine as a tree; a file is a tree of one file with the path "".

    Raises NotFound, and InvalidRequest for what is neither.
    """
    if "\0" in str(path):
        raise InvalidRequest(f"local path {shown(str(path))} contains a NUL character; leave it out")
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no local file or folder {shown(str(path))}; check the name") from None
    if stat.S_ISDIR(found.st_mode):
        return look_through(path, ignore=ignore)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidRequest(f"local path {shown(str(path))} is neither a file nor a folder; pipe it into `put - PATH`")
    return LocalTree(path, [], [SourceFile("", found.st_size)], [])


async def digests(tree: Tree) -> dict[str, str]:
    """The SHA-256 of every file of a tree, in hexadecimal, by path."""
    found = {}
    for file in tree.files:
        digest = hashlib.sha256()
        async for piece in tree.pieces(file.path):
            digest.update(piece)
        found[file.path] = digest.hexdigest()
    return found


def _relative(root: Path, path: Path) -> str:
    relative = path.relative_to(root).as_posix()
    try:
        relative.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest(f"the name of local file {str(path)!r} is not Unicode; rename it") from None
    return relative


def _raise(error: OSError) -> None:
    raise error
