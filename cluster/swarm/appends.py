"""Record appends: what each client appended, and the paper's contract as a judge (GFS 3.3, 2.7.1).

The problem. Nobody knows before where a record goes, and a try that failed may leave anything of it on some replicas.
So the bytes of such a file cannot be judged by offsets that clients chose (`contents.py`). The idea: what was promised
is looked for, and what is there besides must be explained.

    acknowledged      the record is at the offset that was told, whole, for every read that begins later, and on every
                      replica that counts; no two of them overlap, and none crosses the boundary of a chunk
    in doubt          it may be in the file, whole or in part, once or more often
    refused           nothing of it is ever seen
    everything else   is zeros

The bytes of a record are those that its operation's number decides, as a record of `gfs.records` whose writer is that
number: so a reader finds it, and the judge knows whose it is.

Some clients have the next chunk made and write nothing to it, as one does that dies then. From that moment on records
go there: one that was appended after another one had been acknowledged is never in an earlier chunk, where readers
that follow the file have passed.

What we simplify. What a loss of power may take is reckoned as for writes. A part of a record is believed wherever it
stands between records, if it is one piece of 8 bytes or more, or the rest of one.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cluster.swarm.copies import root_of
from cluster.swarm.history import Answer, History, Kind, Operation, stamp
from gfs.client import Client
from gfs.names.identity import FileIdentity
from gfs.records import Record, Scanner, encode_record
from gfs.records.frames import HEADER_BYTES, MAGIC
from runtime.settings import RECORD_SHARE
from runtime.world import Buffer

_REMAINS = re.compile(rb"[^\0]+")
_LEAST_BYTES = 8


@lru_cache(maxsize=256)
def frame_of(number: int, count: int, payload: bytes = b"") -> bytes:
    """What a record append of this number appends: a record with this payload, or a stamped one of `count` bytes."""
    return encode_record(payload or stamp(number, 0, count), writer=number, sequence=1)


def most_payload_bytes(chunk_bytes: int) -> int:
    """How large the payload of a record may be."""
    return chunk_bytes // RECORD_SHARE - HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Append:
    """One record append to one file. `offset`: what the client was told; `may_be_lost_from`: the moment of the power
    cut that was allowed to take the record away; `payload`: of a record that is not stamped by its number."""

    operation: int
    client: str
    count: int
    offset: int
    invoked: float
    responded: float
    answer: Answer
    may_be_lost_from: float = math.inf
    payload: bytes = b""

    @property
    def frame(self) -> bytes:
        """The bytes of the record."""
        return frame_of(self.operation, self.count, self.payload)

    @property
    def end(self) -> int:
        """Just behind the record."""
        return self.offset + HEADER_BYTES + self.count


def appended_files(history: History) -> dict[int, None]:
    """The files to which somebody appended records, or to a copy of which: those that were created."""
    return {root_of(one.file): None for one in history.operations if one.kind is Kind.RECORD_APPEND and one.file}


def is_certain(append: Append, invoked: float, responded: float) -> bool:
    """Whether a reader that looked in this time must see the record."""
    is_kept = append.answer is Answer.VALUE and append.may_be_lost_from > responded
    return is_kept and append.responded < invoked


def judge_appended_length(appends: Iterable[Append], length: int, invoked: float, responded: float) -> str:
    """What is wrong with a length of the file; "" if nothing is."""
    for append in appends:
        if is_certain(append, invoked, responded) and append.end > length:
            return (
                f"the file ends at {length}, but the record of operation {append.operation} of {append.client} had "
                f"been acknowledged {invoked - append.responded:.3f} s before and reaches to {append.end}"
            )
    return ""


def judge_appended(appends: Sequence[Append], data: bytes, chunk_bytes: int, invoked: float, responded: float) -> str:
    """What is wrong with the whole content of a file of records; "" if it keeps the contract."""
    complaint = judge_appended_length(appends, len(data), invoked, responded)
    if complaint:
        return complaint
    read = {(record.writer, record.offset) for record in _records_in(data, chunk_bytes)}
    rest = bytearray(data)
    for append in appends:
        if is_certain(append, invoked, responded):
            if data[append.offset : append.end] != append.frame:
                return (
                    f"at byte {append.offset} it does not see the record of operation {append.operation} of "
                    f"{append.client}, which had been acknowledged {invoked - append.responded:.3f} s before"
                )
            if (append.operation, append.offset) not in read:
                return f"a reader does not find the acknowledged record of operation {append.operation}"
            rest[append.offset : append.end] = bytes(append.end - append.offset)
    possible = {one.operation: one for one in appends if one.answer is not Answer.REFUSED and one.invoked < responded}
    for record in _records_in(rest, chunk_bytes):
        known = possible.get(record.writer)
        if known is None or data[record.offset : record.end] != known.frame:
            return f"at byte {record.offset} it sees a record of operation {record.writer}, which nobody can have sent"
        rest[record.offset : record.end] = bytes(record.end - record.offset)
    return _judge_remains(bytes(rest), [one.frame for one in possible.values()])


def _records_in(data: Buffer, chunk_bytes: int) -> list[Record]:
    """What a reader gets, copies included."""
    scanner = Scanner(chunk_bytes=chunk_bytes)
    return scanner.feed(data) + scanner.finish()


def _judge_remains(rest: bytes, frames: Sequence[bytes]) -> str:
    """Whether everything that is no whole record is zeros, or parts of these records."""
    for found in _REMAINS.finditer(rest):
        place, end = found.span()
        while place < end:
            length = _longest_part(rest[place:end], frames)
            if length == 0:
                return f"at byte {place} it sees bytes of no record ({rest[place : place + 8].hex()})"
            place += length
    return ""


def _longest_part(seen: bytes, frames: Sequence[bytes]) -> int:
    """How many bytes, from the first, are one piece of one of these records."""
    longest = 0
    key = seen[:_LEAST_BYTES]
    for frame in frames:
        place = frame.find(key)
        while place >= 0:
            pairs = zip(seen, memoryview(frame)[place:], strict=False)
            longest = max(longest, sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
            place = frame.find(key, place + 1)
    if not longest:  # Perhaps the last bytes of a record, and those of the next one behind them.
        ends = (count for count in range(len(key) - 1, 0, -1) if any(frame.endswith(key[:count]) for frame in frames))
        longest = next(ends, 0)
    return longest


def overlaps(appends: Iterable[Append], chunk_bytes: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Acknowledged records that overlap, or cross the boundary of a chunk: a sentence, and the operations."""
    told = [one for one in appends if one.answer is Answer.VALUE]
    told.sort(key=lambda one: one.offset)
    for one in told:
        if one.offset // chunk_bytes != (one.end - 1) // chunk_bytes:
            yield f"the record of operation {one.operation} at {one.offset} crosses chunks", (one.operation,)
    for one, other in itertools.combinations(told, 2):
        if other.offset >= one.end:
            continue
        first, second = (one, other) if one.responded <= other.responded else (other, one)
        if first.may_be_lost_from <= second.responded:
            continue  # Its place was free again.
        text = (
            f"the records of operations {one.operation} (bytes {one.offset} to {one.end}) and {other.operation} (bytes "
            f"{other.offset} to {other.end}) were both acknowledged"
        )
        yield text, (one.operation, other.operation)


