"""Chunks by handle: version, members and goal (persistent), current replicas and length (learned from chunkservers).

The problem. A million chunks, and for each: which version is current (GFS 4.5), which servers were given it, how many
replicas there should be, and where they are. "Less than 64 bytes for each chunk" (2.6.1) leaves no room for an object
per chunk.

The idea. Handles are given out in order, so chunks live in *segments* of 1024 neighbouring handles, and each segment
is a few plain arrays: 4 bytes of version, 4 of members (the number of a *group* of servers), 4 of length, 1 of goal,
2 of flags, and a pointer to a tuple of server names. Equal tuples are one object, for a small cluster has few
combinations of servers. That is 23 bytes a chunk, and the tuples.

Replicas and lengths are soft state: never persisted, empty after a restart, filled by registrations and heartbeats
(2.6.2). A length is *settled* while nobody can be writing the chunk, and then it is exact. A segment remembers which of
its chunks have too few or too many replicas until something in it changes, so finding the chunks that need attention
among a million costs nothing while nothing happens.

Two version numbers. `version` is the last that was confirmed: the *members* are the servers that were given it.
`attempted` is the last that was ever sent out. They differ while a raise runs, and after one failed; no number is ever
sent out twice, so a replica that was left behind by a failed raise can never be taken for one of a later version. The
numbers of admissions that failed are kept by themselves: they alone may have gone to a replica below the version.

A chunk that a snapshot has given a second file is *frozen*: it is never written again, by whichever file it belongs to
(GFS 3.4). Which files share it is kept apart (`sharing.py`), for few chunks are shared.

>>> table = ChunkTable()
>>> handle = table.reserve_handle()
>>> table.create(handle, goal=3, members=("cs1", "cs2", "cs3"))
>>> table.set_replicas(handle, ("cs1", "cs2"))
>>> table.needing_attention(), table.members(handle)
([1], ('cs1', 'cs2', 'cs3'))

Invariants: (1) attempted >= version >= 1 for every chunk; (2) a chunk's replica names are distinct; (3) the count of
chunks is right; (4) the cached attention of a segment equals a fresh look; (5) a shared chunk is frozen, its goal is
the largest of its files', and it is deleted if all of them are.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from master.chunks.sharing import (
    SEGMENT_CHUNKS,
    Owner,
    Owners,
    Sharings,
    goal_of,
    is_deleted,
    with_owner,
    without_owner,
)
from runtime.errors import Corrupted

_FLAG_DELETED = 1
_FLAG_FROZEN = 2
_SEGMENT_HEADER = struct.Struct("<Q")
_PACKED_BYTES = _SEGMENT_HEADER.size + SEGMENT_CHUNKS * (4 + 4 + 1 + 1)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk, looked at. `length` is in bytes, as last reported; `replicas` are the servers of current replicas,
    `members` those that were given the version."""

    handle: int
    version: int
    attempted: int
    goal: int
    length: int
    length_is_settled: bool
    is_deleted: bool
    replicas: tuple[str, ...]
    members: tuple[str, ...]


class _Segment:
    """The chunks of 1024 neighbouring handles. A goal of 0 means that there is no such chunk."""

    __slots__ = ("attention", "count", "flags", "goals", "groups", "lengths", "replicas", "settled", "versions")

    def __init__(self) -> None:
        self.versions = array("I", bytes(4 * SEGMENT_CHUNKS))
        self.groups = array("I", bytes(4 * SEGMENT_CHUNKS))
        self.lengths = array("I", bytes(4 * SEGMENT_CHUNKS))
        self.goals = bytearray(SEGMENT_CHUNKS)
        self.flags = bytearray(SEGMENT_CHUNKS)
        self.settled = bytearray(SEGMENT_CHUNKS)  # whether the length is exact
        self.replicas: list[tuple[str, ...]] = [()] * SEGMENT_CHUNKS
        self.count = 0
        self.attention: array[int] | None = None  # places; None: look again

    def look(self) -> "array[int]":
        pairs = enumerate(zip(self.goals, self.replicas, strict=True))
        return array("H", [place for place, (goal, replicas) in pairs if len(replicas) != goal])


