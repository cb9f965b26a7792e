"""Planted bugs of tables, one for each mechanism beside those in `bugs.py`: see `cluster/swarm/bugs.py`."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from cluster.swarm.bug_tools import Bug, Planted, noted_in, replaced
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.locating import Locator
from tablet.client.metadata import MetadataRows
from tablet.engine import engine as engines
from tablet.engine.engine import Engine
from tablet.engine.log.sorted_log import Part, SortedLog
from tablet.engine.maintenance import housekeeping
from tablet.engine.maintenance.compaction import write_slice
from tablet.engine.model.chunks import Chunk
from tablet.engine.model.operations import DeleteRow, SetCell
from tablet.engine.tree.manifest import Manifest
from tablet.hosting.life import Life
from tablet.location.once import Once
from tablet.location.places import METADATA, PLACE_COLUMN, encode_place, key_of
from tablet.master.old_logs import OldLogs
from tablet.server import reshaping

PLANTED: dict[str, Bug] = {}
bug = noted_in(PLANTED)


def _silent(*arguments: Any, **named: Any) -> None:
    """Does nothing, in the place of a function that is no coroutine."""


@bug
def split_forgets_the_middle_row() -> Planted:
    """The first row of the upper half is the row at which a tablet is split. Without it in the upper half, no half has
    it (BT 5.2)."""
    part_of = reshaping.part_of

    def without_the_first(manifest: Manifest, name: str, start: bytes, end: bytes, share: Any) -> Manifest:
        begin = start + b"\0" if start != manifest.start_row else start
        return replace(part_of(manifest, name, begin, end, share), start_row=start)

    return replaced(reshaping, "part_of", without_the_first)


@bug
def replay_stops_early() -> Planted:
    """All of a tablet's mutations in a dead server's log are read. Without the last one of each part, it is lost (BT
    5.3, 6)."""
    read = SortedLog.read

    async def all_but_the_last(self: SortedLog, part: Part) -> AsyncIterator[tuple[int, bytes, bytes]]:
        held: tuple[int, bytes, bytes] | None = None
        async for mutation in read(self, part):
            if held is not None:
                yield held
            held = mutation

    return replaced(SortedLog, "read", all_but_the_last)


@bug
def requests_to_tablets_made_twice() -> Planted:
    """Without remembering which requests it has carried out, a server makes a mutation again whose message came twice,
    and puts old values over what was written since (BT 3)."""

    async def each_time(self: Once, name: Any, work: Callable[[], Any]) -> Any:
        return await work()

    return replaced(Once, "run", each_time)


@bug
def places_never_forgotten() -> Planted:
    """Without forgetting a place that has turned out to be old, a client asks the same server for ever (BT 5.1)."""
    return replaced(Locator, "forget", _silent)


@bug
def metadata_row_overwritten() -> Planted:
    """A row of METADATA is changed by compare-and-set. Without it, who acts upon something old undoes what others have
    done since, and gives a tablet to two servers (BT 5.2)."""

    async def regardless(self: MetadataRows, before: TabletPlace | None, after: TabletPlace | None) -> bool:
        place = after if after is not None else before
        assert place is not None
        made = [SetCell(PLACE_COLUMN, encode_place(after))] if after is not None else [DeleteRow()]
        await self._tables.mutate(METADATA, key_of(place), made)
        return True

    return replaced(MetadataRows, "replace", regardless)


@bug
def tablet_loaded_again_under_a_spent_token() -> Planted:
    """Under a token under which a tablet was unloaded or split, a server does not load it again. Without looking at
    that, an order that is late has it served beside its halves, or beside its next server (BT 5.2)."""
    return replaced(Life, "spend", _silent)


@bug
def needed_logs_removed() -> Planted:
    """The log of a dead server stays until no row of METADATA names it. Without looking there, it is removed before the
    tablets that need it have read it and have flushed what they read (BT 6)."""
    of_the_dead = OldLogs.of_the_dead

    async def at_once(self: OldLogs) -> list[str]:
        await self.remove(await of_the_dead(self), ())
        return []

    return replaced(OldLogs, "of_the_dead", at_once)


@bug
def deletion_dropped_too_early() -> Planted:
    """A deletion stays until a compaction takes in everything older. Without that, what was deleted comes back from an
    older SSTable (BT 5.4)."""

    async def without_deletions(chunk: Chunk, writer: Any, *, schema: Any, now: int, drop_markers: bool) -> None:
        await write_slice(chunk, writer, schema=schema, now=now, drop_markers=True)

    return replaced(housekeeping, "write_slice", without_deletions)


@bug
def moved_with_its_memory_unflushed() -> Planted:
    """Before a tablet is moved or split, what is in its memory is flushed: nobody reads its log then. Without that, it
    is lost (BT 6: two minor compactions before a move)."""

    async def refuse_alone(self: Engine) -> None:
        self._check_writable()
        self._writer.refusal = engines._MOVING

    return replaced(Engine, "prepare_move", refuse_alone)
