"""A server's log, sorted by tablet, so that each of its tablets finds its records in one place (BT 6).

The problem. A server writes one log for all of its tablets. When it dies, they go to many other servers, and each needs
the few records of the tablets that it was given. If a hundred servers read the whole log, it is read a hundred times.

The idea. The log is sorted by (tablet, row, sequence) before anybody opens a tablet of it. Then a tablet's mutations
lie together: one seek, and then reading in order. The log is read once, and as soon as so many bytes are together they
are sorted and written to a file of their own, a *piece*; so memory is bounded by the size of a piece, however long the
log. A *list*, written last, names the pieces and says where in each of them which tablet is. Until it is there nothing
was sorted, and the next attempt begins anew.

Invariants: (1) the pieces hold the mutations that count by the verdict of `replay.py`, each once; damage is refused as
there; (2) all records of a piece are earlier than those of the next; in a piece, a tablet's mutations lie side by side,
by row and then by sequence; (3) the list is written when all pieces are durable, and neither changes afterwards; (4)
the log itself is only read, once it is claimed: it goes when no tablet needs it any more, and the sorted log with it.

What we simplify. One server sorts the whole log; the paper's sort pieces of 64 MB on many servers at once.
"""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from runtime.errors import Corrupted, IncompatibleFormat, NotFound
from runtime.record_log import LogReader, encode_frame
from runtime.wire import tablet_pb2
from tablet.engine.log.records import decode_sorted, encode_sorted
from tablet.engine.log.replay import Replay
from tablet.engine.log.segment_list import SegmentList
from tablet.engine.world.events import LogLeftOut, LogSorted
from tablet.engine.world.names import TEMPORARY
from tablet.engine.world.options import EngineWorld
from tablet.engine.world.small_files import FileKind
from tablet.engine.world.storage import Storage, StoredFile

LIST_NAME = "sorted"
_LIST = FileKind("tabletop sorted log", 2, tablet_pb2.SortedLog)
PIECE_BYTES = 64 * 1024 * 1024
"""BT 6: the log is sorted in segments of 64 MB."""

_PIECE = re.compile(r"\d{6,}\.piece")
_BLOCK_BYTES = 64 * 1024
_MUTATION_OVERHEAD_BYTES = 150
"""What a mutation takes in memory beside its bytes, about: a tuple, its sequence, two bytes objects."""

_Mutation = tuple[bytes, bytes, int, bytes]
"""(tablet, row, sequence, fragment)"""


@dataclass(frozen=True, slots=True)
class Part:
    """Where a piece has the mutations of one tablet: `size` bytes at `offset`, of records from `first_sequence` to
    `last_sequence`. `last_timestamp`: the highest that the tablet had given by then."""

    piece: str
    tablet: str
    offset: int
    size: int
    mutations: int
    first_sequence: int
    last_sequence: int
    last_timestamp: int


