"""Moving whole trees into the cluster and out of it: many files at once, and nothing half-done under a final name.

The problem. A tree has thousands of small files, each of which costs a few round trips, and some large ones, each of
which fills a window of buffers. The idea: files go side by side, small ones many at a time because they wait for
answers (and those that are created at the same time share calls to the master), large ones few at a time because they
move bytes. So memory is bounded by the numbers below.

A tree is first written under a temporary name beside the target, as the client does with a single file, and the whole
gets its final name in one step at the end. Interrupted before that, what was written is removed; what a killed command
leaves, the master removes after a while (`master/maintenance/abandoned.py`). So a name that exists is complete.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

from cluster.interface import Cluster
from gfs.client import WRITING_PREFIX, Client
from runtime.errors import AlreadyExists, NotADirectory, NotFound, TabletopError, shown
from tabletop.progress import Meter
from tabletop.sources import SourceFile, Tree

SMALL_BYTES = 64 * 1024
SMALL_FILES_AT_ONCE = 64
FILES_AT_ONCE = 29
LARGE_BYTES = 1024 * 1024
LARGE_FILES_AT_ONCE = 3
CLEAN_UP_SECONDS = 15.0


async def put_tree(cluster: Cluster, tree: Tree, target: str, meter: Meter, *, replicas: int = 0) -> list[str]:
    """Store a tree as the new directory `target`, or a tree of one file "" as the new file `target`.

    Returns the paths of files that vanished from the tree meanwhile. Raises AlreadyExists, and what the client raises;
    then nothing is left.
    """
    vanished: list[str] = []
    client = cluster.client()
    await require_absent(client, target)
    if is_one_file(tree):
        # Under a temporary name until it is whole, also if it is small: what fails has certainly not happened.
        file = tree.files[0]
        await put_pieces(client, tree.pieces(file.path), target, meter, replicas=replicas, overwrite=False)
        meter.advance(files_done=1)
        return vanished
    async with temporary_directory(cluster, target) as temporary:
        for directory in tree.directories:
            await client.make_directory(f"{temporary}/{directory}")

        async def put(file: SourceFile) -> None:
            with _noted_if_gone(file, vanished):
                await put_file(client, tree, file, f"{temporary}/{file.path}", meter, replicas=replicas)

        await for_each_file(tree.files, put)
    return vanished


async def replace_files(cluster: Cluster, tree: Tree, target: str, meter: Meter, *, replicas: int = 0) -> list[str]:
    """Store a tree over what is at `target`: directories are kept, each file is replaced in one step of its own.

    Returns the paths of files that vanished from the tree meanwhile.
    """
    vanished: list[str] = []
    client = cluster.client()
    if not is_one_file(tree):
        await client.make_directory(target, parents=True)
    for directory in tree.directories:
        await client.make_directory(f"{target}/{directory}", parents=True)

    async def put(file: SourceFile) -> None:
        path = f"{target}/{file.path}" if file.path else target
        with _noted_if_gone(file, vanished):
            await put_file(client, tree, file, path, meter, replicas=replicas, overwrite=True)

    await for_each_file(tree.files, put)
    return vanished


@contextmanager
def _noted_if_gone(file: SourceFile, vanished: list[str]) -> Iterator[None]:
    """A file of a folder that is gone when its turn comes is left out; a single one that was asked for is an error."""
    try:
        yield
    except FileNotFoundError:
        if not file.path:
            raise
        vanished.append(file.path)


async def put_file(
    client: Client,
    tree: Tree,
    file: SourceFile,
    path: str,
    meter: Meter,
    *,
    replicas: int = 0,
    overwrite: bool = False,
) -> None:
    """Store one file of a tree; interrupted, nothing is left under `path`, or what was there before."""
    if file.size <= LARGE_BYTES:
        data = b"".join([piece async for piece in tree.pieces(file.path)])
        await client.write_file(path, data, overwrite=overwrite, replication_goal=replicas)
        meter.advance(bytes_done=len(data))
    else:
        await put_pieces(client, tree.pieces(file.path), path, meter, replicas=replicas, overwrite=overwrite)
    meter.advance(files_done=1)


async def put_pieces(
    client: Client, pieces: AsyncIterator[bytes], path: str, meter: Meter, *, replicas: int, overwrite: bool
) -> None:
    """Store a stream of bytes; it gets its name when it is complete."""
    async with await client.open(path, "wb", overwrite=overwrite, replication_goal=replicas) as stored:
        async for piece in pieces:
            await stored.write(piece)
            meter.advance(bytes_done=len(piece))


async def digest_of(client: Client, path: str, meter: Meter) -> str:
    """The SHA-256 of a stored file, in hexadecimal."""
    digest = hashlib.sha256()

    async def take(piece: memoryview) -> None:
        digest.update(piece)
        meter.advance(bytes_done=len(piece))

    await client.read_file_into(path, take)
    meter.advance(files_done=1)
    return digest.hexdigest()


async def for_each_file(files: Sequence[SourceFile], work: Callable[[SourceFile], Awaitable[None]]) -> None:
    """Do the work for every file, many at once; the first failure cancels the rest and is raised."""
    small = iter([file for file in files if file.size <= SMALL_BYTES])
    others = iter([file for file in files if SMALL_BYTES < file.size <= LARGE_BYTES])
    large = iter(sorted((file for file in files if file.size > LARGE_BYTES), key=lambda file: -file.size))

    async def drain(queue: Iterator[SourceFile]) -> None:
        for file in queue:
            await work(file)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(LARGE_FILES_AT_ONCE):
                group.create_task(drain(large))
            for _ in range(FILES_AT_ONCE):
                group.create_task(drain(others))
            for _ in range(SMALL_FILES_AT_ONCE):
                group.create_task(drain(small))
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def is_one_file(tree: Tree) -> bool:
    """Whether the tree is a single file without a folder around it."""
    return [file.path for file in tree.files] == [""]


@asynccontextmanager
async def temporary_directory(cluster: Cluster, target: str) -> AsyncIterator[str]:
    """A directory beside `target` that gets its name after the block, or is removed, with all in it, if the block fails
    or is cancelled: then nothing has happened, whatever the error said of a part of it."""
    client = cluster.client()
    parent = target.rpartition("/")[0]
    temporary = f"{parent}/{WRITING_PREFIX}{cluster.client_world.random.getrandbits(64):016x}"
    await client.make_directory(temporary)
    takes_its_name = False
    try:
        yield temporary
        takes_its_name = True
        await client.rename(temporary, target)
    except BaseException as error:
        # Cancelled once more, we go on cleaning up: it is bounded.
        clean_up = asyncio.ensure_future(_remove(client, temporary))
        while not clean_up.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(clean_up)
        if isinstance(error, TabletopError):
            error.message = error.message.replace(temporary, target)
            error.args = (error.message,)
            if not takes_its_name:
                error.definite = clean_up.result()
        raise


async def require_absent(client: Client, path: str) -> None:
    """Raise AlreadyExists if something is at `path`, NotFound or NotADirectory if it can have no place."""
    try:
        found = await client.stat(path)
    except NotFound:
        parent = path.rpartition("/")[0] or "/"
        await require_directory(client, parent, for_path=path)
        return
    kind = "directory" if found.is_directory else "file"
    raise AlreadyExists(
        f"there is already a {kind} {shown(path)}; use -f to replace what is in the way, or another name"
    )


async def require_directory(client: Client, path: str, *, for_path: str) -> None:
    """Raise NotFound or NotADirectory unless `path` is a directory."""
    try:
        found = await client.stat(path)
    except NotFound:
        raise NotFound(
            f"{shown(for_path)} has no place: there is no directory {shown(path)}; make it with `tabletop fs mkdir -p`"
        ) from None
    if not found.is_directory:
        raise NotADirectory(f"{shown(for_path)} has no place: {shown(path)} is a file, expected a directory")


async def _remove(client: Client, path: str) -> bool:
    """Returns whether it is gone."""
    try:
        async with asyncio.timeout(CLEAN_UP_SECONDS):
            await client.delete(path, recursive=True, immediately=True)
    except NotFound:
        return True
    except (TabletopError, TimeoutError):
        return False
    return True


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
