"""Network cards: how long bytes take through one of them, which several streams may share.

There are two kinds. A `Card` serves segments in the order in which they were sent, and says at once when each will be
through: that costs no event, and is near enough where cards are seldom busy. But a megabyte that was sent first is
served whole before what another stream sends a moment later, though most of it has not even come to this card yet.

A `FairCard` serves the streams that want it in turn, one segment each, as the segments come. So each of n streams that
are always busy gets 1/n of the card; and a stream that is held up elsewhere leaves its turns to the others, so that the
rates of all streams over any number of cards are max-min fair: none can be raised without lowering a smaller one. It
costs an event for each segment and card, and is for simulations that are about contention (`Simulation(fair=True)`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context

from runtime.simulated.loop import NANOSECONDS, SimulatedLoop

_NOBODY = Context()


class Card:
    """One direction of one node's network card: serves segments in order of sending."""

    def __init__(self, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = 0
        self.bytes_carried = 0

    def occupy(self, now: int, count: int) -> int:
        """Carry `count` bytes from `now` (nanoseconds) or when the card is free; returns when it is done."""
        self._free_at = max(now, self._free_at) + int(count * NANOSECONDS / self.bytes_per_second)
        self.bytes_carried += count
        return self._free_at


class FairCard(Card):
    """One direction of a card that serves its streams in turn."""

    def __init__(self, bytes_per_second: float, loop: SimulatedLoop) -> None:
        super().__init__(bytes_per_second)
        self._loop = loop
        self._waiting: dict[int, deque[_Visit]] = {}  # by stream, in the order of their turns
        self._is_busy = False

    def visit(self, stream: int, count: int, begun: Callable[[], None] | None, ended: Callable[[], None]) -> None:
        """Have `count` bytes of a stream carried when its turn has come. Of a stream, one after the other."""
        self._waiting.setdefault(stream, deque()).append((count, begun, ended))
        if not self._is_busy:
            self._next()

    def _next(self) -> None:
        self._is_busy = bool(self._waiting)
        if not self._is_busy:
            return
        stream = next(iter(self._waiting))
        waiting = self._waiting.pop(stream)
        count, begun, ended = waiting.popleft()
        if waiting:
            self._waiting[stream] = waiting  # It is last now.
        self.bytes_carried += count
        due = self._loop.nanoseconds + int(count * NANOSECONDS / self.bytes_per_second)
        self._loop.call_at_nanoseconds(due, self._done, ended, context=_NOBODY)
        if begun is not None:
            begun()

    def _done(self, ended: Callable[[], None]) -> None:
        ended()
        self._next()


_Visit = tuple[int, Callable[[], None] | None, Callable[[], None]]
CardMaker = Callable[[float], Card]


class Passage:
    """One segment on its way over several fair cards: first its sender's; as soon as that begins with it, the others as
    well, because a switch passes on the first packets of a segment while the last are still to come. `through` is
    called when all are done."""

    def __init__(self, stream: int, count: int, cards: Sequence[FairCard], through: Callable[[], None]) -> None:
        self._stream = stream
        self._count = count
        self._cards = cards
        self._left = len(cards)
        self._through = through

    def start(self) -> None:
        """Join the queue of the sender's card."""
        self._cards[0].visit(self._stream, self._count, self._begun, self._ended)

    def _begun(self) -> None:
        for card in self._cards[1:]:
            card.visit(self._stream, self._count, None, self._ended)

    def _ended(self) -> None:
        self._left -= 1
        if not self._left:
            self._through()