class ChunkTable:
    """All chunks. Not aware of time, disk or network."""

    def __init__(self) -> None:
        self.next_handle = 1
        self._segments: dict[int, _Segment] = {}
        self._attempted: dict[int, int] = {}  # only where it differs from the version
        self._admissions: dict[int, tuple[int, ...]] = {}  # the numbers above the version that admissions used
        self._tuples: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._groups: list[tuple[str, ...]] = [()]  # by number
        self._group_numbers: dict[tuple[str, ...], int] = {(): 0}
        self._count = 0
        self._open: dict[int, None] = {}  # somebody may have written them in this run, and has not said how far
        self.sharings = Sharings()

    def __len__(self) -> int:
        return self._count

    def __contains__(self, handle: int) -> bool:
        segment = self._segments.get(handle // SEGMENT_CHUNKS)
        return segment is not None and segment.goals[handle % SEGMENT_CHUNKS] != 0

    def reserve_handle(self) -> int:
        """A handle that was never given out before (the operation log has to know of the reservation first)."""
        self.next_handle += 1
        return self.next_handle - 1

    # Persistent facts

    def create(self, handle: int, *, goal: int, version: int = 1, members: tuple[str, ...] = ()) -> None:
        """Add a chunk; its replicas do not count before they are named."""
        assert handle not in self and 0 < goal < 256 and version >= 1
        segment = self._segments.setdefault(handle // SEGMENT_CHUNKS, _Segment())
        place = handle % SEGMENT_CHUNKS
        segment.versions[place] = version
        segment.groups[place] = self._group(members)
        segment.goals[place] = goal
        segment.count += 1
        segment.attention = None
        self._count += 1

    def share(self, handles: Iterable[int], owner: Owner) -> None:
        """Give chunks one file more. They are frozen from then on."""
        known: dict[tuple[int, int, int], tuple[int, int, int]] = {}
        for number, some in groupby(handles, key=SEGMENT_CHUNKS.__rfloordiv__):
            segment, owners = self._segments[number], self.sharings.opened(number)
            flags, goals, first = segment.flags, segment.goals, number * SEGMENT_CHUNKS
            for handle in some:
                place = handle - first
                before = owners[place], goals[place], flags[place]
                if before not in known:
                    known[before] = self._with_owner(handle, owner)
                owners[place], goals[place], flags[place] = known[before]
            segment.attention = None
            self.sharings.count(number)

    def _with_owner(self, handle: int, owner: Owner) -> tuple[int, int, int]:
        """The number of a chunk's owners, its goal and its flags, if it gets one file more."""
        segment, place = self._at(handle)
        owners = with_owner(self.owners(handle), owner)
        flags = segment.flags[place] & ~_FLAG_DELETED | _FLAG_FROZEN | (_FLAG_DELETED if is_deleted(owners) else 0)
        return self.sharings.number(owners), goal_of(owners), flags

    def change_owner(self, handle: int, before: Owner, after: Owner) -> None:
        """One of the chunk's files has another goal, was deleted or brought back: that decides how many replicas the
        chunk should have, and whether it is cloned after all others (4.3)."""
        if self.sharings and (shared := self.sharings.owners(handle)):
            owners = with_owner(without_owner(shared, before), after)
            self.sharings.set(handle, owners)
            self._follow_owners(handle, goal_of(owners), is_deleted(owners))
        else:
            self._follow_owners(handle, after.goal, after.is_hidden)

    def release(self, handle: int, owner: Owner) -> bool:
        """Take a file from a chunk; without its last one the chunk is forgotten, and that is told."""
        shared = self.sharings.owners(handle)
        if not shared:
            self.forget(handle)
            return True
        owners = without_owner(shared, owner)
        self.sharings.set(handle, owners)
        self._follow_owners(handle, goal_of(owners), is_deleted(owners))
        return False

    def forget(self, handle: int) -> None:
        """Drop a chunk: from here on its replicas are orphans."""
        segment, place = self._at(handle)
        segment.versions[place] = segment.lengths[place] = segment.groups[place] = 0
        segment.goals[place] = segment.flags[place] = segment.settled[place] = 0
        segment.replicas[place] = ()
        segment.count -= 1
        segment.attention = None
        self._attempted.pop(handle, None)
        self._admissions.pop(handle, None)
        self._open.pop(handle, None)
        if self.sharings:
            self.sharings.set(handle, ())
        self._count -= 1
        if segment.count == 0:
            del self._segments[handle // SEGMENT_CHUNKS]

    def attempt(self, handle: int, version: int, *, is_admission: bool = False) -> None:
        """Note that `version` is about to be sent to replicas, in an admission perhaps to one below the version."""
        assert version > self.attempted(handle), f"version {version} of chunk {handle:#x} was used before"
        self._attempted[handle] = version
        if is_admission:
            self._admissions[handle] = (*self._admissions.get(handle, ()), version)

    def confirm(self, handle: int, version: int, members: tuple[str, ...]) -> None:
        """Note that these servers were given `version`, and that no lower version is current any more."""
        segment, place = self._at(handle)
        assert version >= segment.versions[place], f"version of chunk {handle:#x} would fall to {version}"
        segment.versions[place] = version
        segment.groups[place] = self._group(members)
        if self._attempted.get(handle, 0) <= version:
            self._attempted.pop(handle, None)
        if handle in self._admissions:
            later = tuple(number for number in self._admissions.pop(handle) if number > version)
            if later:
                self._admissions[handle] = later

    def add_member(self, handle: int, server: str) -> None:
        """Note that this server has a complete copy of the confirmed version."""
        segment, place = self._at(handle)
        members = self._groups[segment.groups[place]]
        if server not in members:
            segment.groups[place] = self._group((*members, server))

    # Soft facts

    def set_replicas(self, handle: int, servers: tuple[str, ...]) -> None:
        """Say which servers hold the current version."""
        segment, place = self._at(handle)
        segment.replicas[place] = self._tuples.setdefault(servers, servers)
        segment.attention = None

    def add_replica(self, handle: int, server: str) -> bool:
        """Add a server to those that hold the current version; False if it was among them."""
        replicas = self.replicas(handle)
        if server in replicas:
            return False
        self.set_replicas(handle, (*replicas, server))
        return True

    def drop_replica(self, handle: int, server: str) -> bool:
        """Take a server out; False if it was not among them."""
        replicas = self.replicas(handle)
        if server not in replicas:
            return False
        self.set_replicas(handle, tuple(name for name in replicas if name != server))
        return True

    def drop_server(self, server: str) -> list[int]:
        """Take a server out of all chunks; returns their handles, in order."""
        lost: list[int] = []
        changed = {old: tuple(name for name in old if name != server) for old in self._tuples if server in old}
        self._tuples = {names: names for names in self._tuples if server not in names}
        for number in sorted(self._segments):
            segment = self._segments[number]
            hit = [place for place, names in enumerate(segment.replicas) if names in changed]
            for place in hit:
                names = changed[segment.replicas[place]]
                segment.replicas[place] = self._tuples.setdefault(names, names)
            if hit:
                segment.attention = None
                lost.extend(number * SEGMENT_CHUNKS + place for place in hit)
        return lost

    def note_length(self, handle: int, length: int) -> None:
        """A current replica says that it has `length` bytes. While somebody may write, the longest report counts."""
        segment, place = self._at(handle)
        if not segment.settled[place] and length > segment.lengths[place]:
            segment.lengths[place] = length

    def settle_length(self, handle: int, length: int) -> None:
        """The chunk has exactly `length` bytes, until `unsettle_length`."""
        segment, place = self._at(handle)
        segment.lengths[place], segment.settled[place] = length, 1
        self._open.pop(handle, None)

    def unsettle_length(self, handle: int) -> None:
        """Somebody may write the chunk from now on."""
        segment, place = self._at(handle)
        segment.settled[place] = 0
        self._open[handle] = None

    def open_chunks(self) -> list[int]:
        """The chunks that somebody may have written since the table was made, and whose length was not settled after
        that. (Of a chunk that nobody has opened since then the length may be unknown too.)"""
        return list(self._open)

    # Looking

    def chunk(self, handle: int) -> Chunk:
        """Everything about one chunk, which must exist."""
        segment, place = self._at(handle)
        version = segment.versions[place]
        return Chunk(
            handle=handle,
            version=version,
            attempted=self._attempted.get(handle, version),
            goal=segment.goals[place],
            length=segment.lengths[place],
            length_is_settled=bool(segment.settled[place]),
            is_deleted=bool(segment.flags[place] & _FLAG_DELETED),
            replicas=segment.replicas[place],
            members=self._groups[segment.groups[place]],
        )

    def version(self, handle: int) -> int:
        """The current version."""
        segment, place = self._at(handle)
        return segment.versions[place]

    def attempted(self, handle: int) -> int:
        """The last version ever sent to a replica."""
        return self._attempted.get(handle) or self.version(handle)

    def is_of_admission(self, handle: int, version: int) -> bool:
        """Whether this number, above the current version, was sent in an admission that failed or still runs."""
        return version in self._admissions.get(handle, ())

    def is_frozen(self, handle: int) -> bool:
        """Whether the chunk is never written again, because several files have shared it."""
        segment, place = self._at(handle)
        return bool(segment.flags[place] & _FLAG_FROZEN)

    def owners(self, handle: int) -> Owners:
        """The files that the chunk belongs to."""
        shared = self.sharings.owners(handle)
        if shared:
            return shared
        segment, place = self._at(handle)
        return ((Owner(segment.goals[place], bool(segment.flags[place] & _FLAG_DELETED)), 1),)

    def replicas(self, handle: int) -> tuple[str, ...]:
        """Names of the servers that hold the current version."""
        segment, place = self._at(handle)
        return segment.replicas[place]

    def members(self, handle: int) -> tuple[str, ...]:
        """Names of the servers that were given the confirmed version."""
        segment, place = self._at(handle)
        return self._groups[segment.groups[place]]

    def length(self, handle: int) -> int:
        """Bytes, as last reported."""
        segment, place = self._at(handle)
        return segment.lengths[place]

    def length_is_settled(self, handle: int) -> bool:
        """Whether `length` is exact."""
        segment, place = self._at(handle)
        return bool(segment.settled[place])

    def handles(self) -> Iterator[int]:
        """All handles, in order. The table must not change while this runs."""
        for number in sorted(self._segments):
            goals = self._segments[number].goals
            yield from (number * SEGMENT_CHUNKS + place for place in range(SEGMENT_CHUNKS) if goals[place])

    def handles_after(self, after: int, limit: int) -> list[int]:
        """The first `limit` handles above one, in order."""
        found: list[int] = []
        for number in sorted(number for number in self._segments if number >= (after + 1) // SEGMENT_CHUNKS):
            goals, first = self._segments[number].goals, number * SEGMENT_CHUNKS
            found.extend(first + place for place in range(SEGMENT_CHUNKS) if goals[place] and first + place > after)
            if len(found) >= limit:
                break
        return found[:limit]

    def held_by(self, server: str) -> list[int]:
        """Handles of the chunks that count this server among their replicas, in order."""
        sets = [names for names in self._tuples if server in names]
        holding = dict.fromkeys(sets)
        found: list[int] = []
        for number in sorted(self._segments):
            replicas = self._segments[number].replicas
            found.extend(number * SEGMENT_CHUNKS + place for place, names in enumerate(replicas) if names in holding)
        return found

    def given_to(self, server: str) -> list[int]:
        """Handles of the chunks whose confirmed version was given to this server, in order."""
        groups = {number for number, names in enumerate(self._groups) if server in names}
        found: list[int] = []
        for number in sorted(self._segments):
            segment = self._segments[number]
            pairs = enumerate(zip(segment.goals, segment.groups, strict=True))
            found.extend(number * SEGMENT_CHUNKS + place for place, (goal, group) in pairs if goal and group in groups)
        return found

    def largest_goal(self) -> int:
        """The highest goal of all chunks; 0 if there is none."""
        return max((max(segment.goals) for segment in self._segments.values()), default=0)

    def needing_attention(self) -> list[int]:
        """Handles of the chunks with fewer or more replicas than their goal, in order."""
        found: list[int] = []
        for number in sorted(self._segments):
            segment = self._segments[number]
            if segment.attention is None:
                segment.attention = segment.look()
            found.extend(number * SEGMENT_CHUNKS + place for place in segment.attention)
        return found

    # Checkpoints

    def snapshot(self) -> tuple[list[bytes], dict[int, int], list[tuple[int, int]], list[tuple[str, ...]]]:
        """The persistent facts: one byte string a segment, the attempted versions that are ahead, those of admissions
        (handle and number), and the groups."""
        packed = [
            b"".join(
                (
                    _SEGMENT_HEADER.pack(number),
                    self._segments[number].versions.tobytes(),
                    self._segments[number].groups.tobytes(),
                    self._segments[number].goals,
                    self._segments[number].flags,
                )
            )
            for number in sorted(self._segments)
        ]
        admissions = [(handle, number) for handle, numbers in self._admissions.items() for number in numbers]
        return packed, dict(self._attempted), admissions, list(self._groups)

    def load_groups(self, groups: list[tuple[str, ...]]) -> None:
        """Take the groups of a snapshot, before its segments."""
        self._groups = list(groups)
        self._group_numbers = {group: number for number, group in enumerate(groups)}

    def load_segment(self, packed: bytes) -> None:
        """Add one segment of a snapshot. Raises Corrupted if it is none."""
        if len(packed) != _PACKED_BYTES:
            raise Corrupted(f"a segment of the chunk table has {len(packed)} bytes, expected {_PACKED_BYTES}")
        (number,) = _SEGMENT_HEADER.unpack_from(packed)
        segment = self._segments[number] = _Segment()
        groups = _SEGMENT_HEADER.size + 4 * SEGMENT_CHUNKS
        goals = groups + 4 * SEGMENT_CHUNKS
        segment.versions = array("I", packed[_SEGMENT_HEADER.size : groups])
        segment.groups = array("I", packed[groups:goals])
        segment.goals[:] = packed[goals : goals + SEGMENT_CHUNKS]
        segment.flags[:] = packed[goals + SEGMENT_CHUNKS :]
        if max(segment.groups) >= len(self._groups):
            raise Corrupted(f"a chunk names group {max(segment.groups)} of servers, {len(self._groups)} are known")
        segment.count = SEGMENT_CHUNKS - segment.goals.count(0)
        self._count += segment.count

    def load_attempted(self, attempted: dict[int, int], admissions: list[tuple[int, int]]) -> None:
        """Add the attempted versions of a snapshot, and those of admissions."""
        self._attempted.update(attempted)
        for handle, number in admissions:
            self._admissions[handle] = (*self._admissions.get(handle, ()), number)

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold. Reads everything."""
        self.sharings.check_invariants()
        count = 0
        for number, segment in self._segments.items():
            count += segment.count
            assert segment.count == SEGMENT_CHUNKS - segment.goals.count(0) > 0
            assert segment.attention is None or segment.attention == segment.look()
            for place in range(SEGMENT_CHUNKS):
                handle = number * SEGMENT_CHUNKS + place
                replicas = segment.replicas[place]
                assert len(set(replicas)) == len(replicas), f"chunk {handle:#x} counts a replica twice: {replicas}"
                if segment.goals[place]:
                    assert self.attempted(handle) >= segment.versions[place] >= 1
                    self._check_owners(segment, place, self.sharings.owners(handle))
                    assert handle < self.next_handle
                else:
                    assert not replicas and handle not in self._attempted and handle not in self._open
                    assert not self.sharings.owners(handle)
        for handle, numbers in self._admissions.items():
            assert self.version(handle) < min(numbers) <= max(numbers) <= self.attempted(handle)
        assert count == self._count, f"{count} chunks, counted {self._count}"

    def _check_owners(self, segment: _Segment, place: int, owners: Owners) -> None:
        if owners:
            assert segment.flags[place] & _FLAG_FROZEN, "a shared chunk is not frozen"
            assert segment.goals[place] == goal_of(owners), f"a shared chunk has goal {segment.goals[place]}"
            assert bool(segment.flags[place] & _FLAG_DELETED) == is_deleted(owners)

    def _follow_owners(self, handle: int, goal: int, deleted: bool) -> None:
        segment, place = self._at(handle)
        if segment.goals[place] != goal:
            segment.goals[place] = goal
            segment.attention = None
        flags = segment.flags[place] & ~_FLAG_DELETED
        segment.flags[place] = flags | _FLAG_DELETED if deleted else flags

    def _group(self, members: tuple[str, ...]) -> int:
        """The number of a group of servers, in an order of their own so that equal groups are one."""
        members = tuple(sorted(members))
        number = self._group_numbers.get(members)
        if number is None:
            number = self._group_numbers[members] = len(self._groups)
            self._groups.append(members)
        return number

    def _at(self, handle: int) -> tuple[_Segment, int]:
        segment = self._segments[handle // SEGMENT_CHUNKS]
        place = handle % SEGMENT_CHUNKS
        assert segment.goals[place], f"no chunk {handle:#x}"
        return segment, place
