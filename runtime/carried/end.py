"""What both ends of a carried stream have: a bounded queue of letters, and a transport that takes them.

Nothing waits for company. The first letter wakes the transport, which takes all that wait by the time it gets to it, as
one message; while it sends that, others gather and become the next one. So a letter that is alone leaves at once, and
the more wait, the more share a message: the cost of a message is paid once for all of them.
"""

import asyncio
from collections import deque
from typing import Protocol

from runtime.carried.letters import Letter, Make
from runtime.events import EventLog
from runtime.wire.carry_pb2 import Envelope

MESSAGE_BYTES = 256 * 1024  # A message takes no further letter from this size on,
LARGE_BYTES = 64 * 1024  # and a letter of this size or more has a message to itself.
QUEUE_BYTES = 4 * 1024 * 1024
QUEUE_LETTERS = 4096


class Transport(Protocol):
    """What carries envelopes between two ends. It takes them (`End.taken`) when it can send."""

    def wake(self) -> None:
        """There is something to take, or the end is over."""

    def abort(self) -> None:
        """Break the stream, without waiting."""


class End:
    """One end of a stream. Whoever runs out of patience with it waits for `room`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, events: EventLog) -> None:
        self._loop = loop
        self._events = events
        self._letters: deque[Letter] = deque()
        self._bytes = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._transport: Transport | None = None
        self._is_awake = False

    @property
    def is_full(self) -> bool:
        """Whether who has more to send should wait for `room`."""
        return self._bytes >= QUEUE_BYTES or len(self._letters) >= QUEUE_LETTERS

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be sent after what waits now: then the transport ends the stream in good order."""
        return False

    async def room(self) -> None:
        """Wait until something was taken, or the stream has ended: then look again."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def put(self, letter: Letter) -> None:
        """Have a letter sent."""
        self._letters.append(letter)
        self._bytes += letter.size
        if not self._is_awake:
            self._wake()

    def taken(self, make: Make) -> list[tuple[Letter, Envelope]]:
        """The letters of the next message, each with its envelope made by `make`. If there are none, the transport is
        woken when there are."""
        letters = self._next_letters()
        if not letters:
            self._is_awake = False
            return []
        self._admit(len(letters))
        now, sent = self._loop.time(), self._events.sent
        return [(letter, letter.written(make, now, sent())) for letter in letters]

    def _next_letters(self) -> list[Letter]:
        waiting = self._letters
        taken: list[Letter] = []
        size = 0
        while waiting and size < MESSAGE_BYTES:
            letter = waiting[0]
            if letter.size >= LARGE_BYTES and taken:
                break
            waiting.popleft()
            self._bytes -= letter.size
            if letter.wanted:
                taken.append(letter)
                size += letter.size if letter.size < LARGE_BYTES else MESSAGE_BYTES
        return taken

    def _wake(self) -> None:
        if self._transport is not None:
            self._is_awake = True
            self._transport.wake()

    def _admit(self, count: int) -> None:
        """Let so many go on of those that wait for room."""
        while count and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def _close(self) -> None:
        self._letters.clear()
        self._bytes = 0
        self._admit(len(self._waiters))
