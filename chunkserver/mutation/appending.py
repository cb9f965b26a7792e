"""Where a record goes: the primary's decision in a record append (GFS 3.3). Pure.

The problem. Many clients append to one file at once and do not know where it ends. The idea: they name only the data,
and the primary of the last chunk chooses the offset, in the same step in which it gives the mutation its serial number.
A record that does not fit is no part of the chunk: the rest of the chunk is padded with zeros on every replica, and the
client goes on to the next one.

    |  on every replica  |  in flight  |  left by failed tries  |  free            |
                         ^ sound_end   ^ flight_end             ^ tried_end        ^ capacity
                                       |<------- padding ------------------------->|
                                                                |<- record ->|

Invariants:
1. A record never overlaps what was acknowledged, nor what is in flight: an acknowledged record stays what it is.
2. A record is not placed where an earlier try under this lease may have left bytes. A reader that follows the file and
   has passed over these remains finds it after them.
3. A chunk is called full only when every replica has its full size. So nothing is ever appended to a chunk that the
   clients have left, and readers pass over it once.
4. Padding covers no byte that was acknowledged or is in flight. It may cover remains, which then read as zeros
   everywhere.
5. Nothing is appended to a chunk once its file has a later one. A client that remembers the earlier chunk is sent on,
   and the chunk is padded before: readers have left it, and no gap stays behind that may still be filled.
"""

import enum
from dataclasses import dataclass

from chunkserver.mutation.leases import Lease


class Place(enum.Enum):
    """What to do with a record."""

    HERE = "write it at the offset"
    PADDING = "pad the chunk from the offset to its end; the record goes to the next chunk"
    FULL = "the record goes to the next chunk"
    LATER = "what is in flight decides"


@dataclass(frozen=True, slots=True)
class Placed:
    """The decision, and where in the chunk it holds, bytes."""

    place: Place
    offset: int = 0


def plan_append(lease: Lease, length: int, capacity: int) -> Placed:
    """Where a record of `length` bytes goes in the chunk of a lease; the chunk holds `capacity` bytes.

    >>> lease = Lease(handle=7, version=1, secondaries=(), until=60.0, duration=60.0, sound_end=90)
    >>> plan_append(lease, 10, 100)
    Placed(place=<Place.HERE: 'write it at the offset'>, offset=90)
    >>> plan_append(lease, 11, 100).place.value
    'pad the chunk from the offset to its end; the record goes to the next chunk'
    """
    flight_end = lease.reach(lease.sound_end)
    end = max(flight_end, lease.tried_end)
    if end + length <= capacity and not lease.file_goes_on:
        return Placed(Place.HERE, end)
    if flight_end < capacity:
        return Placed(Place.PADDING, flight_end)
    return Placed(Place.FULL if lease.sound_end >= capacity else Place.LATER)
