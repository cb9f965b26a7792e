"""Racks and data centres: which sets of servers keep a chunk from being lost with one of them (GFS 4.2). Pure.

The problem. The machines of a rack share a switch and a circuit, those of a data centre a roof. Copies that are all in
one rack are all away when its switch fails. The idea: where there are several data centres, of three copies two are in
one of them, in different racks, and one is in another; with racks only, not all are in one rack. The paper asks for
"across racks"; two data centres and no more are enough to survive the loss of one, and each further one costs a long
way in every push.

A `Topology` says what there is. `breaks` counts how often a set of places breaks the rule *as far as it could be kept*:
with a single rack there is nothing to spread over. `cost` compares sets that keep it, the lower the better.

>>> topology = Topology([Place("dc1", "a"), Place("dc1", "b"), Place("dc2", "c")])
>>> topology.breaks([Place("dc1", "a"), Place("dc1", "b"), Place("dc2", "c")])
0
>>> topology.breaks([Place("dc1", "a"), Place("dc1", "a"), Place("dc2", "c")])  # two copies in one rack of dc1
1
>>> topology.breaks([Place("dc1", "a"), Place("dc1", "b"), Place("dc1", "b")])  # all in one data centre
1
>>> Topology([Place("", "a")]).breaks([Place("", "a"), Place("", "a")])
0
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

ENOUGH_DATA_CENTRES = 2


class Place(NamedTuple):
    """Where a server stands. Empty names are names too: a cluster that was told of no racks is in one."""

    data_centre: str = ""
    rack: str = ""

    def __str__(self) -> str:
        return "/".join(name for name in (self.data_centre, self.rack) if name)


NOWHERE = Place()


class Topology:
    """The racks of each data centre in which servers can take copies now."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._racks: dict[str, dict[str, None]] = {}
        for place in places:
            self._racks.setdefault(place.data_centre, {})[place.rack] = None

    def breaks(self, places: Sequence[Place]) -> int:
        """How often copies at these places break the rule, where it could be kept."""
        if len(places) < 2:
            return 0
        used: dict[str, list[str]] = {}
        for place in places:
            used.setdefault(place.data_centre, []).append(place.rack)
        is_in_one = len(used) == 1 and len(self._racks) > 1
        crowded = [
            centre
            for centre, racks in used.items()
            if len(racks) > 1 and len(dict.fromkeys(racks)) == 1 and len(self._racks.get(centre, ())) > 1
        ]
        return int(is_in_one) + len(crowded)

    def cost(self, places: Sequence[Place]) -> tuple[int, int, int]:
        """The lower the better: breaks of the rule, data centres more than are needed, copies that share a rack."""
        centres = len(dict.fromkeys(place.data_centre for place in places))
        shared = len(places) - len(dict.fromkeys(places))
        return (self.breaks(places), max(0, centres - ENOUGH_DATA_CENTRES), shared)
