"""Since when tablets are served by nobody, as far as this master has seen.

>>> from runtime.wire.tables_pb2 import TabletPlace
>>> waiting, one = Waiting(), TabletPlace(tablet="users-000003")
>>> waiting.note([one], lambda place: False, now=5.0); waiting.note([one], lambda place: False, now=7.0)
>>> waiting.since
{'users-000003': 5.0}
>>> waiting.note([one], lambda place: True, now=8.0); waiting.since
{}
"""

from collections.abc import Callable, Sequence

from runtime.wire.tables_pb2 import TabletPlace


class Waiting:
    """`since`: the moments, in seconds of the master's clock, by tablet."""

    def __init__(self) -> None:
        self.since: dict[str, float] = {}

    def note(self, places: Sequence[TabletPlace], is_served: Callable[[TabletPlace], bool], now: float) -> None:
        """These are all tablets that are known."""
        waiting = [place.tablet for place in places if not is_served(place)]
        self.since = {tablet: self.since.get(tablet, now) for tablet in waiting}
