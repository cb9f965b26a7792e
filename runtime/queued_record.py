"""A record of a log that waits for its group (`record_log.py`), and who is told how it ended."""

import asyncio
from collections.abc import Callable

from runtime.errors import TabletopError
from runtime.world import Buffer


class QueuedRecord:
    """A record that waits for its group. `ended` is called exactly once."""

    __slots__ = ("durable", "ended", "future", "payload", "promised")

    def __init__(
        self,
        payload: Buffer,
        durable: bool,
        promised: bool,
        ended: Callable[[int | None], None] | None,
        future: "asyncio.Future[int]",
    ) -> None:
        self.payload = payload
        self.durable = durable
        self.promised = promised
        self.ended = ended
        self.future = future

    def succeed(self, sequence: int) -> None:
        """The record is written: bring about what it stands for, then tell its writer, if there still is one."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(sequence)
        if not self.future.done():
            self.future.set_result(sequence)

    def fail(self, error: TabletopError) -> None:
        """The record is not written, or nobody knows."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(None)
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # A writer that was cancelled meanwhile does not fetch it.
