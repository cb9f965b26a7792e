"""Connections for bulk bytes that are kept for the next transfer (GFS 2.5, 3.2).

The problem. A transfer is short, and making a connection costs round trips and a greeting; the paper keeps a persistent
TCP connection over an extended time. But a connection that lies idle may be dead without anybody having noticed.

The idea. A connection is borrowed for one transfer at a time, so that no transfer waits for another one's server, and
is kept afterwards if the borrower says that it is clean. Whoever borrows hands over the first bytes of the transfer:
they are sent at once, with the greeting if the connection is new, and if sending them fails on an idle one, a new one
takes its place. A connection may also turn out to be dead only when the answer does not come. Then the borrower, who
knows whether the connection was new, decides whether to try again.

Invariants:
1. A connection goes back to the idle ones only when every byte of its transfer was consumed. After an error, a time
   limit or a cancellation it is dropped: what is still under way on it belongs to nobody.
2. When a connection ends while it is borrowed, the idle ones to the same address are dropped too, because the server
   was probably restarted and they have ended as well.
3. At most `idle_connections` lie idle for each address.

What we simplify. An idle connection is never closed for its age.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runtime.bulk import hello
from runtime.errors import Unavailable
from runtime.world import ByteStream, World


class Link:
    """A connection on loan. Unless `is_clean` is set, it is dropped afterwards."""

    def __init__(self, stream: ByteStream, *, is_new: bool) -> None:
        self.stream = stream
        self.is_new = is_new
        self.is_clean = False


class BulkPool:
    """Idle connections by address."""

    def __init__(self, world: World, *, idle_connections: int) -> None:
        self._world = world
        self._idle_connections = idle_connections
        self._idle: dict[str, list[ByteStream]] = {}

    @asynccontextmanager
    async def borrow(self, address: str, first_bytes: bytes) -> AsyncIterator[Link]:
        """A connection on which `first_bytes` have been sent. Raises Unavailable if none can be made."""
        link = await self._take(address, first_bytes)
        try:
            yield link
        except (Unavailable, EOFError):
            self.drop(address)
            raise
        finally:
            if link.is_clean and len(self._idle.get(address, ())) < self._idle_connections:
                self._idle.setdefault(address, []).append(link.stream)
            else:
                link.stream.abort()

    def drop(self, address: str) -> None:
        """Drop the idle connections to an address."""
        for stream in self._idle.pop(address, []):
            stream.abort()

    def close(self) -> None:
        """Drop all idle connections."""
        for address in list(self._idle):
            self.drop(address)

    async def _take(self, address: str, first_bytes: bytes) -> Link:
        if idle := self._idle.get(address):
            stream = idle.pop()
            try:
                await stream.write(first_bytes)
                return Link(stream, is_new=False)
            except Unavailable:
                stream.abort()
                self.drop(address)
            except BaseException:
                stream.abort()
                raise
        stream = await self._world.network.connect(address)
        try:
            await stream.write(hello(self._world) + first_bytes)
        except BaseException:
            stream.abort()
            raise
        return Link(stream, is_new=True)
