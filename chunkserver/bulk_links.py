"""Connections to the bulk listeners of other chunkservers, kept for the next transfer.

The client has its own (`gfs/bulk_links.py`): the rooms do not know each other, and a chunkserver forwards while it
still receives, where a client has everything at hand.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runtime.bulk import hello
from runtime.errors import Unavailable
from runtime.world import ByteStream, World

_IDLE_A_SERVER = 8


class Link:
    """A connection on loan. Unless `is_clean` is set, it is dropped afterwards."""

    def __init__(self, stream: ByteStream, *, is_new: bool) -> None:
        self.stream = stream
        self.is_new = is_new
        self.is_clean = False


class ChunkserverLinks:
    """Idle connections by address."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._idle: dict[str, list[ByteStream]] = {}

    @asynccontextmanager
    async def borrow(self, address: str, first_bytes: bytes) -> AsyncIterator[Link]:
        """A connection on which `first_bytes` have been sent. Raises Unavailable.

        A connection that was closed while it lay idle (the other server was restarted) is noticed at the latest by the
        answer that does not come; the caller reports that, and the sender tries again.
        """
        link = await self._take(address, first_bytes)
        try:
            yield link
        finally:
            idle = self._idle.setdefault(address, [])
            if link.is_clean and len(idle) < _IDLE_A_SERVER:
                idle.append(link.stream)
            else:
                link.stream.abort()
            if not link.is_clean:
                self.drop(address)

    def drop(self, address: str) -> None:
        """Drop the idle connections to an address: they share the fate of the one that failed."""
        for stream in self._idle.pop(address, []):
            stream.abort()

    def close(self) -> None:
        """Drop all idle connections."""
        for address in list(self._idle):
            self.drop(address)

    async def _take(self, address: str, first_bytes: bytes) -> Link:
        idle = self._idle.get(address)
        if idle:
            stream = idle.pop()
            try:
                await stream.write(first_bytes)
                return Link(stream, is_new=False)
            except Unavailable:
                stream.abort()
                self.drop(address)
        stream = await self._world.network.connect(address)
        try:
            await stream.write(hello(self._world) + first_bytes)
        except BaseException:
            stream.abort()
            raise
        return Link(stream, is_new=True)
