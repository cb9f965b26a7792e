"""What METADATA remembers of each tablet: "secondary information, including a log of all events pertaining to each
tablet" (BT 5.1).

Each change of a tablet's METADATA row writes one event beside the place, in the same atomic step: so the log has every
change that took effect, and none that did not. It is a column of its own family, of which the row keeps the newest
`KEPT_EVENTS` versions; when they happened is their timestamp. A row has the key of the tablet's end, so that the upper
half of a split tablet continues its log, and the lower half begins one.

>>> before = TabletPlace(tablet="users-3", server="ts1-7", token=5, logs=["ts1-7"])
>>> after = TabletPlace(tablet="users-3", server="ts2-9", token=6, logs=["ts1-7", "ts2-9"])
>>> in_words(event_of(before, after, "tm1"))
'users-3 was taken from ts1-7 and given to ts2-9 under token 6; it needs rows from the log of ts1-7 (says tm1)'
"""

from collections.abc import Sequence

from runtime.wire.tables_pb2 import TabletEvent, TabletPlace
from tablet.engine.model.rows import Cell
from tablet.engine.model.schema import Family, MaxVersions

KEPT_EVENTS = 32
EVENTS_FAMILY = Family("events", MaxVersions(KEPT_EVENTS))
EVENTS_COLUMN = b"events:change"


def event_of(before: TabletPlace | None, after: TabletPlace, by: str) -> TabletEvent:
    """What a change of a row means, from the row before and after it. `by`: the node that made it."""
    event = TabletEvent(
        tablet=after.tablet, by=by, server=after.server, token=after.token, logs=after.logs, end_row=after.end_row
    )
    if before is not None:
        event.old_tablet, event.old_server = before.tablet, before.server
        event.is_served = (before.server, before.token) == (after.server, after.token) and bool(after.server)
        event.old_merging, event.old_lower_tablet = before.merging, before.lower_half.tablet
        if before.HasField("lower_half") and not after.HasField("lower_half"):
            event.is_finished = True
    if after.HasField("lower_half"):
        event.merging = after.merging
        event.lower_tablet, event.split_row = after.lower_half.tablet, after.lower_half.end_row
    return event


def decode_log(cells: Sequence[Cell]) -> list[tuple[int, TabletEvent]]:
    """The events of a row, the oldest first, each with the time at which it was written: microseconds."""
    found = [(cell.timestamp, TabletEvent.FromString(cell.value)) for cell in cells if cell.column == EVENTS_COLUMN]
    return sorted(found, key=lambda event: event[0])


def in_words(event: TabletEvent) -> str:
    """One event as a sentence, without its full stop."""
    return f"{_what(event)}{f' (says {event.by})' if event.by else ''}"


def _what(event: TabletEvent) -> str:
    tablet, server, others = event.tablet, event.server, [log for log in event.logs if log != event.server]
    if event.merging:
        return f"{event.lower_tablet} and {tablet} are about to be merged into {event.merging}"
    if event.old_merging == tablet:
        return f"{event.old_lower_tablet} and {event.old_tablet} were merged into {tablet}"
    if event.old_merging:
        return f"{event.lower_tablet} and {tablet} are not merged into {event.old_merging}: that was given up"
    if event.lower_tablet and event.old_tablet != tablet:
        row = event.split_row.decode("utf-8", "backslashreplace")
        return f"{event.old_tablet} was split at row {row!r} into {event.lower_tablet} and {tablet}"
    if event.old_tablet and event.old_tablet != tablet:
        return f"{tablet} took the place of {event.old_tablet}"
    if not event.old_tablet:
        return f"{tablet} was made" + (f", and {server} has it" if server else "")
    if event.is_finished:
        return f"{tablet} has a row of its own, apart from the lower half's"
    if not server:
        return f"{tablet} was taken from {event.old_server or 'nobody'}, to be moved"
    if event.is_served:
        return f"{tablet} is served by {server}" + (f"; it needs the logs of {', '.join(others)}" if others else "")
    needs = f"; it needs rows from the log of {', '.join(others)}" if others else ""
    source = f"taken from {event.old_server} and " if event.old_server not in ("", server) else ""
    return f"{tablet} was {source}given to {server} under token {event.token}{needs}"
