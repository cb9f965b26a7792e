"""The world that a server stands on: interfaces only.

A server is handed a `World` and asks nothing else of its surroundings. `real/` and `simulated/` implement these
protocols, and one conformance suite runs against both.

Plain asyncio (tasks, events, locks, `asyncio.timeout`, queues) works in both worlds and is used directly. Threads,
executors, sockets, subprocesses and signals belong to the real world alone.

Files: all offsets and counts are bytes. The disk is one folder, paths are relative to it, with `/` between parts.
A write is *durable* only after `File.sync`, a created, renamed or removed name only after `Disk.sync_directory` of its
folder: the simulated disk takes this literally at a power cut.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import grpc.aio

from runtime.events import EventLog

T = TypeVar("T")
Buffer = bytes | bytearray | memoryview


class Clock(Protocol):
    """One node's clock. In the simulated world it may run ahead, behind, fast or slow."""

    def now(self) -> float:
        """Seconds since some moment; never goes back. For leases and timeouts."""

    def wall_microseconds(self) -> int:
        """Microseconds since the epoch, as this node believes. For timestamps that people see."""

    async def sleep(self, seconds: float) -> None:
        """Wait for as long as this node's clock needs to advance by `seconds`."""


class Random(Protocol):
    """The part of `random.Random` that servers use."""

    def random(self) -> float:
        """A float in [0, 1)."""

    def getrandbits(self, bits: int, /) -> int:
        """An integer of so many random bits."""

    def randrange(self, start: int, stop: int, /) -> int:
        """An integer in [start, stop)."""

    def uniform(self, low: float, high: float, /) -> float:
        """A float between the two."""

    def shuffle(self, items: list[Any], /) -> None:
        """Put the items in a random order, in place."""


class File(Protocol):
    """An open file. Every method raises DiskFailure, NoSpace or Corrupted, with the path in the message."""

    path: str

    async def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer only at the end of the file."""

    async def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target` from `offset`; returns the bytes read, fewer than its length only at the end of the file."""

    async def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of `data`; a gap between the old end and `offset` reads as zeros."""

    async def append(self, data: Buffer) -> int:
        """Write all of `data` at the end; returns the offset where it begins."""

    async def truncate(self, size: int) -> None:
        """Cut or extend (with zeros) to `size` bytes."""

    async def size(self) -> int:
        """The file's length in bytes."""

    async def sync(self) -> None:
        """Return when the file's bytes and length are on stable storage."""

    async def close(self) -> None:
        """Let go of the file. Closing twice is harmless. Does not sync."""


OpenMode = Literal["read", "update", "create", "replace"]


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Space on a node's disk, in bytes."""

    total_bytes: int
    free_bytes: int


class Disk(Protocol):
    """One node's folder."""

    async def open(self, path: str, mode: OpenMode) -> File:
        """Open a file: `read` and `update` need it to exist (NotFound), `create` needs it not to (AlreadyExists),
        `replace` empties or creates it. The folder must exist (NotFound)."""

    async def make_directory(self, path: str, *, spread: bool = False) -> None:
        """Create a folder and its missing ancestors; an existing one is fine. `spread`: the folders that will be made
        in it have nothing to do with one another, and may lie apart on the disk. That is a hint."""

    async def rename(self, source: str, target: str) -> None:
        """Give a file or folder another name in one step; an existing target file is replaced. NotFound."""

    async def remove(self, path: str) -> None:
        """Remove a file, or an empty folder. NotFound, DirectoryNotEmpty."""

    async def list(self, path: str = "") -> list[str]:
        """Names in a folder, sorted. NotFound."""

    async def exists(self, path: str) -> bool:
        """Whether there is a file or folder by that name."""

    async def size(self, path: str) -> int:
        """A file's length in bytes. NotFound."""

    async def sync_directory(self, path: str = "") -> None:
        """Return when the folder's names are on stable storage."""

    async def usage(self) -> DiskUsage:
        """Total and free space."""

    async def lock(self, path: str) -> None:
        """Hold this folder until `unlock` or the node's end; Conflict if another live node, or this one, holds it."""

    async def unlock(self, path: str) -> None:
        """Let go of a folder that this node holds; harmless if it does not."""


class ByteStream(Protocol):
    """A connection for bulk bytes. Every method raises Unavailable when the other side is gone."""

    peer: str

    async def read_exactly(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises EOFError if the other side closed at a clean end, before the first byte."""

    async def read_into(self, target: memoryview) -> None:
        """Fill `target` completely."""

    async def write(self, data: Buffer) -> None:
        """Send all of `data`; returns when the stream may take more. The buffer may be reused afterwards."""

    async def send_file(self, file: File, offset: int, count: int) -> None:
        """Send `count` bytes of a file, by the kernel where the world allows."""

    async def close(self) -> None:
        """End the stream in good order after what was written. Closing twice is harmless."""

    def abort(self) -> None:
        """Drop the connection at once."""


class Listener(Protocol):
    """An open door for bulk streams."""

    address: str

    async def close(self) -> None:
        """Accept no more; streams already accepted live on."""


class RpcServer(Protocol):
    """The part of `grpc.aio.Server` that servers use. Servicers are added through the generated functions, which are
    handed `server.registrar`."""

    address: str

    @property
    def registrar(self) -> grpc.aio.Server:
        """What to hand to the generated `add_…Servicer_to_server`."""

    async def start(self) -> None:
        """Begin to serve; `address` is final from here on."""

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more calls, and cut the ones that last longer than the grace."""


class Network(Protocol):
    """One node's way to the others. Addresses are "host:port" texts in both worlds."""

    def channel(self, address: str) -> grpc.aio.Channel:
        """A channel for generated stubs; cached by address. Calls raise our errors, carry the token and the cause."""

    def rpc_server(self, address: str) -> RpcServer:
        """A gRPC server to be bound to `address` (port 0: any free one). Checks the token of every caller."""

    async def connect(self, address: str) -> ByteStream:
        """Open a bulk stream. Unavailable (definite) if nobody listens there."""

    async def listen(self, address: str, serve: Callable[[ByteStream], Awaitable[None]]) -> Listener:
        """Accept bulk streams; each is handed to `serve` in a task of its own and closed when that ends."""

    @property
    def token(self) -> str:
        """The cluster's token, for the Hello of a bulk stream."""


class World(Protocol):
    """Everything that a node stands on."""

    node: str
    clock: Clock
    random: Random
    disk: Disk
    network: Network
    events: EventLog

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` in the background until it ends or the node stops. An exception that nobody awaits is recorded
        as a `TaskFailed` event: a background loop never dies in silence."""

    async def breathe(self) -> None:
        """Between two slices of long work: let others run (and, in the simulated world, let the work cost time)."""

    async def in_background(self, work: Callable[[], T]) -> T:
        """Run CPU-heavy, self-contained `work` without stopping the loop: a thread in the real world; inline, with its
        cost charged to the node, in the simulated one."""

    def resident_bytes(self) -> int:
        """Memory of this node's process; 0 in the simulated world."""

    def boot_id(self) -> str:
        """An id that changes whenever this machine may have lost what was not synced: at every boot. A process that
        was killed and started again finds the same id, and all that it wrote."""

    def process_id(self) -> int:
        """The operating system's id of this node's process; 0 in the simulated world."""
