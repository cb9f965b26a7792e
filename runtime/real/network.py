"""The network of the real world: grpc.aio for control, plain TCP for bulk bytes.

Bulk streams work on non-blocking sockets through the loop's `sock_…` calls, which try the system call first and wait
only if it would block: bytes land in the caller's buffer without a copy in between. Small reads (headers) go through a
buffer, so that a header costs one system call at most.
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, cast

import grpc
import grpc.aio

from runtime.carried.channel import CarriedChannel
from runtime.errors import Conflict, InvalidRequest, Unavailable, shown
from runtime.events import EventLog
from runtime.guard import Guard, Observer
from runtime.real import reflection
from runtime.real.carrier import Carrier, Dialler
from runtime.real.disk import RealFile
from runtime.rpc import NeverLeft, NodeChannel, NodeRegistrar, PlainChannel, Ready
from runtime.world import Buffer, ByteStream, File, Random

# A machine that lost power says nothing. Without pings, a stream of calls to it would be taken for alive until the
# operating system gives up, a quarter of an hour later.
_PINGS: list[tuple[str, Any]] = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
]
_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
    *_PINGS,
]
_SERVER_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),  # Pings that came while this process stood still are answered all at once.
    *_PINGS,
]
_HEADER_BUFFER_BYTES = 16 * 1024
_BACKLOG = 512
_WAKE_BYTES = 256 * 1024
_GONE = (ConnectionError, BrokenPipeError, TimeoutError)
_NOT_CONNECTED = (
    grpc.ChannelConnectivity.IDLE,
    grpc.ChannelConnectivity.CONNECTING,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
)
_FIRST_LOOK_SECONDS = 0.0005
_LONGEST_LOOK_SECONDS = 0.02


class RealStream:
    """A TCP connection. One task reads and one writes at a time. `keep_open` holds it until it is closed."""

    def __init__(self, connection: socket.socket, peer: str, keep_open: "OpenSockets") -> None:
        self.peer = peer
        self._socket = connection
        self._keep_open = keep_open
        keep_open[self] = None
        self._loop = asyncio.get_running_loop()
        self._ahead = b""
        self._least = 1
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def read_exactly(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises EOFError at a clean end before the first of them, Unavailable otherwise."""
        if len(self._ahead) >= count:
            data, self._ahead = self._ahead[:count], self._ahead[count:]
            return data
        if count > _HEADER_BUFFER_BYTES:
            target = bytearray(count)
            await self.read_into(memoryview(target))
            return bytes(target)
        while len(self._ahead) < count:
            more = await self._receive(_HEADER_BUFFER_BYTES)
            if not more:
                if self._ahead:
                    raise Unavailable(f"{self.peer} closed the connection in the middle of a message")
                raise EOFError(f"{self.peer} closed the connection")
            self._ahead += more
        data, self._ahead = self._ahead[:count], self._ahead[count:]
        return data

    async def read_into(self, target: memoryview) -> None:
        """Fill `target`. Raises Unavailable if the other side ends before."""
        done = min(len(self._ahead), len(target))
        if done:
            target[:done] = self._ahead[:done]
            self._ahead = self._ahead[done:]
        while done < len(target):
            self._wake_for(len(target) - done)
            try:
                got = await self._loop.sock_recv_into(self._socket, target[done:])
            except OSError as error:
                raise self._gone(error) from error
            if got == 0:
                raise Unavailable(f"{self.peer} closed the connection in the middle of a message")
            done += got

    def _wake_for(self, expected: int) -> None:
        """Have the kernel wake this process for a good part of what is expected, rather than for every packet."""
        least = min(expected, _WAKE_BYTES) if expected >= _HEADER_BUFFER_BYTES else 1
        if least != self._least:
            self._least = least
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)

    async def write(self, data: Buffer) -> None:
        """Send all of `data`. Raises Unavailable."""
        try:
            await self._loop.sock_sendall(self._socket, data)
        except OSError as error:
            raise self._gone(error) from error

    async def send_file(self, file: File, offset: int, count: int) -> None:
        """Send a part of a file with sendfile(2). Raises Unavailable, also if the file is shorter."""
        source = cast(RealFile, file)
        done = 0
        while done < count:
            try:
                sent = os.sendfile(self._socket.fileno(), source.descriptor, offset + done, count - done)
            except BlockingIOError:
                await _ready(self._socket, "write")
                continue
            except OSError as error:
                raise self._gone(error) from error
            if sent == 0:
                raise Unavailable(f"{source.path} ended {count - done} bytes before what was announced")
            done += sent

    async def close(self) -> None:
        """Finish writing and let go."""
        self.finish()

    def finish(self) -> None:
        """What `close` does, for who cannot wait: it never waits."""
        if self._socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            self._release()

    def abort(self) -> None:
        """Reset the connection."""
        if self._socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self._release()

    def _release(self) -> None:
        self._keep_open.pop(self, None)
        # A task may still wait for this descriptor; forget it before the number is given to another socket.
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()

    async def _receive(self, limit: int) -> bytes:
        self._wake_for(1)
        try:
            return await self._loop.sock_recv(self._socket, limit)
        except OSError as error:
            raise self._gone(error) from error

    def _gone(self, error: OSError) -> Unavailable:
        return Unavailable(f"the connection to {self.peer} is gone: {error.strerror or error}")


