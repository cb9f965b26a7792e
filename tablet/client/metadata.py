"""METADATA rows, changed by compare-and-set: for tablet servers and for the tablet master (BT 5.1, 5.2)."""

from runtime.errors import NotFound
from runtime.wire.tables_pb2 import TabletEvent, TabletPlace
from tablet.client.client import TableClient
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import DeleteRow, Operation, SetCell
from tablet.location.places import (
    METADATA,
    PLACE_COLUMN,
    alone,
    decode_place,
    encode_place,
    key_of,
    merge_given_up,
    version,
)
from tablet.location.tablet_log import EVENTS_COLUMN, decode_log, event_of

_PLACE = ReadFilter(columns=[PLACE_COLUMN], versions=1)


class MetadataRows:
    """The rows of all tablets but the root tablet, as one client of the table METADATA. `node`: who changes them, for
    their logs."""

    def __init__(self, tables: TableClient, node: str = "") -> None:
        self._tables = tables
        self._node = node
        self._keeps_log = True  # Until a METADATA of an older program refuses it.

    async def read(self, place: TabletPlace) -> TabletPlace | None:
        """The row of the tablet that ends where this one does; None if there is none. Raises as `TableClient.read`."""
        key = key_of(place)
        found = await self._tables.read(METADATA, key, _PLACE)
        return None if found is None else decode_place(found[1][0].value, key)

    async def replace(self, before: TabletPlace | None, after: TabletPlace | None) -> bool:
        """Make the row of a tablet `after` (None: remove it), if it is `before` (None: if there is none); returns
        whether it is `after` now. Both end at the same row. Raises as `TableClient.mutate`."""
        has_tried_with_log = self._keeps_log
        try:
            return await self._replace(before, after)
        except NotFound:
            if not has_tried_with_log:
                raise
            self._keeps_log = False  # METADATA was made without the family of the logs.
            return await self._replace(before, after)

    async def _replace(self, before: TabletPlace | None, after: TabletPlace | None) -> bool:
        place = after if after is not None else before
        assert place is not None
        key = key_of(place)
        made = [DeleteRow()] if after is None else self._made(before, after)
        if before is None:
            is_there = await self._tables.check_and_mutate(METADATA, key, _PLACE, [], made)
            return not is_there or await self.read(place) == after
        was = await self._tables.check_and_mutate(METADATA, key, _PLACE, made, [], value=encode_place(before))
        return was or await self.read(place) == after

    def _made(self, before: TabletPlace | None, after: TabletPlace) -> list[Operation]:
        made: list[Operation] = [SetCell(PLACE_COLUMN, encode_place(after))]
        if self._keeps_log:
            event = event_of(before, after, self._node)
            made.append(SetCell(EVENTS_COLUMN, event.SerializeToString(deterministic=True)))
        return made

    async def events(self, place: TabletPlace) -> list[tuple[int, TabletEvent]]:
        """The log of a tablet's row, the oldest event first, with times in microseconds (`tablet/location`). Raises as
        `TableClient.read`."""
        found = await self._tables.read(METADATA, key_of(place), ReadFilter(columns=[EVENTS_COLUMN]))
        return [] if found is None else decode_log(found[1])

    async def settle(self, upper: TabletPlace) -> None:
        """Give the lower half a row of its own, and take it out of the upper one's (`tablet/location`). A merge under
        way is given up. May be done again, by another one too."""
        if upper.merging:
            given_up = merge_given_up(upper)
            if not await self.replace(upper, given_up):
                return  # It is merged, or another one has given it up.
            upper = given_up
        await self._give_own_row(upper.lower_half)
        await self.replace(upper, alone(upper))

    async def _give_own_row(self, lower: TabletPlace) -> None:
        while not await self.replace(None, lower):
            now = await self.read(lower)
            if now is None:
                continue
            if version(now) >= version(lower) or await self.replace(now, lower):
                return
