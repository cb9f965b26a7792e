"""Racks and data centres of simulated nodes: what lies between them costs time, and has a bandwidth of its own.

The problem. That copies are spread over racks costs something: every push crosses a switch that others use as well
(GFS 4.2), and where each replica is nearest only shows if far is slower than near. The idea: nodes have a place, and
there is a *way out* of each rack and of each data centre, with a latency and a pair of cards that all nodes behind it
share. A node without a place is at the core, and pays only for the other's way.

>>> distances = Distances(WayOut(rack_seconds=0.001, data_centre_seconds=0.02))
>>> for node, centre, rack in (("cs1", "dc1", "a"), ("cs2", "dc1", "b"), ("cs3", "dc2", "c")):
...     distances.place(node, centre, rack)
>>> [distances.seconds("cs1", other) for other in ("cs1", "cs2", "cs3", "client")]
[0.0, 0.002, 0.042, 0.021]
"""

from dataclasses import dataclass

from runtime.simulated.cards import Card, CardMaker


@dataclass(frozen=True, slots=True)
class WayOut:
    """Seconds that each passage out of, or into, a rack and a data centre takes; bytes a second, 0: without limit."""

    rack_seconds: float = 0.0
    data_centre_seconds: float = 0.0
    rack_bytes_per_second: float = 0.0
    data_centre_bytes_per_second: float = 0.0


class Distances:
    """Places of nodes, and the ways between them."""

    def __init__(self, ways: WayOut | None = None, make: CardMaker = Card) -> None:
        self._ways = ways or WayOut()
        self._make = make
        self._places: dict[str, tuple[str, str]] = {}
        self._cards: dict[tuple[str, ...], tuple[Card, Card]] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def place(self, node: str, data_centre: str, rack: str) -> None:
        """Say where a node stands."""
        self._places[node] = (data_centre, rack)

    def nodes_in(self, data_centre: str, rack: str) -> list[str]:
        """The nodes of one rack, in order of their placing."""
        return [node for node, place in self._places.items() if place == (data_centre, rack)]

    def seconds(self, source: str, target: str) -> float:
        """How much longer a hop takes than between neighbours."""
        racks, centres = self._passages(source, target)
        return len(racks) * self._ways.rack_seconds + len(centres) * self._ways.data_centre_seconds

    def cards(self, source: str, target: str) -> list[Card]:
        """The shared cards that bytes pass between the two nodes' own."""
        if not (self._ways.rack_bytes_per_second or self._ways.data_centre_bytes_per_second):
            return []
        racks, centres = self._passages(source, target)
        found = []
        speeds = (self._ways.rack_bytes_per_second, self._ways.data_centre_bytes_per_second)
        for names, speed in zip((racks, centres), speeds, strict=True):
            for name, is_outward in names:
                if speed:
                    pair = self._cards.setdefault(name, (self._make(speed), self._make(speed)))
                    found.append(pair[0] if is_outward else pair[1])
        return found

    def _passages(
        self, source: str, target: str
    ) -> tuple[list[tuple[tuple[str, ...], bool]], list[tuple[tuple[str, ...], bool]]]:
        """Which racks and which data centres are left (True) or entered."""
        here, there = self._places.get(source), self._places.get(target)
        if here == there:
            return [], []
        ends = [(place, is_outward) for place, is_outward in ((here, True), (there, False)) if place is not None]
        racks: list[tuple[tuple[str, ...], bool]] = [(place, is_outward) for place, is_outward in ends]
        if here is not None and there is not None and here[0] == there[0]:
            return racks, []
        return racks, [((place[0],), is_outward) for place, is_outward in ends]
