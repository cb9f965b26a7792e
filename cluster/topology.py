"""Which rack and which data centre each chunkserver of a cluster stands in (GFS 4.2).

On one desk all of them are on one table; racks are names, by which the master spreads replicas, and by which a
simulation knows what falls dark together. They are written as a list:

    r1,r2,r3                three racks
    dc1:r1,r2/dc2:r3        two racks in one data centre, one in another

Chunkservers take them in turn, so that those that are added later continue the round.

>>> [str(place) for place in places_in("dc1:r1,r2/dc2:r3")]
['dc1/r1', 'dc1/r2', 'dc2/r3']
>>> str(place_of("cs4", "dc1:r1,r2/dc2:r3")), str(place_of("cs4", "")), racks(3)
('dc1/r1', '', 'r1,r2,r3')
>>> places_in("r1,,r2")
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: topology 'r1,,r2': expected racks such as r1,r2 or, with data centres, dc1:r1,r2/dc2:r3
"""

import re
from collections.abc import Sequence

from master.balance.racks import NOWHERE, Place
from runtime.errors import InvalidRequest, shown

_NAME = "[A-Za-z0-9_.-]{1,40}"
_CENTRE = re.compile(rf"(?:({_NAME}):)?({_NAME}(?:,{_NAME})*)")


def places_in(topology: str) -> list[Place]:
    """The racks of a topology, in their order; none of "". Raises InvalidRequest."""
    found: list[Place] = []
    for part in topology.split("/") if topology else ():
        match = _CENTRE.fullmatch(part)
        if match is None:
            raise InvalidRequest(
                f"topology {shown(topology)}: expected racks such as r1,r2 or, with data centres, dc1:r1,r2/dc2:r3"
            )
        found += [Place(match[1] or "", rack) for rack in match[2].split(",")]
    if len(dict.fromkeys(found)) < len(found):
        raise InvalidRequest(f"topology {shown(topology)}: a rack is named twice")
    return found


def racks(count: int) -> str:
    """The topology of so many racks, without data centres. Raises InvalidRequest."""
    if count < 1:
        raise InvalidRequest(f"{count} racks: expected 1 or more")
    return ",".join(f"r{number}" for number in range(1, count + 1))


def place_of(node: str, topology: str) -> Place:
    """Where a chunkserver stands: "cs1" in the first rack, and so on in turn."""
    places, number = places_in(topology), node.removeprefix("cs")
    return places[(int(number) - 1) % len(places)] if places and number.isdecimal() else NOWHERE


def topology_of(places: Sequence[Place]) -> str:
    """The topology by which chunkservers from the first on stand at these places, as far as they show it.

    >>> topology_of(places_in("dc1:r1,r2/dc2:r3") * 2)
    'dc1:r1,r2/dc2:r3'
    """
    parts: list[tuple[str, list[str]]] = []
    for place in dict.fromkeys(places):
        if not place.rack:
            return ""
        if not parts or parts[-1][0] != place.data_centre:
            parts.append((place.data_centre, []))
        parts[-1][1].append(place.rack)
    return "/".join(f"{centre}:{','.join(names)}" if centre else ",".join(names) for centre, names in parts)