class SortedLog:
    """A log that was sorted, to be read. Make one with `sort_log`, or find it again with `load`."""

    def __init__(self, storage: Storage, owner: str, parts: Sequence[Part]) -> None:
        self.owner = owner
        self.parts = tuple(parts)
        self._storage = storage

    @classmethod
    async def load(cls, storage: Storage, owner: str) -> "SortedLog | None":
        """The sorted log in a folder; None if the log of this owner was not sorted, or not to the end. Raises
        Corrupted, IncompatibleFormat, DiskFailure."""
        if LIST_NAME not in await storage.list():
            return None
        try:
            said = await _LIST.read(storage, LIST_NAME)
        except Corrupted as error:
            raise Corrupted(f"{error.message}; or {_again(owner)}") from error
        if said.owner != owner:
            raise Corrupted(
                f"{LIST_NAME} is that of the log of {said.owner!r}, expected {owner!r}; put the right one here"
            )
        return cls(
            storage, owner, [Part(**{name: getattr(part, name) for name in Part.__slots__}) for part in said.parts]
        )

    def parts_of(self, tablet: str, flushed_sequence: int = 0) -> list[Part]:
        """Where a tablet's mutations after its redo point are, the earliest first."""
        return [part for part in self.parts if part.tablet == tablet and part.last_sequence > flushed_sequence]

    async def read(self, part: Part) -> AsyncIterator[tuple[int, bytes, bytes]]:
        """The mutations in a part, as (sequence, row, fragment), by row and then by sequence. Raises Corrupted if it is
        not what was written, DiskFailure."""
        try:
            file = await self._storage.open(part.piece)
        except NotFound as error:
            raise Corrupted(f"{part.piece} is missing, which {LIST_NAME} names; {_again(self.owner)}") from error
        mutations = 0
        try:
            reader = LogReader(_Window(file, part.offset, part.size), part.piece)
            try:
                async for record in reader:
                    tablet, found = decode_sorted(record.payload)
                    if tablet.decode() != part.tablet:
                        raise Corrupted(f"{part.piece} has mutations of {tablet!r} among those of {part.tablet!r}")
                    for mutation in found:
                        yield mutation
                    mutations += len(found)
            except (Corrupted, IncompatibleFormat) as error:
                raise Corrupted(f"{error.message}; {_again(self.owner)}") from error
        finally:
            await file.close()
        if mutations != part.mutations:
            raise Corrupted(
                f"{part.piece}: {part.mutations} mutations of tablet {part.tablet!r} were written at offset "
                f"{part.offset}, {mutations} can be read ({reader.end.reason or 'the rest is not there'}); "
                f"{_again(self.owner)}"
            )

    async def remove(self) -> None:
        """Remove it: all of its tablets were taken over. Raises DiskFailure."""
        await _clear(self._storage)


async def sort_log(
    log: Storage, target: Storage, world: EngineWorld, *, owner: str, piece_bytes: int = PIECE_BYTES, token: int = 0
) -> SortedLog:
    """Sort the log that a server has left in the folder `log` into the folder `target`, which holds nothing else. If it
    was sorted already, that is found and nothing is done. `token`: a server that is still at work, with a lower one,
    acknowledges nothing any more that is not in here. 0: the server must not write any more.

    Raises Superseded if the log has a later owner; Corrupted and IncompatibleFormat for the log as `Replay` does;
    NoSpace, DiskFailure.
    """
    found = await SortedLog.load(target, owner)
    if found is not None:
        return found
    await _clear(target)  # An earlier attempt may have left pieces.
    started = world.clock.now()
    named = await SegmentList.load(log, token)
    files = {segment.number: segment.file_name for segment in named.segments}
    replay = Replay(log, files, named.segments[0].first_sequence - 1 if named.segments else 0, 0, owner)
    sorting = _Sorting(target, world, piece_bytes)
    async for sequence, record in replay.mutations():
        for row, fragment in record.rows:
            sorting.add(record.tablet, row, sequence, fragment)
        sorting.note_timestamp(record.tablet, record.last_timestamp)
        if sorting.is_full:
            await sorting.write_piece()
    await sorting.write_piece()
    for event in (*replay.dropped, *(LogLeftOut(files[number]) for number in replay.left_out)):
        world.events.emit(event)
    await _write_list(target, owner, sorting.parts)
    tablets = len({part.tablet for part in sorting.parts})
    world.events.emit(LogSorted(owner, replay.records, tablets, sorting.pieces, world.clock.now() - started))
    return SortedLog(target, owner, sorting.parts)