class RealListener:
    """An open TCP port. `keep_open` holds it until it is closed, and its connections until they are."""

    def __init__(
        self,
        door: socket.socket,
        serve: Callable[[ByteStream], Awaitable[None]],
        spawn: Any,
        keep_open: "OpenSockets",
    ) -> None:
        self.address = _text(door.getsockname())
        self._door = door
        self._serve = serve
        self._spawn = spawn
        self._keep_open = keep_open
        keep_open[self] = None
        self._accepting: asyncio.Task[None] = spawn(self._accept(), f"accept {self.address}")

    async def close(self) -> None:
        """Accept no more."""
        self._accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._accepting
        self._keep_open.pop(self, None)
        self._door.close()

    async def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._door.accept()
            except BlockingIOError:
                await _ready(self._door, "read")
                continue
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED):
                    await asyncio.sleep(0.1)
                    continue
                raise
            # Nothing is awaited between `accept` and here: a task that is cancelled while it waits for
            # `loop.sock_accept` loses the connection that it was just given.
            stream = RealStream(connection, _text(peer), self._keep_open)
            task = self._spawn(self._attend(stream), f"stream from {stream.peer}")
            # `_attend` cannot do this: a task that is cancelled before its first step runs none of its code.
            task.add_done_callback(partial(_close_after, stream))

    async def _attend(self, stream: RealStream) -> None:
        with contextlib.suppress(Unavailable, EOFError):  # The other side went away: its business.
            await self._serve(stream)


# What a network has opened and nobody has closed yet, as keys.
OpenSockets = dict[RealStream | RealListener, None]


class RealRpcServer:
    """A grpc.aio server bound to an address."""

    def __init__(self, address: str, guard: Guard) -> None:
        self.address = address
        self._server = grpc.aio.server(options=_SERVER_OPTIONS)
        self._registrar = NodeRegistrar(self._server, guard)
        self._carrier = self._carrier_of(self._registrar, guard)
        self._carrier.register(self._server)

    def _carrier_of(self, registrar: NodeRegistrar, guard: Guard) -> Carrier:
        return Carrier(registrar, guard)

    @property
    def registrar(self) -> grpc.aio.Server:
        """What the generated functions are handed."""
        return self._registrar.as_server()

    async def start(self) -> None:
        """Bind and serve. Raises Conflict if the port is taken, InvalidRequest if the address is none."""
        host, port = _split(self.address)
        reflection.add_if_wanted(self._registrar)
        try:
            bound = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise Conflict(
                f"cannot listen on {self.address}: the port is in use (or not allowed); choose another, or 0 for any"
            ) from error
        self.address = f"{host}:{bound if port == 0 else port}"
        await self._server.start()

    async def stop(self, grace_seconds: float) -> None:
        """Stop serving: at once for new calls, after their answers for those that run, if the grace suffices."""
        await self._carrier.drain()
        await self._server.stop(grace_seconds)