def earlier_than_their_forerunners(
    appends: Iterable[Append], chunk_bytes: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Acknowledged records in an earlier chunk than one that had been acknowledged before they were asked for: a
    sentence, and the operations. Whatever is lost, the chunks of a file are not (GFS 3.3)."""
    told = sorted((one for one in appends if one.answer is Answer.VALUE), key=lambda one: one.responded)
    for place, first in enumerate(told):
        for second in told[place + 1 :]:
            chunk, before = second.offset // chunk_bytes, first.offset // chunk_bytes
            if second.invoked > first.responded and chunk < before:
                text = (
                    f"the record of operation {second.operation} was appended to chunk {chunk} of its file, though "
                    f"that of operation {first.operation} had been acknowledged in chunk {before} "
                    f"{second.invoked - first.responded:.3f} s before"
                )
                yield text, (first.operation, second.operation)


async def have_next_chunk_made(client: Client, file: FileIdentity) -> None:
    """Have a file's next chunk made, and write nothing to it."""
    found: Any = client
    count = (await found._master.find_locations(file, 0, 0)).file.chunk_count
    await found._writer.holder(file, count)


def missing_on_replica(appends: Iterable[Append], index: int, chunk_bytes: int, data: bytes) -> Iterator[Append]:
    """The acknowledged records that a replica of the file's chunk of this index lacks. Those that a power cut may have
    taken are left out."""
    for one in appends:
        if one.answer is Answer.VALUE and math.isinf(one.may_be_lost_from) and one.offset // chunk_bytes == index:
            begin = one.offset % chunk_bytes
            if data[begin : begin + len(one.frame)] != one.frame:
                yield one


def holds_a_duplicate(operation: Operation) -> bool:
    """Whether a whole file was read in which a record stands twice."""
    if operation.kind is not Kind.READ_FILE or operation.data.count(MAGIC) < 2:
        return False
    places: dict[bytes, int] = {}
    for found in re.finditer(re.escape(MAGIC), operation.data):
        header = operation.data[found.start() : found.start() + HEADER_BYTES]
        places[header] = places.get(header, 0) + 1
    return any(count > 1 for header, count in places.items() if len(header) == HEADER_BYTES)
