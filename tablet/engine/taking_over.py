"""Taking over a tablet whose server died: its SSTables, and what the sorted log of that server holds besides (BT 6).

The memtable is filled from the log, piece by piece, and flushed whenever it is full, or the memory that it shares with
other tablets is, and at the end, before anybody is served. So memory stays bounded by a memtable, or by the share of
it, and the mutations of one piece; and once the tablet is open it needs
nothing of the other server any more. The redo point says how far it has got: who is interrupted begins where it stands.

Sequences. The server that takes over has a log of its own, with sequences of its own. The tablet's records there must
be later than those that it brings along, so the log passes over all sequences up to the redo point.
"""

from collections.abc import Callable

from runtime.errors import Conflict
from tablet.engine.log.sorted_log import SortedLog
from tablet.engine.maintenance.housekeeping import Housekeeping
from tablet.engine.tree.state import TabletState
from tablet.engine.world.events import TabletTakenOver


async def take_over(
    state: TabletState, housekeeping: Housekeeping, former: SortedLog, *, has_room: Callable[[], bool]
) -> None:
    """Bring the mutations that only the log of the tablet's former server has into SSTables. The tablet was opened with
    the log of its new server and serves nobody yet. `has_room`: whether the memory for all tablets has room for more.

    Raises Conflict if that log has records of the tablet too; Corrupted, NoSpace, DiskFailure.
    """
    tablet = state.manifest.tablet
    parts = former.parts_of(tablet, state.manifest.flushed_sequence)
    if parts and len(state.memtable):
        raise Conflict(
            f"tablet {tablet!r} has rows in the log of {state.log.owner!r} and in that of {former.owner!r}, and nobody "
            f"knows which are newer; open it with the log of {state.log.owner!r} alone, and flush it"
        )
    rows = 0
    for place, part in enumerate(parts, 1):
        redo_point = state.manifest.flushed_sequence
        state.memtable.begin(max(part.first_sequence, redo_point + 1))
        async for sequence, row, fragment in former.read(part):
            if sequence > redo_point:
                state.memtable.apply(row, fragment, sequence)
                rows += 1
        state.last_timestamp = max(state.last_timestamp, part.last_timestamp)
        is_full = state.memtable.charged_bytes >= state.options.memtable_bytes or not has_room()
        if is_full or place == len(parts):
            state.freeze(part.last_sequence)
            await housekeeping.flush_oldest()
        await state.world.breathe()
    state.log.pass_over(state.manifest.flushed_sequence)
    if parts:
        flushed = state.manifest.flushed_sequence
        state.world.events.emit(TabletTakenOver(tablet, former.owner, rows, flushed))
