"""GFS Table 1, region by region: defined, consistent, undefined, inconsistent (GFS 2.7.1).

The problem. The paper promises of a region of a file, after mutations, one of three things:

                            write                       record append
    serial, successful      defined                     defined, interspersed with inconsistent
    concurrent, successful  consistent but undefined    defined, interspersed with inconsistent
    failed                  inconsistent                inconsistent

A region is *consistent* if all clients see the same bytes, from whichever replica they read, and *defined* if it is
consistent and they see what one mutation wrote, in its entirety.

The idea. A region is a stretch of a file that the same writes have covered. What is promised of it follows from the
history alone: of the writes that no later one has covered for certain, was one acknowledged, or were several, or is one
in doubt? What became of it follows from the bytes of all replicas. The judge compares the two.

What we simplify. A region whose writes were all refused, or never came, is a hole: it is promised to be consistent.
What a loss of power was allowed to take is in doubt.
"""

import enum
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster.swarm.appends import Append
from cluster.swarm.contents import FileHistory, Write
from cluster.swarm.history import Answer


class State(enum.Enum):
    """What a region is, the best first."""

    DEFINED = "defined"
    UNDEFINED = "consistent but undefined"
    INCONSISTENT = "inconsistent"


_ORDER = list(State)


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes `begin` to `end` of a file. `writes`: the operations whose bytes may be here. `evidence`: what was seen."""

    begin: int
    end: int
    promised: State
    found: State
    writes: tuple[int, ...]
    evidence: str

    @property
    def is_broken(self) -> bool:
        """Whether the region is worse than was promised."""
        return _ORDER.index(self.found) > _ORDER.index(self.promised)

    def __str__(self) -> str:
        of = f"written by {_numbers(self.writes)}" if self.writes else "written by nobody"
        states = f"{self.found.value}, promised {self.promised.value}"
        return f"bytes {self.begin} to {self.end}, {of}: {states}; {self.evidence}"


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch in which no write and no chunk begins or ends; `sources`: whose bytes all replicas show here."""

    begin: int
    end: int
    live: tuple[Write, ...]
    is_consistent: bool
    sources: frozenset[int]
    evidence: str


def regions_of(file: FileHistory, chunks: Mapping[int, Mapping[str, bytes]], chunk_bytes: int) -> list[Region]:
    """The regions of a file, in order. `chunks`: of each chunk, by its index, what each replica holds."""
    if file.appends:
        return _regions_of_records(file.appends, chunks, chunk_bytes)
    end = max((index * chunk_bytes + len(data) for index, held in chunks.items() for data in held.values()), default=0)
    cuts = {0, end, *range(0, end, chunk_bytes)}
    cuts |= {place for write in file.writes for place in (write.begin, write.end) if place < end}
    ordered = sorted(cuts)
    pieces = [_piece(file, chunks, chunk_bytes, begin, until) for begin, until in itertools.pairwise(ordered)]
    groups = itertools.groupby(pieces, key=lambda piece: tuple(dict.fromkeys(one.operation for one in piece.live)))
    return [_region(writes, list(group)) for writes, group in groups]


def broken_regions(name: str, regions: Sequence[Region]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A sentence for each region that is worse than was promised, and the operations that it is about."""
    for region in regions:
        if region.is_broken:
            yield f"{name}: {region}", region.writes


def counted(regions: Sequence[Region]) -> str:
    """How many regions are what.

    >>> counted([])
    'no regions'
    """
    counts = [(sum(region.found is state for region in regions), state.value) for state in State]
    return ", ".join(f"{count} {words}" for count, words in counts if count) or "no regions"


def _piece(
    file: FileHistory, chunks: Mapping[int, Mapping[str, bytes]], chunk_bytes: int, begin: int, end: int
) -> _Piece:
    index, first = divmod(begin, chunk_bytes)
    seen = {server: data[first : first + end - begin] for server, data in chunks.get(index, {}).items()}
    live = _live(file.writes, begin, end)
    sources = {
        server: frozenset(one.operation for one in live if one.bytes_at(begin, end) == data)
        for server, data in seen.items()
    }
    is_consistent = len(set(seen.values())) <= 1
    common = frozenset[int]() if not sources else frozenset.intersection(*sources.values())
    shown = [f"{server} holds {_whose(sources[server], data)}" for server, data in sorted(seen.items())]
    return _Piece(begin, end, live, is_consistent, common, ", ".join(shown))


def _live(writes: Sequence[Write], begin: int, end: int) -> tuple[Write, ...]:
    """The writes that may be seen here: not refused, and not covered for certain by one that was asked for later."""
    here = [one for one in writes if one.begin <= begin and end <= one.end and one.answer is not Answer.REFUSED]
    certain = [one for one in here if _is_acknowledged(one)]
    return tuple(one for one in here if not any(_follows(other, one) for other in certain if other is not one))


def _follows(write: Write, other: Write) -> bool:
    """Whether it was asked for after the other one was over. What one client does at one moment has an order."""
    is_own = write.client == other.client and write.operation > other.operation
    return write.invoked > other.over or (is_own and write.invoked == other.over)


def _is_acknowledged(write: Write) -> bool:
    return write.answer is Answer.VALUE and math.isinf(write.may_be_lost_from)


def _region(writes: tuple[int, ...], pieces: Sequence[_Piece]) -> Region:
    live = pieces[0].live
    broken = next((piece for piece in pieces if not piece.is_consistent), None)
    one_source = frozenset.intersection(*(piece.sources for piece in pieces))
    if not all(_is_acknowledged(write) for piece in pieces for write in piece.live):
        promised = State.INCONSISTENT
    else:
        promised = State.DEFINED if len(writes) == 1 else State.UNDEFINED
    if broken is not None:
        found = State.INCONSISTENT
    else:
        found = State.DEFINED if one_source and live else State.UNDEFINED
    worst = broken or next((piece for piece in pieces if not piece.sources), pieces[0])
    place = f"from byte {worst.begin} on " if worst is not pieces[0] else ""
    evidence = f"{place}{worst.evidence or 'no replica holds it'}"
    return Region(pieces[0].begin, pieces[-1].end, promised, found, writes, evidence)


def _regions_of_records(
    appends: Sequence[Append], chunks: Mapping[int, Mapping[str, bytes]], chunk_bytes: int
) -> list[Region]:
    """Each acknowledged record is defined; between them anything may be."""
    found = []
    for one in sorted(appends, key=lambda one: one.offset):
        if one.answer is not Answer.VALUE or not math.isinf(one.may_be_lost_from):
            continue
        index, first = divmod(one.offset, chunk_bytes)
        seen = {server: data[first : first + len(one.frame)] for server, data in chunks.get(index, {}).items()}
        lacking = [server for server, data in sorted(seen.items()) if data != one.frame]
        state = State.DEFINED if seen and not lacking else State.INCONSISTENT
        evidence = f"the record is not on {', '.join(lacking)}" if lacking else "the record is on every replica"
        if not seen:
            evidence = "no replica holds it"
        found.append(Region(one.offset, one.end, State.DEFINED, state, (one.operation,), evidence))
    return found


def _whose(sources: frozenset[int], data: bytes) -> str:
    if sources:
        return f"what {_numbers(sorted(sources))} wrote"
    if not data:
        return "nothing"
    return "zeros" if not any(data) else f"bytes of no single write ({data[:8].hex()}…)"


def _numbers(operations: Sequence[int]) -> str:
    return f"operation{'s' if len(operations) > 1 else ''} {', '.join(map(str, operations))}"