class _Sorting:
    """Takes mutations in the order of the log and writes them in pieces."""

    def __init__(self, target: Storage, world: EngineWorld, piece_bytes: int) -> None:
        self.parts: list[Part] = []
        self.pieces = 0
        self.held_bytes = 0
        self._target = target
        self._world = world
        self._piece_bytes = piece_bytes
        self._mutations: list[_Mutation] = []
        self._timestamps: dict[bytes, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether there is enough for a piece."""
        return self.held_bytes >= self._piece_bytes

    def add(self, tablet: bytes, row: bytes, sequence: int, fragment: bytes) -> None:
        """The next mutation of the log."""
        self._mutations.append((tablet, row, sequence, fragment))
        self.held_bytes += len(row) + len(fragment) + _MUTATION_OVERHEAD_BYTES

    def note_timestamp(self, tablet: bytes, last_timestamp: int) -> None:
        """The highest timestamp that a tablet had given so far."""
        self._timestamps[tablet] = max(last_timestamp, self._timestamps.get(tablet, 0))

    async def write_piece(self) -> None:
        """Sort what there is, and write it, durably."""
        mutations, self._mutations, self.held_bytes = self._mutations, [], 0
        if not mutations:
            return
        # The sort is stable: mutations of one row in one record stay in their order.
        mutations.sort(key=itemgetter(0, 1, 2))
        self.pieces += 1
        name = f"{self.pieces:06}.piece"
        file = await self._target.create(name + TEMPORARY)
        try:
            await self._write_parts(file, name, mutations)
            await file.sync()
        finally:
            await file.close()
        await self._target.rename(name + TEMPORARY, name)

    async def _write_parts(self, file: StoredFile, name: str, mutations: Sequence[_Mutation]) -> None:
        offset = 0
        for number, block in enumerate(_blocks(mutations), 1):
            tablet = block[0][0]
            frame = encode_frame(encode_sorted(tablet, [mutation[1:] for mutation in block]), number, 0)
            await file.append(frame)
            latest = self.parts[-1] if self.parts else None
            if latest is None or (latest.piece, latest.tablet) != (name, tablet.decode()):
                self.parts.append(Part(name, tablet.decode(), offset, 0, 0, block[0][2], 0, self._timestamps[tablet]))
            self.parts[-1] = _longer(self.parts[-1], len(frame), [mutation[2] for mutation in block])
            offset += len(frame)
            await self._world.breathe()


def _longer(part: Part, size: int, sequences: Sequence[int]) -> Part:
    return Part(
        part.piece,
        part.tablet,
        part.offset,
        part.size + size,
        part.mutations + len(sequences),
        min(part.first_sequence, *sequences),
        max(part.last_sequence, *sequences),
        part.last_timestamp,
    )


def _blocks(mutations: Sequence[_Mutation]) -> Iterator[Sequence[_Mutation]]:
    """Sorted mutations in groups of one tablet each, no larger than a block unless it is a single one."""
    begin = size = 0
    for place, (tablet, row, _, fragment) in enumerate(mutations):
        more = len(row) + len(fragment)
        if place > begin and (size + more > _BLOCK_BYTES or tablet != mutations[begin][0]):
            yield mutations[begin:place]
            begin, size = place, 0
        size += more
    yield mutations[begin:]


class _Window:
    """A part of a file, for a `LogReader`."""

    def __init__(self, file: StoredFile, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._size = size

    async def read_at(self, offset: int, count: int) -> bytes:
        return await self._file.read_at(self._start + offset, min(count, self._size - offset))

    async def size(self) -> int:
        return self._size


async def _write_list(storage: Storage, owner: str, parts: Sequence[Part]) -> None:
    said = [tablet_pb2.SortedPart(**{name: getattr(part, name) for name in Part.__slots__}) for part in parts]
    file = await storage.create(LIST_NAME + TEMPORARY)
    try:
        await file.append(_LIST.framed(tablet_pb2.SortedLog(owner=owner, parts=said), sequence=1))
        await file.sync()
    finally:
        await file.close()
    await storage.rename(LIST_NAME + TEMPORARY, LIST_NAME)


async def _clear(storage: Storage) -> None:
    """Remove what a sort has left, the list first: without it, the pieces count for nothing."""
    names = [name for name in await storage.list() if _is_ours(name.removesuffix(TEMPORARY))]
    for name in sorted(names, key=lambda name: name != LIST_NAME):
        await storage.remove(name)


def _is_ours(name: str) -> bool:
    return name == LIST_NAME or _PIECE.fullmatch(name) is not None


def _again(owner: str) -> str:
    return f"remove {LIST_NAME} and sort the log of {owner!r} again"
