"""The operating system's clock."""

import asyncio
import time


class RealClock:
    """Monotonic seconds, and microseconds since the epoch."""

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def wall_microseconds(self) -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        """Sleep without blocking the loop."""
        await asyncio.sleep(max(0.0, seconds))