class RealNetwork:
    """One process's way to the others."""

    def __init__(
        self, token: str, events: EventLog, spawn: Any, random: Random, observer: Observer | None = None
    ) -> None:
        self.token = token
        self._guard = Guard(token, events, observer)
        self._random = random
        self._spawn = spawn
        self._channels: dict[str, NodeChannel] = {}
        self._open_sockets: OpenSockets = {}

    def channel(self, address: str) -> grpc.aio.Channel:
        """A channel to an address; one is kept for each."""
        found = self._channels.get(address)
        if found is None:
            raw = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
            plain = self._plain_channel(raw, address, partial(_connected, raw))
            carried = CarriedChannel(address, self._guard.events, self._random, self._dialler(plain, address))
            found = self._channels[address] = NodeChannel(carried, plain)
        return found.as_channel()

    def plain_channel(self, address: str) -> grpc.aio.Channel:
        """A channel to an address whose unary calls are plain gRPC: for those that must not share a stream."""
        self.channel(address)
        return cast(grpc.aio.Channel, self._channels[address].plain)

    def _plain_channel(self, raw: Any, address: str, ready: Ready) -> PlainChannel:
        return PlainChannel(raw, address, self._guard, ready)

    def _dialler(self, plain: PlainChannel, address: str) -> Dialler:
        return Dialler(plain, self._guard, self._spawn)

    def rpc_server(self, address: str) -> RealRpcServer:
        """A server to be started at an address."""
        return RealRpcServer(address, self._guard)

    async def connect(self, address: str) -> RealStream:
        """Open a TCP connection. Raises Unavailable (definite)."""
        try:
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError as error:
            advice = "; raise the limit of open files (ulimit -n)" if error.errno == errno.EMFILE else ""
            raise Unavailable(f"cannot connect to {address}: {error.strerror}{advice}", definite=True) from error
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, _split(address))
        except OSError as error:
            connection.close()
            raise Unavailable(f"cannot connect to {address}: {error.strerror or error}", definite=True) from error
        except BaseException:
            connection.close()
            raise
        return RealStream(connection, address, self._open_sockets)

    async def listen(self, address: str, serve: Callable[[ByteStream], Awaitable[None]]) -> RealListener:
        """Open a TCP port. Raises Conflict if it is taken."""
        door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        door.setblocking(False)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(_split(address))
        except OSError as error:
            door.close()
            raise Conflict(
                f"cannot listen on {address}: {error.strerror}; choose another port, or 0 for any"
            ) from error
        door.listen(_BACKLOG)
        return RealListener(door, serve, self._spawn, self._open_sockets)

    async def close(self) -> None:
        """Close every channel, listener and stream, as the end of a process does."""
        for opened in list(self._open_sockets):
            await opened.close()
        for channel in self._channels.values():
            channel.carried.close()
            await channel.plain.raw.close()
        self._channels.clear()


async def _connected(channel: grpc.aio.Channel, timeout: float) -> float:
    """Wait until there is a connection, and return what is left of the time. Raises NeverLeft.

    A look at a channel that is connected costs a fifth of a microsecond. The others are looked at again and again,
    because a wait for a change of state must not be cancelled in grpc.aio, and a call may be at any time.
    """
    state = channel.get_state(try_to_connect=True)
    if state not in _NOT_CONNECTED:
        return timeout
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + timeout, _FIRST_LOOK_SECONDS
    while state in _NOT_CONNECTED:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            raise NeverLeft(grpc.StatusCode.UNAVAILABLE, "the connection was refused, or could not be made")
        if (remaining := end - loop.time()) <= 0:
            raise NeverLeft(grpc.StatusCode.DEADLINE_EXCEEDED, f"no connection within {timeout:g} seconds")
        await asyncio.sleep(min(pause, remaining))
        pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
        state = channel.get_state(try_to_connect=True)
    return max(end - loop.time(), _FIRST_LOOK_SECONDS)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InvalidRequest(f"{shown(address)} is not an address; expected host:port, such as 127.0.0.1:0")
    return host, int(port)


async def _ready(connection: socket.socket, direction: Literal["read", "write"]) -> None:
    """Wait until the socket can be read from (or has a connection to accept), or written to."""
    loop, descriptor = asyncio.get_running_loop(), connection.fileno()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (
        (loop.add_reader, loop.remove_reader) if direction == "read" else (loop.add_writer, loop.remove_writer)
    )
    add(descriptor, _settle, ready)
    try:
        await ready
    finally:
        remove(descriptor)


def _close_after(stream: RealStream, _: "asyncio.Task[None]") -> None:
    stream.finish()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _text(name: Any) -> str:
    return f"{name[0]}:{name[1]}"
