"""Changes of one row that depend on what is in it: read, decide, write, as one atomic step (BT 3).

The row's lock is held from before the reading until the mutation has ended, so nobody writes the row in between. If
the tablet goes back to a snapshot in between, what was read no longer holds, and the step is done once more.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from runtime.errors import InvalidRequest
from tablet.engine.model.filter_program import Wanted
from tablet.engine.model.filters import newest_of
from tablet.engine.model.operations import Operation, SetCell
from tablet.engine.serving.admission import Admission
from tablet.engine.serving.reading import Reader
from tablet.engine.serving.writing import Overtaken, Writer
from tablet.engine.world.eventual import finished

T = TypeVar("T")

COUNTER_BYTES = 8
_COUNTER_MODULUS = 2**64


class AtomicChanges:
    """Increments, appends and conditional mutations of one tablet."""

    def __init__(self, reader: Reader, writer: Writer, admission: Admission) -> None:
        self._reader = reader
        self._writer = writer
        self._admission = admission

    async def increment(self, row: bytes, column: bytes, delta: int) -> int:
        """Add to a 64-bit big-endian counter (a missing one is 0) and return its new value; wraps around as hardware
        does. Raises InvalidRequest if the newest value has not 8 bytes."""

        def added(old: bytes | None) -> bytes:
            if old is not None and len(old) != COUNTER_BYTES:
                raise InvalidRequest(f"{column!r} of row {row!r} holds {len(old)} bytes, a counter has {COUNTER_BYTES}")
            total = (int.from_bytes(old or b"", "big") + delta) % _COUNTER_MODULUS
            return total.to_bytes(COUNTER_BYTES, "big")

        return int.from_bytes(await self._change_value(row, column, added), "big", signed=True)

    async def append(self, row: bytes, column: bytes, data: bytes) -> bytes:
        """Append to the newest value (a missing one is empty) and return the new one."""
        return await self._change_value(row, column, lambda old: (old or b"") + data)

    async def check_and_mutate(
        self,
        row: bytes,
        wanted: Wanted,
        if_found: Sequence[Operation],
        otherwise: Sequence[Operation],
        value: bytes | None,
    ) -> bool:
        """Apply `if_found` if the filter finds a cell (with this value, if one is given), else `otherwise`."""
        for operations in (if_found, otherwise):
            self._admission.check(row, operations)

        async def step(epoch: int) -> bool:
            entries = await finished(self._reader.row(row, wanted))
            found = any(value is None or entry[3] == value for entry in entries)
            newest = max([-minus for _, minus, _, _ in entries], default=0)
            fragment = self._admission.encode(row, if_found if found else otherwise, not_before=newest)
            if fragment:
                await finished(self._writer.commit(row, fragment, epoch=epoch))
            return found

        return await self._locked(row, step)

    async def _change_value(self, row: bytes, column: bytes, change: Callable[[bytes | None], bytes]) -> bytes:
        """Write the changed value at the present time, or at the newest version's if that lies in the future."""
        self._admission.check(row, [SetCell(column, b"")])

        async def step(epoch: int) -> bytes:
            newest = await finished(self._reader.row(row, newest_of(column)))
            value = change(newest[0][3] if newest else None)
            not_before = -newest[0][1] if newest else 0
            fragment = self._admission.encode(row, [SetCell(column, value)], not_before=not_before)
            await finished(self._writer.commit(row, fragment, single_put=True, epoch=epoch))
            return value

        return await self._locked(row, step)

    async def _locked(self, row: bytes, step: Callable[[int], Awaitable[T]]) -> T:
        await self._writer.locks.acquire(row)
        try:
            while True:
                with suppress(Overtaken):
                    return await step(self._writer.epoch)
        finally:
            self._writer.locks.release(row)
