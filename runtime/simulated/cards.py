"""Network cards: how long bytes take through one of them, which several streams may share."""

from runtime.simulated.loop import NANOSECONDS


class Card:
    """One direction of one node's network card: serves segments in order of arrival."""

    def __init__(self, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = 0
        self.bytes_carried = 0

    def occupy(self, now: int, count: int) -> int:
        """Carry `count` bytes from `now` (nanoseconds) or when the card is free; returns when it is done."""
        self._free_at = max(now, self._free_at) + int(count * NANOSECONDS / self.bytes_per_second)
        self.bytes_carried += count
        return self._free_at
