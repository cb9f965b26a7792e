"""METADATA rows under splits, merges and assignments, whose servers die between any two changes, and whose messages
come late and come again (BT 5.1, 5.2): whoever reads all rows, at any moment, finds each row of the table once.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.swarm.tables.judging import judge_cover
from runtime.errors import Conflict
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.metadata import MetadataRows
from tablet.engine.model.operations import DeleteRow, Operation, SetCell
from tablet.engine.model.rows import Cell
from tablet.hosting import merging
from tablet.location.places import (
    PLACE_COLUMN,
    alone,
    changed,
    decode_place,
    encode_place,
    living,
    metadata_key,
    with_lower_half,
)


class Dead(Exception):
    """The server has died here."""


class Metadata:
    """The table METADATA, as its client. `chance`: whether a caller dies with a call, and what becomes of that."""

    def __init__(self, chance: random.Random) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.sent: list[tuple[Any, ...]] = []
        self.is_deadly = False
        self._chance = chance
        self.late: list[tuple[Any, ...]] = []

    async def read(self, table: str, key: bytes, wanted: object) -> tuple[bytes, tuple[Cell, ...]] | None:
        value = self.rows.get(key)
        return None if value is None else (key, (Cell(b"tablet:place", 1, value),))

    async def check_and_mutate(
        self,
        table: str,
        key: bytes,
        wanted: object,
        if_found: Sequence[Operation],
        otherwise: Sequence[Operation],
        *,
        value: bytes | None = None,
    ) -> bool:
        call = (key, if_found, otherwise, value)
        if self.is_deadly and self._chance.random() < 0.2:
            fate = self._chance.choice(["lost", "late", "made"])
            if fate == "late":
                self.late.append(call)
            if fate == "made":
                self.make(call)
            raise Dead
        self.sent.append(call)
        return self.make(call)

    def make(self, call: tuple[Any, ...]) -> bool:
        """One call takes effect, now."""
        key, if_found, otherwise, value = call
        is_found = key in self.rows if value is None else self.rows.get(key) == value
        for operation in if_found if is_found else otherwise:
            if isinstance(operation, SetCell) and operation.column == PLACE_COLUMN:
                self.rows[key] = operation.value
            elif isinstance(operation, DeleteRow):
                self.rows.pop(key, None)
        return is_found

    def raw(self) -> list[TabletPlace]:
        """What the rows tell."""
        return with_lower_half(decode_place(self.rows[key], key) for key in sorted(self.rows))


class History:
    """Random splits, merges and assignments of one table."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.metadata = Metadata(self.chance)
        self.rows = MetadataRows(self.metadata)  # type: ignore[arg-type]
        self.number = 3
        whole = TabletPlace(tablet="users-000003", table="users", server="ts", token=1)
        self.metadata.rows[metadata_key("users", b"")] = encode_place(whole)
        self.life: Any = SimpleNamespace(
            world=SimpleNamespace(events=SimpleNamespace(emit=lambda event: None), clock=SimpleNamespace(sleep=None))
        )

    def new_name(self) -> str:
        self.number += 1
        return f"users-{self.number:06}"

    def living(self) -> list[TabletPlace]:
        return living(self.metadata.raw())

    def check(self) -> None:
        found = self.living()
        assert judge_cover("users", found) == [], self.metadata.raw()

    async def split(self) -> None:
        before = self.chance.choice(self.living())
        low = int(before.start_row or b"0") + 1
        high = int(before.end_row or b"999") - 1
        if low > high or before.HasField("lower_half"):
            return
        at = b"%03d" % self.chance.randint(low, high)
        lower = changed(before, tablet=self.new_name(), end_row=at)
        upper = changed(before, tablet=self.new_name(), start_row=at)
        upper.lower_half.CopyFrom(lower)
        if await self.rows.replace(before, upper):
            self.check()
            await self.rows.settle(upper)

    async def merge(self) -> None:
        places = self.living()
        if len(places) < 2:
            return
        place = self.chance.randrange(len(places) - 1)
        below, above = places[place : place + 2]
        if below.HasField("lower_half") or above.HasField("lower_half"):
            return
        token = max(below.token, above.token)
        made = changed(above, tablet=self.new_name(), start_row=below.start_row, token=token, merges_given_up=0)
        with suppress(Conflict):  # A late message was quicker.
            await merging._commit(self.life, self.rows, below, above, made)

    async def assign(self) -> None:
        place = self.chance.choice(self.living())
        if not place.HasField("lower_half"):
            await self.rows.replace(place, changed(place, token=place.token + 1, server="ts"))

    async def mend(self) -> None:
        """What the master does in each of its rounds."""
        raw = self.metadata.raw()
        found = living(raw)
        for place in found:
            if place.HasField("lower_half"):
                await self.rows.settle(place)
                self.check()
        names = {place.tablet for place in found}
        for place in raw:
            if place.tablet not in names:
                await self.rows.replace(place, None)
                self.check()

    async def play(self, steps: int) -> None:
        for _ in range(steps):
            self.metadata.is_deadly = True
            with suppress(Dead):
                await self.chance.choice([self.split, self.merge, self.merge, self.assign, self.mend])()
            self.metadata.is_deadly = False
            self.check()
            if self.chance.random() < 0.5:
                await self.mend()
            if self.metadata.late and self.chance.random() < 0.4:
                self.metadata.make(self.metadata.late.pop(self.chance.randrange(len(self.metadata.late))))
                self.check()
            if self.metadata.sent and self.chance.random() < 0.5:
                before = [place.tablet for place in self.living()]
                self.metadata.make(self.chance.choice(self.metadata.sent))
                self.check()
                assert [place.tablet for place in self.living()] == before, "what was done is not done again"
        while self.metadata.late:
            self.metadata.make(self.metadata.late.pop())
            self.check()
        for _ in range(3):
            await self.mend()
        assert self.metadata.raw() == self.living() == list(map(alone, self.living()))
        assert len(self.metadata.rows) == len(self.living())


@pytest.mark.parametrize("seed", range(60))
def test_each_row_of_the_table_is_in_one_tablet_at_any_moment(seed: int):
    asyncio.run(History(seed).play(80))
