"""Is every byte that was read one that could be there?

The problem. Several clients write to the same places of a file, some writes fail, and readers may look at what was true
a while ago. GFS Table 1 does not promise an order that all agree on, but it promises enough to judge each byte.

The idea. A byte that a reader sees in a file comes from one of the writes to that place, or is a zero that nobody has
written over. A write is a *possible* source if it was asked for before the read was answered, and was not refused. It
is no possible source any more once it was *covered*: another write to the same place was acknowledged for certain
before the read began, and had been asked for only after the first one was over.

    acknowledged     over when it was answered: a primary refuses the earlier tries of it that are still under way
    in doubt         over `LATE_SECONDS` after the client gave up: a message may be late by as much, and until another
                     write covers the place, the bytes may be seen on one replica and not on the next
    given up         by a caller that cancelled it: as in doubt, from the next call on its open file on that returned,
                     which acknowledges it if the file had taken all of its bytes
    never answered   as in doubt, from the death of its client on
    refused          never a source: it did not happen and never will

A write is *certain* for a read if it was acknowledged before the read began. For a reader that may use locations that
another client's write has outdated, "began" is `stale_seconds` earlier (GFS 2.7.1: bounded by the time-out of the
client's cache); its own writes it never misses. A write that the declared durability allows to be lost in a power cut
is only in doubt for reads that end after that cut.

A file is as long as the end of its last write that counts: no shorter than every certain write, no longer than every
possible one.

What we simplify. Reads are judged one by one (regular, not atomic): two reads may see two concurrent writes in
different order.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cluster.swarm.appends import Append, judge_appended, judge_appended_length
from cluster.swarm.copies import named
from cluster.swarm.history import Answer, stamp

LATE_SECONDS = 60.0
_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Write:
    """One write to one range of one file. `stamped_from` is the place in the operation's stream of its first byte, or
    in `data` if it wrote bytes of its own; `may_be_lost_from` the moment of the power cut that was allowed to take it
    away."""

    operation: int
    client: str
    begin: int
    end: int
    invoked: float
    responded: float
    answer: Answer
    stamped_from: int = 0
    may_be_lost_from: float = math.inf
    over_at: float = math.inf  # a snapshot was taken: it cannot take effect in the copy any more
    is_inherited: bool = False  # it was written to the file of which this one is a copy
    data: bytes = b""  # all that the operation wrote, if that is not its stamp

    @property
    def over(self) -> float:
        """From when on it cannot take effect any more."""
        over = self.responded if self.answer is Answer.VALUE else self.responded + LATE_SECONDS
        return min(over, self.over_at)

    def bytes_at(self, begin: int, end: int) -> bytes:
        """What it puts there."""
        first = self.stamped_from + begin - self.begin
        return self.data[first : first + end - begin] if self.data else stamp(self.operation, first, end - begin)


@dataclass(frozen=True, slots=True)
class Read:
    """What one reader saw of one file. `wanted`: how many bytes it asked for, None for all up to the end."""

    operation: int
    client: str
    begin: int
    data: bytes
    wanted: int | None
    invoked: float
    responded: float
    stale_seconds: float = 0.0

    @property
    def end(self) -> int:
        """Just behind the last byte that was seen."""
        return self.begin + len(self.data)


@dataclass(slots=True)
class FileHistory:
    """A file, named by the operation that created it, and all writes to it. One that takes records (`appends`, in
    chunks of `chunk_bytes`) takes nothing else."""

    file: int
    writes: list[Write] = field(default_factory=list)
    appends: list[Append] = field(default_factory=list)
    chunk_bytes: int = 0


def is_certain(write: Write, read: Read) -> bool:
    """Whether this reader must see the write, or what came after it."""
    if write.answer is not Answer.VALUE or write.may_be_lost_from <= read.responded:
        return False
    # What a copy was made with is in whatever its readers know of it.
    stale = 0.0 if write.client == read.client or write.is_inherited else read.stale_seconds
    return write.responded < read.invoked - stale


def is_possible(write: Write, read: Read) -> bool:
    """Whether this reader may see the write, if nothing covers it."""
    return write.answer is not Answer.REFUSED and write.invoked < read.responded


def judge_length(file: FileHistory, read: Read, length: int) -> str:
    """What is wrong with a length; "" if nothing is."""
    if file.appends:
        return judge_appended_length(file.appends, length, read.invoked, read.responded)
    least = max((write for write in file.writes if is_certain(write, read)), key=lambda write: write.end, default=None)
    most = max((write.end for write in file.writes if is_possible(write, read)), default=0)
    if least is not None and length < least.end:
        return (
            f"the file ends at {length}, but operation {least.operation} of {least.client} had been acknowledged "
            f"{read.invoked - least.responded:.3f} s before and reaches to {least.end}"
        )
    if length > most:
        return f"the file ends at {length}, but nobody has asked to write beyond {most}"
    return ""


def judge_read(file: FileHistory, read: Read) -> str:
    """What is wrong with what was read; "" if every byte is explained."""
    if file.appends:
        return judge_appended(file.appends, read.data, file.chunk_bytes, read.invoked, read.responded)
    if read.wanted is None or len(read.data) < read.wanted:
        # The file ended here, or before the place that was asked for.
        certain = max((write.end for write in file.writes if is_certain(write, read)), default=0)
        if certain > read.end and (read.wanted is None or read.wanted > 0):
            complaint = judge_length(file, read, read.end)
            if complaint:
                return complaint
    if read.data:
        complaint = judge_length(file, read, max(read.end, _certain_end(file, read)))
        if complaint:
            return complaint
    cuts = {read.begin, read.end}
    for write in file.writes:
        cuts.update(place for place in (write.begin, write.end) if read.begin < place < read.end)
    ordered = sorted(cuts)
    for begin, end in itertools.pairwise(ordered):
        complaint = _judge_part(file, read, begin, end)
        if complaint:
            return complaint
    return ""


def _certain_end(file: FileHistory, read: Read) -> int:
    return max((write.end for write in file.writes if is_certain(write, read)), default=0)


def _judge_part(file: FileHistory, read: Read, begin: int, end: int) -> str:
    """Judge a range in which no write begins or ends."""
    here = [write for write in file.writes if write.begin <= begin and end <= write.end]
    certain = [write for write in here if is_certain(write, read)]
    sources = [
        write
        for write in here
        if is_possible(write, read) and not any(other.invoked > write.over for other in certain if other is not write)
    ]
    seen = read.data[begin - read.begin : end - read.begin]
    images = [write.bytes_at(begin, end) for write in reversed(sources)]
    if not certain:
        images.append(bytes(end - begin))
    if any(seen == image for image in images):
        return ""
    place = _first_unexplained(seen, images)
    if place is None:
        return ""
    return _complaint(file, read, begin + place, seen[place:], sources, certain)


def _first_unexplained(seen: bytes, images: Sequence[bytes]) -> int | None:
    """The first place whose byte is in none of the images: any mixture of them is legal."""
    for sector in range(0, len(seen), _SECTOR):
        piece = seen[sector : sector + _SECTOR]
        if any(piece == image[sector : sector + _SECTOR] for image in images):
            continue
        for place in range(sector, sector + len(piece)):
            if all(seen[place] != image[place] for image in images):
                return place
    return None


def _complaint(
    file: FileHistory, read: Read, place: int, seen: bytes, sources: Sequence[Write], certain: Sequence[Write]
) -> str:
    found = whose(file.writes, place, seen[:16])
    if found is not None:
        state = "refused" if found.answer is Answer.REFUSED else "covered by a later acknowledged write"
        what = f"the bytes of operation {found.operation}, which was {state}"
    elif not any(seen[:16]):
        what = "zeros"
    else:
        what = f"bytes of no write to this place ({seen[:8].hex()})"
    expected = ", ".join(str(write.operation) for write in sources) or "nothing"
    must = max(certain, key=lambda write: write.responded, default=None)
    since = ""
    if must is not None:
        age = read.invoked - must.responded
        since = f"; operation {must.operation} of {must.client} had been acknowledged {age:.3f} s before"
    return f"at byte {place} of the file created by {named(file.file)} it sees {what}; possible here: {expected}{since}"


def whose(writes: Iterable[Write], place: int, seen: bytes) -> Write | None:
    """The write whose bytes these are, if they are those of one."""
    for write in writes:
        end = min(place + len(seen), write.end)
        if (
            len(seen) >= 4
            and write.begin <= place
            and end - place >= 4
            and write.bytes_at(place, end) == seen[: end - place]
        ):
            return write
    return None
