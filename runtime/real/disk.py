"""A node's disk in the real world: one folder, its files, and the errors of the operating system in our words.

Every operation but `sync` runs inline and never suspends, so that a coroutine over this disk can also be driven without
an event loop (the embedded tablet engine does that); `sync` uses a thread when a loop is running.

Invariant: no path leaves the folder.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import (
    AlreadyExists,
    Conflict,
    DirectoryNotEmpty,
    DiskFailure,
    InvalidRequest,
    IsADirectory,
    NoSpace,
    NotADirectory,
    NotFound,
    TabletopError,
    shown,
)
from runtime.real.aside import aside
from runtime.real.spreading import spread_folders_of
from runtime.world import Buffer, DiskUsage, OpenMode

_FLAGS: dict[OpenMode, int] = {
    "read": os.O_RDONLY,
    "update": os.O_RDWR,
    "create": os.O_RDWR | os.O_CREAT | os.O_EXCL,
    "replace": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
}

# At most this much in one system call. Linux caches larger writes in larger pages, and fresh memory of that size is
# expensive: writes of 4 MiB were measured at a fifth of the speed (ext4, Linux 6.18, a virtual machine).
LARGEST_WRITE_BYTES = 64 * 1024
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone does not reach the platter


class RealFile:
    """An open file of a `RealDisk`."""

    def __init__(self, path: str, descriptor: int, *, inline: bool = False) -> None:
        self.path = path
        self.descriptor = descriptor
        self._inline = inline
        self._end: int | None = None

    async def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end. Raises DiskFailure."""
        return self.read_now(offset, count)

    def read_now(self, offset: int, count: int) -> bytes:
        """As `read_at`, which never suspends."""
        try:
            data = os.pread(self.descriptor, count, offset)
        except OSError as error:
            raise error_of("read", self.path, error) from error
        if len(data) == count or not data:
            return data
        with translated("read", self.path):
            parts = [data]
            while data and (missing := count - sum(map(len, parts))):
                data = os.pread(self.descriptor, missing, offset + sum(map(len, parts)))
                parts.append(data)
            return b"".join(parts)

    async def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target`; returns the bytes read, fewer only at the end. Raises DiskFailure."""
        done = 0
        with translated("read", self.path):
            while done < len(target):
                got = os.preadv(self.descriptor, [target[done:]], offset + done)
                if got == 0:
                    break
                done += got
        return done

    async def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of `data`. Raises NoSpace or DiskFailure; a part may then be written."""
        self._write(offset, data)

    async def append(self, data: Buffer) -> int:
        """Write at the end; returns the offset. Raises NoSpace or DiskFailure; a part may then be written."""
        return self.append_now(data)

    def append_now(self, data: Buffer) -> int:
        """As `append`, which never suspends."""
        if self._end is None:
            with translated("look at", self.path):
                self._end = os.fstat(self.descriptor).st_size
        offset = self._end
        try:
            self._write(offset, data)
        except TabletopError:
            self._end = None
            raise
        return offset

    def _write(self, offset: int, data: Buffer) -> None:
        done, length = 0, len(data)
        try:
            if length <= LARGEST_WRITE_BYTES:
                done = os.pwrite(self.descriptor, data, offset)
            while done < length:
                done += os.pwrite(self.descriptor, memoryview(data)[done : done + LARGEST_WRITE_BYTES], offset + done)
        except OSError as error:
            raise error_of("write", self.path, error) from error
        if self._end is not None:
            self._end = max(self._end, offset + length)

    async def truncate(self, size: int) -> None:
        """Cut or extend with zeros. Raises NoSpace or DiskFailure."""
        with translated("truncate", self.path):
            os.ftruncate(self.descriptor, size)
        self._end = None

    async def size(self) -> int:
        """Length in bytes."""
        with translated("look at", self.path):
            return os.fstat(self.descriptor).st_size

    async def sync(self) -> None:
        """Wait until the bytes are on stable storage. Raises DiskFailure."""
        if self._inline:
            _sync_descriptor(self.descriptor, self.path)
        else:
            await aside(lambda: _sync_descriptor(self.descriptor, self.path))

    async def close(self) -> None:
        """Let go of the descriptor."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class RealDisk:
    """One folder. Paths are relative to it, with "/" between parts."""

    def __init__(self, root: str | os.PathLike[str], *, inline: bool = False) -> None:
        """`inline`: sync without a thread even while a loop is running, so that nothing ever suspends."""
        self._locks: dict[str, int] = {}
        self.root = Path(root)
        self._root = str(self.root)
        self._inline = inline
        with translated("create the folder", str(self.root)):
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except FileExistsError as error:
                raise NotADirectory(f"{self.root} is a file; a folder is expected here") from error

    async def open(self, path: str, mode: OpenMode) -> RealFile:
        """Open a file as `world.Disk.open` says."""
        full = self._full(path)
        with translated("open", full):
            descriptor = os.open(full, _FLAGS[mode] | os.O_CLOEXEC, 0o666)
        return RealFile(full, descriptor, inline=self._inline)

    async def make_directory(self, path: str, *, spread: bool = False) -> None:
        """Create a folder and its missing ancestors."""
        full = self._full(path)
        with translated("create the folder", full):
            os.makedirs(full, exist_ok=True)
        if spread:
            spread_folders_of(full)

    async def rename(self, source: str, target: str) -> None:
        """Rename in one step, replacing an existing file."""
        full = self._full(source)
        with translated("rename", full):
            os.replace(full, self._full(target))

    async def remove(self, path: str) -> None:
        """Remove a file or an empty folder."""
        full = self._full(path)
        with translated("remove", full):
            if os.path.isdir(full) and not os.path.islink(full):
                os.rmdir(full)
            else:
                os.unlink(full)

    async def list(self, path: str = "") -> list[str]:
        """Names, sorted."""
        full = self._full(path)
        with translated("list", full):
            return sorted(os.listdir(full))

    async def exists(self, path: str) -> bool:
        """Whether the name is there. Raises DiskFailure if nobody can tell."""
        full = self._full(path)
        try:
            os.stat(full)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise error_of("look for", full, error) from error
        return True

    async def size(self, path: str) -> int:
        """Length of a file, in bytes."""
        full = self._full(path)
        with translated("look at", full):
            return os.stat(full).st_size

    async def sync_directory(self, path: str = "") -> None:
        """Wait until the folder's names are on stable storage."""
        full = self._full(path)

        def work() -> None:
            with translated("sync the folder", full):
                descriptor = os.open(full, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    _sync_descriptor(descriptor, full)
                finally:
                    os.close(descriptor)

        if self._inline:
            work()
        else:
            await aside(work, full)

    async def usage(self) -> DiskUsage:
        """Space of the file system that the folder is on."""
        with translated("ask for free space in", str(self.root)):
            found = os.statvfs(self._root)
        return DiskUsage(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    async def lock(self, path: str) -> None:
        """Hold the folder by an advisory lock on its file LOCK, which ends with the process."""
        folder = self._full(path)
        with translated("lock", f"{folder}/LOCK"):
            descriptor = os.open(f"{folder}/LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise Conflict(
                f"{folder} is in use by another process (or opened twice by this one); close that one first"
            ) from error
        self._locks[path] = descriptor

    async def unlock(self, path: str) -> None:
        """Let go of the folder."""
        descriptor = self._locks.pop(path, None)
        if descriptor is not None:
            # Closing alone would leave the lock to a child of a fork, which has a descriptor of the same open file.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def let_go(self) -> None:
        """Let go of every folder at once: for a disk that nobody uses any more. In the child of a fork only the child's
        share ends: the parent holds its folders on."""
        while self._locks:
            os.close(self._locks.popitem()[1])

    def __del__(self) -> None:
        self.let_go()

    def _full(self, path: str) -> str:
        parts = [part for part in path.split("/") if part]
        if path.startswith("/") or ".." in parts or "\0" in path:
            raise InvalidRequest(f"{shown(path)} does not lie within the disk's folder {self.root}")
        return "/".join((self._root, *parts))


def names_in(root: str | os.PathLike[str]) -> list[str] | None:
    """The names in a folder, sorted, or None if there is none: for who looks before a `RealDisk` creates it.

    Raises NotADirectory for a file, DiskFailure."""
    with translated("look into", str(root)):
        try:
            return sorted(os.listdir(root))
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise NotADirectory(f"{root} is a file, or lies in one; a folder is expected here") from error


@contextmanager
def translated(verb: str, path: str) -> Iterator[None]:
    """Turn an OSError of the block into one of ours, saying what was tried on which path."""
    try:
        yield
    except OSError as error:
        raise error_of(verb, path, error) from error


_KINDS: dict[int, type[TabletopError]] = {
    errno.ENOENT: NotFound,
    errno.EEXIST: AlreadyExists,
    errno.ENOTEMPTY: DirectoryNotEmpty,
    errno.EISDIR: IsADirectory,
    errno.ENOTDIR: NotADirectory,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: NoSpace,
    errno.ENAMETOOLONG: InvalidRequest,
}

_ADVICE = {
    errno.ENOSPC: "; free some space on that disk and try again",
    errno.EDQUOT: "; your disk quota is used up",
    errno.EACCES: "; give this user the permission, or choose another folder",
    errno.EROFS: "; the file system is read-only, choose another folder",
    errno.EIO: "; look at the system's log, the disk may be failing",
    errno.EMFILE: "; raise the limit of open files (ulimit -n)",
}


def error_of(verb: str, path: str, error: OSError) -> TabletopError:
    """Our error for one of the operating system's."""
    number = error.errno or 0
    kind = _KINDS.get(number, DiskFailure)
    message = f"cannot {verb} {path}: {os.strerror(number) if number else error}{_ADVICE.get(number, '')}"
    definite = True if number in (errno.EACCES, errno.EROFS, errno.EPERM, errno.EMFILE) else None
    return kind(message, definite=definite)


def _sync_descriptor(descriptor: int, path: str) -> None:
    with translated("sync", path):
        if descriptor < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if _FULL_SYNC is not None:
            fcntl.fcntl(descriptor, _FULL_SYNC)
        else:
            os.fsync(descriptor)
