"""Reading all of METADATA while tablets are split, and asking the lock service while a session ends (BT 5.1)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runtime.errors import Superseded, Unavailable
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.client import LockFiles
from tablet.client.locating import all_places
from tablet.location.places import encode_place, key_of


def place(number: int, start: bytes, end: bytes) -> TabletPlace:
    return TabletPlace(tablet=f"users-{number:06}", table="users", start_row=start, end_row=end)


LOWER, UPPER, LAST = place(3, b"", b"g"), place(4, b"g", b"m"), place(2, b"m", b"")


class Metadata:
    """A METADATA tablet that holds something else each time it is read."""

    def __init__(self, *readings: list[TabletPlace]) -> None:
        self.readings = list(readings)

    async def place_of(self, table: str, row: bytes) -> TabletPlace:
        return TabletPlace()

    async def rows_of(self, parent: TabletPlace, start: bytes, end: bytes, limit: int) -> wire.ScanRowsReply:
        reply = wire.ScanRowsReply()
        for one in self.readings.pop(0):
            reply.rows.add(key=key_of(one)).cells.add(value=encode_place(one))
        return reply


async def insist(ask: Callable[[], Awaitable[wire.ScanRowsReply]]) -> wire.ScanRowsReply:
    return await ask()


async def test_a_half_whose_row_came_while_the_rows_were_read_is_not_missed():
    """The lower half's row was not there yet when its place was read, and the upper one tells nothing of it any
    more."""
    metadata: Any = Metadata(
        [place(1, b"", b"c"), UPPER, LAST], [place(1, b"", b"c"), place(3, b"c", b"g"), UPPER, LAST]
    )
    assert [one.tablet[-1] for one in await all_places(metadata, "users", insist)] == ["1", "3", "4", "2"]
    assert not metadata.readings


async def test_a_table_whose_rows_are_missing_for_long_is_told_as_it_is():
    metadata: Any = Metadata(*[[LOWER, LAST]] * 10)
    assert await all_places(metadata, "users", insist) == [LOWER, LAST]
    assert metadata.readings


async def test_a_session_that_ends_while_it_is_asked_is_nothing_that_a_client_is_told():
    """A read that only looked for its tablet told that somebody else had superseded it."""

    class Over:
        state = None

        async def read(self, path: str) -> Any:
            raise Superseded("session 7 is over", definite=True)

    world: Any = type("World", (), {"network": type("Network", (), {"channel": lambda self, address: None})()})()
    files = LockFiles(world, "lock:1")
    files._session = Over()  # type: ignore[assignment]
    with pytest.raises(Unavailable) as caught:
        await files.read("/tablets/root")
    assert caught.value.definite
