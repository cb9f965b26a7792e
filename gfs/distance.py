"""Which replica is near (GFS 2.4, 3.2). Pure functions.

The problem. A reader wants the nearest replica, and a pushed block should cross each link once: the client sends to the
nearest replica, that one to the nearest of those that have not got it, and so on. The paper's network is laid out so
that distance can be estimated from IP addresses; so do we: the same host is at distance 0, and two IPv4 addresses are
the farther apart the earlier their bits differ. Servers that were told their rack and data centre say so (GFS 4.2), and
that goes before addresses: another data centre is farther than another rack.

On one desk every server is equally near. If ties went to the first by name, one server would do all the work, so ties
are turned by `spread`. For a push it is a number that belongs to the chunk. For a read the client's own number is
added: of many clients that read one chunk each begins at another replica, so that they share the work (GFS 2.5), and
one client always begins at the same, whose page cache then holds it.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.wire.common_pb2 import Location

UNKNOWN_DISTANCE = 33


def host_of(address: str) -> str:
    """The host of "host:port".

    >>> host_of("127.0.0.1:4000")
    '127.0.0.1'
    """
    return address.rpartition(":")[0]


def distance(one: str, other: str) -> int:
    """How far two hosts are apart: 0 on the same host, up to 32 for IPv4 addresses, 33 if their addresses do not tell.

    >>> distance("10.0.1.7", "10.0.1.7"), distance("10.0.1.7", "10.0.1.6"), distance("10.0.1.7", "10.9.0.1")
    (0, 1, 20)
    >>> distance("cs1", "cs2")
    33
    """
    if one == other and one:
        return 0
    try:
        return (int(ipaddress.IPv4Address(one)) ^ int(ipaddress.IPv4Address(other))).bit_length()
    except ValueError:
        return UNKNOWN_DISTANCE


@dataclass(frozen=True, slots=True)
class Spot:
    """Where somebody is, as far as is known: a host, a rack, a data centre."""

    host: str = ""
    rack: str = ""
    data_centre: str = ""


def spot_of(replica: Location) -> Spot:
    """Where a chunkserver is."""
    return Spot(host_of(replica.bulk_address), replica.rack, replica.data_centre)


def steps(one: Spot, other: Spot) -> tuple[int, int]:
    """How far two are apart, to be compared: 0 in one rack (or nobody has said), 1 in another one, 2 in another data
    centre; and then the distance of their hosts.

    >>> here = Spot("h1", "a", "dc1")
    >>> steps(here, Spot("h2", "a", "dc1")), steps(here, Spot("h3", "b", "dc1")), steps(here, Spot("h4", "c", "dc2"))
    ((0, 33), (1, 33), (2, 33))
    >>> steps(here, here), steps(Spot("h1"), Spot("h4", "c", "dc2"))
    ((0, 0), (0, 33))
    """
    is_told = bool(one.rack or one.data_centre) and bool(other.rack or other.data_centre)
    level = 0
    if is_told and one.data_centre != other.data_centre:
        level = 2
    elif is_told and one.rack != other.rack:
        level = 1
    return level, distance(one.host, other.host)


def nearest_first(replicas: Sequence[Location], own: Spot, spread: int) -> list[Location]:
    """The replicas in the order in which a reader at `own` should try them.

    >>> three = [Location(server=name, bulk_address=f"{name}:1") for name in ("cs1", "cs2", "cs3")]
    >>> [replica.server for replica in nearest_first(three, Spot("cs3"), spread=0)]
    ['cs3', 'cs1', 'cs2']
    >>> [replica.server for replica in nearest_first(three, Spot(), spread=1)]
    ['cs2', 'cs3', 'cs1']
    """
    turned = _turned(replicas, spread)
    return sorted(turned, key=lambda replica: steps(own, spot_of(replica)))


def plan_chain(replicas: Sequence[Location], own: Spot, spread: int) -> list[Location]:
    """The order in which pushed data visits the replicas: always on to the nearest that has not got it (GFS 3.2).

    >>> racks = [Location(server=host, bulk_address=f"{host}:1") for host in ("10.0.2.1", "10.0.1.2", "10.0.2.2")]
    >>> [replica.server for replica in plan_chain(racks, Spot("10.0.1.1"), spread=0)]
    ['10.0.1.2', '10.0.2.1', '10.0.2.2']
    """
    left, here, chain = _turned(replicas, spread), own, []
    while left:
        nearest = min(left, key=lambda replica: steps(here, spot_of(replica)))
        left.remove(nearest)
        chain.append(nearest)
        here = spot_of(nearest)
    return chain


def _turned(replicas: Sequence[Location], spread: int) -> list[Location]:
    by_name = sorted(replicas, key=lambda replica: replica.server)
    begin = spread % len(by_name) if by_name else 0
    return by_name[begin:] + by_name[:begin]
