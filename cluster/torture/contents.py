"""What a file may hold, given the changes that were acknowledged and the ones of which nobody knows.

The problem. A write that fails as *indefinite* may have reached all replicas, some, or none, and parts of it (GFS
Table 1: the region is inconsistent). Two reads of such a place may differ. The idea: beside the bytes of the
acknowledged writes the model keeps the *doubtful* writes. A byte that was read is explained if the acknowledged writes
or one of the doubtful ones put it there; a length, if it lies between the acknowledged one and the end of the longest
doubtful one.

A doubtful write is forgotten where an acknowledged one covers it that was asked for later than `LATE_SECONDS` after
the client gave up: a message may still be under way when its sender has given up.

>>> contents = Contents(b"aaaa")
>>> contents.doubt(2, b"bbbb", now=0.0)
>>> [contents.complaint(read) is None for read in (b"aaaa", b"aaab", b"aabbbb", b"abbb", b"aa")]
[True, True, True, False, False]
>>> contents.write(1, b"ccccc", asked=LATE_SECONDS + 1.0)
>>> contents.complaint(b"aabbbb"), contents.complaint(b"accccc")
('byte 1 is of aabbbb, expected accccc', None)
"""

from dataclasses import dataclass

from cluster.torture.payload import owner_of

LATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A write that may have happened, whole or in parts, and may do so until `over`."""

    begin: int
    data: bytes
    over: float

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.begin + len(self.data)


class Contents:
    """One file's possible contents. Times are in seconds of the loop's clock."""

    def __init__(self, data: bytes = b"") -> None:
        self._certain = bytearray(data)
        self._doubtful: list[Doubtful] = []

    @property
    def length(self) -> int:
        """The length that is certain."""
        return len(self._certain)

    @property
    def longest(self) -> int:
        """The greatest length that is possible."""
        return max([self.length, *(each.end for each in self._doubtful)])

    @property
    def defined(self) -> bool:
        """Whether there is no doubt about any byte."""
        return not self._doubtful

    def copy(self) -> "Contents":
        """The contents of a snapshot of the file: what is in doubt may be in it or not."""
        other = Contents(bytes(self._certain))
        other._doubtful = list(self._doubtful)
        return other

    def seconds_in_doubt(self, now: float) -> float:
        """How long to wait until none of the doubtful writes can happen any more."""
        return max([0.0, *(each.over - now for each in self._doubtful)])

    def write(self, offset: int, data: bytes, *, asked: float) -> None:
        """A write was acknowledged that the client had asked for at this time."""
        if offset > self.length:
            self._certain.extend(bytes(offset - self.length))
        end = offset + len(data)
        self._certain[offset:end] = data
        kept: list[Doubtful] = []
        for each in self._doubtful:
            kept += [each] if asked < each.over else _outside(each, offset, end)
        self._doubtful = kept

    def doubt(self, offset: int, data: bytes, *, now: float) -> None:
        """The client gave up on a write that may have happened."""
        if data:
            self._doubtful.append(Doubtful(offset, data, now + LATE_SECONDS))

    def complaint(self, data: bytes) -> str | None:
        """Why the whole file cannot be `data`; None if it can."""
        if not self.length <= len(data) <= self.longest:
            expected = f"{self.length}" if self.defined else f"{self.length} to {self.longest}"
            return f"it has {len(data)} bytes, expected {expected}"
        return self.complaint_about(0, data)

    def complaint_about(self, offset: int, data: bytes, *, wanted: int | None = None) -> str | None:
        """Why the file cannot hold `data` at `offset`; None if it can. `wanted`: so many bytes were asked for, and
        fewer are an end of the file there."""
        end = offset + len(data)
        if wanted is not None and len(data) < wanted and end < self.length and offset < self.length:
            return f"a read of {wanted} bytes at {offset} ended at {end}, expected {self.length} or more"
        if end > max(self.longest, offset):
            return f"a read at {offset} ended at {end}, expected {self.longest} or less"
        expected = bytes(self._certain[offset:end]).ljust(len(data), b"\0")
        if data == expected:
            return None
        for position in _differences(data, expected):
            if not self._may_be(offset + position, data[position]):
                whole = bytes(self._certain) if self.length else b""
                seen = bytes(whole[:offset].ljust(offset, b"\0")) + data
                found, certain = owner_of(seen, offset + position), owner_of(whole, offset + position)
                return f"byte {offset + position} is of {found}, expected {certain}"
        return None

    def _may_be(self, position: int, value: int) -> bool:
        return any(
            each.begin <= position < each.end and each.data[position - each.begin] == value for each in self._doubtful
        )


def _differences(data: bytes, expected: bytes, *, step: int = 4096) -> list[int]:
    found: list[int] = []
    for begin in range(0, len(data), step):
        left, right = data[begin : begin + step], expected[begin : begin + step]
        if left != right:
            found += [begin + place for place in range(len(left)) if left[place] != right[place]]
    return found


def _outside(each: Doubtful, begin: int, end: int) -> list[Doubtful]:
    """The parts of a doubtful write that do not lie in the range."""
    if end <= each.begin or begin >= each.end:
        return [each]
    parts = []
    if each.begin < begin:
        parts.append(Doubtful(each.begin, each.data[: begin - each.begin], each.over))
    if each.end > end:
        parts.append(Doubtful(end, each.data[end - each.begin :], each.over))
    return parts
