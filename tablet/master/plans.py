"""Whom to give a tablet to: decisions from what is known, without doing anything (BT 5.2).

>>> least_loaded({"ts1-1": 3, "ts2-4": 1, "ts3-9": 1})
'ts2-4'
"""

from collections.abc import Collection, Mapping, Sequence

from runtime.wire.tables_pb2 import TabletPlace


def least_loaded(tablets: Mapping[str, int]) -> str | None:
    """The server with the fewest tablets; None if there is none."""
    return min(tablets, key=lambda name: (tablets[name], name), default=None)


def tablets_by_server(places: Sequence[TabletPlace], alive: Collection[str]) -> dict[str, int]:
    """How many tablets METADATA gives to each of the living servers."""
    counts = dict.fromkeys(sorted(alive), 0)
    for place in places:
        if place.server in counts:
            counts[place.server] += 1
    return counts


def needed_logs(places: Sequence[TabletPlace]) -> set[str]:
    """The lives of servers whose logs may have something that a tablet needs."""
    return {life for place in places for life in place.logs}
