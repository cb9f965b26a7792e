"""Finding a tablet: three levels, and a cache (BT 5.1).

A client that knows nothing asks three times: the lock service for the root tablet, the root tablet for the METADATA
tablet, that one for the user's tablet. Each answer is remembered. What is remembered may be old; whoever finds out
calls `forget`, and the next question begins one level higher. If that level is old as well, it is forgotten in turn: up
to six round trips.

An answer has the rows of the next tablets, too.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from runtime.errors import NotFound, NotServed, TimedOut, Unavailable
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import TabletPlace
from runtime.wire.tables_pb2_grpc import TabletServerStub
from runtime.world import World
from tablet.client.settings import TableClientSettings
from tablet.location.places import (
    METADATA,
    PLACE_COLUMN,
    ROOT_TABLET,
    USER_ROWS,
    decode_place,
    has_gap,
    holds,
    holds_before,
    key_of,
    living,
    search_range,
    search_range_before,
    with_lower_half,
)

RootFinder = Callable[[], Awaitable[TabletPlace]]
"""Asks the lock service where the root tablet is. Raises NotFound while there are no tables at all."""


class Locator:
    """What one client knows of places."""

    def __init__(self, world: World, find_root: RootFinder, settings: TableClientSettings) -> None:
        self.round_trips = 0
        self._world = world
        self._find_root = find_root
        self._settings = settings
        self._root: TabletPlace | None = None
        self._keys: list[bytes] = []  # METADATA keys of known places, sorted.
        self._known: dict[bytes, TabletPlace] = {}

    async def place_of(self, table: str, row: bytes) -> TabletPlace:
        """The tablet that has a row. Raises NotFound (no such table), NotServed (nobody has it at this moment, or what
        was remembered is old), and what the calls raise."""
        is_root = table == METADATA and row < USER_ROWS
        return await self._found(_Aim(table, row, search_range(table, row), holds, is_root))

    async def place_before(self, table: str, end: bytes) -> TabletPlace:
        """The tablet that has the rows just before `end`; empty: the last ones of the table. Raises as `place_of`."""
        is_root = table == METADATA and b"" < end <= USER_ROWS
        return await self._found(_Aim(table, end, search_range_before(table, end), holds_before, is_root))

    async def _found(self, aim: "_Aim") -> TabletPlace:
        found = self._remembered(aim)
        if found is None:
            found = await self._root_place() if aim.is_root else await self._searched(aim)
        if not found.server:
            self.forget(found)
            raise NotServed(f"tablet {found.tablet} is not assigned to a server at this moment; try again")
        return found

    def forget(self, place: TabletPlace) -> None:
        """This place is old, or its server does not answer."""
        if place.tablet == ROOT_TABLET:
            self._root = None
        key = key_of(place)
        if self._known.get(key) == place:
            del self._known[key]
            self._keys.remove(key)

    async def rows_of(self, place: TabletPlace, start: bytes, end: bytes, limit: int) -> wire.ScanRowsReply:
        """METADATA rows of one METADATA tablet."""
        self.round_trips += 1
        stub = TabletServerStub(self._world.network.channel(place.address))
        request = wire.ScanRowsRequest(tablet=place.tablet, start=start, end=end, limit=limit, wanted=_PLACES)
        try:
            return await stub.ScanRows(request, timeout=self._settings.call_seconds)
        except (NotServed, Unavailable, TimedOut) as error:
            self.forget(place)
            raise NotServed(f"METADATA tablet {place.tablet} is not where it was: {error.message}") from error

    def _remembered(self, aim: "_Aim") -> TabletPlace | None:
        if aim.is_root:
            return self._root
        position = bisect_left(self._keys, aim.keys[0])
        place = self._known[self._keys[position]] if position < len(self._keys) else None
        return place if place is not None and aim.is_met_by(place) else None

    async def _root_place(self) -> TabletPlace:
        self.round_trips += 1
        self._root = await self._find_root()
        return self._root

    async def _searched(self, aim: "_Aim") -> TabletPlace:
        start, end = aim.keys
        while True:
            parent = await self.place_of(METADATA, start)
            reply = await self.rows_of(parent, start, end, self._settings.prefetched)
            rows = (decode_place(found.cells[0].value, found.key) for found in reply.rows)
            places = living(with_lower_half(rows))
            for place in places:
                self._remember(place)
            for place in places:
                if aim.is_met_by(place):
                    return place
            if places:
                raise NotServed(f"the tablets of {aim.table!r} are just being split or merged; try again")
            if not parent.end_row or parent.end_row >= end:
                raise NotFound(f"there is no table {aim.table!r}; `tabletop table ls` shows which there are")
            start = parent.end_row

    def _remember(self, place: TabletPlace) -> None:
        if not place.server:
            return
        key = key_of(place)
        if key not in self._known:
            self._keys.insert(bisect_right(self._keys, key), key)
        self._known[key] = place


class _Aim(NamedTuple):
    """The tablet that is looked for: the one that `fits` the row, and where in METADATA it would be."""

    table: str
    row: bytes
    keys: tuple[bytes, bytes]
    fits: Callable[[TabletPlace, str, bytes], bool]
    is_root: bool

    def is_met_by(self, place: TabletPlace) -> bool:
        """Whether it is this one."""
        return self.fits(place, self.table, self.row)


_PLACES = wire.CellFilter(columns=[PLACE_COLUMN], versions=1)
Answer = Callable[[], Awaitable[wire.ScanRowsReply]]
_READINGS = 4


async def all_places(
    locator: Locator, table: str | None, insist: Callable[[Answer], Awaitable[wire.ScanRowsReply]]
) -> list[TabletPlace]:
    """Every tablet that METADATA knows, of one table or of all but METADATA, in order. `insist` asks again where that
    may help.

    The rows are not read at one moment. If a tablet is split meanwhile, it may happen that the row of the lower half
    was not there yet when its place was read, and that the upper half's row tells nothing of it any more: so if rows
    are missing, all is read again. While a table is being made or deleted, some are."""
    found: list[TabletPlace] = []
    for _ in range(_READINGS):
        found = await _read_once(locator, table, insist)
        if not has_gap(found):
            break
    return found


async def _read_once(
    locator: Locator, table: str | None, insist: Callable[[Answer], Awaitable[wire.ScanRowsReply]]
) -> list[TabletPlace]:
    if table is None:
        start, end = USER_ROWS, b""
    else:
        start, end = search_range(table, b"")[0][:-2], search_range(table, b"")[1]
    found: list[TabletPlace] = []
    while True:

        async def some(start: bytes = start) -> wire.ScanRowsReply:
            parent = await locator.place_of(METADATA, start)
            reply = await locator.rows_of(parent, start, end, 0)
            if not reply.HasField("next") and parent.end_row and (not end or parent.end_row < end):
                reply.next = parent.end_row
            return reply

        reply = await insist(some)
        found += with_lower_half(decode_place(row.cells[0].value, row.key) for row in reply.rows)
        if not reply.HasField("next"):
            return found
        start = reply.next
