"""A table whose tablets are split and merged while callers use it: the same face as that of one tablet.

What concerns one row goes to the tablet that has it at this moment, and once more if that is just being split or
merged. What concerns several rows is done tablet by tablet, for across rows nothing is promised.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from runtime.errors import Conflict, TabletopError
from tablet.engine.engine import Engine
from tablet.engine.model.filters import EVERYTHING, ReadFilter
from tablet.engine.model.operations import Operation
from tablet.engine.model.rows import Row
from tablet.server.catalogue import TabletEntry
from tablet.server.tablets import Tablets

Result = TypeVar("Result")
Mutation = tuple[bytes, Sequence[Operation]]


class Table:
    """One table of a server."""

    def __init__(self, tablets: Tablets, name: str) -> None:
        self._tablets = tablets
        self._name = name

    async def put(self, row: bytes, column: bytes, value: bytes) -> None:
        """As `Engine.put`."""
        await self._on_row(row, lambda engine: engine.put(row, column, value))

    async def write(self, row: bytes, operations: Sequence[Operation]) -> None:
        """As `Engine.write`."""
        await self._on_row(row, lambda engine: engine.write(row, operations))

    async def write_many(self, mutations: Sequence[Mutation]) -> None:
        """As `Engine.write_many`: those of one tablet at a time, and few enough for one record of the log."""
        left = list(mutations)
        while left:
            first = left[0][0]

            async def write(engine: Engine, left: Sequence[Mutation] = tuple(left)) -> int:
                end = engine.state.manifest.end_row
                own = [mutation for mutation in left if not end or mutation[0] < end]
                await engine.write_many(own)
                return len(own)

            with _in_doubt_if(len(left) < len(mutations)):
                del left[: await self._on_row(first, write)]

    async def increment(self, row: bytes, column: bytes) -> int:
        """As `Engine.increment`."""
        return await self._on_row(row, lambda engine: engine.increment(row, column))

    async def check_and_mutate(
        self, row: bytes, wanted: ReadFilter, if_found: Sequence[Operation], otherwise: Sequence[Operation]
    ) -> bool:
        """As `Engine.check_and_mutate`."""
        return await self._on_row(row, lambda engine: engine.check_and_mutate(row, wanted, if_found, otherwise))

    async def get(self, row: bytes, column: bytes) -> bytes | None:
        """As `Engine.get`."""
        return await self._on_row(row, lambda engine: engine.get(row, column))

    async def read(self, row: bytes, wanted: ReadFilter) -> Row | None:
        """As `Engine.read`."""
        return await self._on_row(row, lambda engine: engine.read(row, wanted))

    async def scan(
        self, start: bytes, end: bytes, *, wanted: ReadFilter = EVERYTHING, reverse: bool = False
    ) -> AsyncIterator[Row]:
        """As `Engine.scan`, always from the first row to the last."""
        async for row in self._tablets.scan(self._name, start, end, wanted=wanted):
            yield row

    async def delete_rows(self, start: bytes, end: bytes) -> None:
        """As `Engine.delete_rows`, tablet by tablet."""
        first = start
        while True:

            async def delete(engine: Engine, start: bytes = start) -> bytes:
                stop = engine.state.manifest.end_row
                await engine.delete_rows(start, min(stop, end) if stop else end)
                return stop

            with _in_doubt_if(start != first):
                start = await self._on_row(start, delete)
            if not start or start >= end:
                return

    async def flush(self) -> None:
        """As `Engine.flush`, of each tablet."""
        await self._each(Engine.flush)

    async def compact(self) -> None:
        """As `Engine.compact`, of each tablet."""
        await self._each(Engine.compact)

    async def sync(self) -> None:
        """As `Engine.sync`."""
        await self._tablets.log.sync()

    async def save_snapshot(self, name: str) -> None:
        """As `Engine.save_snapshot`, of each tablet, in the place of an earlier one."""

        async def save(engine: Engine) -> None:
            if name in await engine.snapshots():
                await engine.delete_snapshot(name)
            await engine.save_snapshot(name)

        await self._each(save)

    async def split(self, row: bytes) -> None:
        """Part the tablet that has this row there. Raises InvalidRequest if it begins there, and as `Tablets.split`."""
        await self._tablets.split(self._entry(row).name, row)

    async def merge(self, row: bytes) -> None:
        """Merge the tablet that has this row with the next one, if there is one. Raises as `Tablets.merge`."""
        lower = self._entry(row)
        if lower.end_row:
            await self._tablets.merge(lower.name, self._entry(lower.end_row).name)

    def check_invariants(self) -> None:
        """As `Tablets.check_invariants`."""
        self._tablets.check_invariants()

    def _entry(self, row: bytes) -> TabletEntry:
        return next(entry for entry in self._tablets.catalogue.of_table(self._name) if entry.holds(row))

    async def _on_row(self, row: bytes, action: Callable[[Engine], Coroutine[Any, Any, Result]]) -> Result:
        return await self._tablets.on_row(self._name, row, action)

    async def _each(self, action: Callable[[Engine], Coroutine[Any, Any, None]]) -> None:
        """Of all tablets that there are, and once more if one of them is not there any more."""
        while True:
            before = self._tablets.catalogue.number
            try:
                for entry in self._tablets.catalogue.of_table(self._name):
                    await action(self._tablets.named(entry.name))
                if self._tablets.catalogue.number == before:
                    return
            except Conflict:
                if self._tablets.catalogue.number == before:
                    raise


@contextmanager
def _in_doubt_if(has_begun: bool) -> Iterator[None]:
    """What is refused by one tablet has happened in part, if others have done theirs."""
    try:
        yield
    except TabletopError as error:
        if not has_begun:
            raise
        raise type(error)(f"{error.message}; other tablets have done their part", definite=False) from error
