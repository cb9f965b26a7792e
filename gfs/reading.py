"""Reading: from an offset in a file to verified bytes (GFS 2.4), and reading ahead.

The problem. Any replica may be slow, dead, stale or damaged, and the reader should neither notice nor wait for long.
The idea: a read is cut into pieces; each piece goes to the nearest replica and on to the next one at any error; when
none served, the master is asked where the replicas are now. A server that failed is tried last for a while.

`PieceStream` keeps a window of pieces under way at once, each on a connection of its own into a buffer of its own, and
hands them out in order. So the next pieces cross the network while the caller deals with this one, also from one chunk
to the next; and memory is bounded by the window whatever the file's size.

Invariants:
1. Bytes handed out come from a replica of at least the version that the master named (GFS 4.5), and were verified.
2. A buffer that was handed out is not written to until the next one is asked for.

The end of a file is where its last chunk's replica says it is, not where a cached answer of the master says. A chunk
in the middle that is shorter than a chunk reads as zeros where it has no bytes, as in any file with a hole.

What we simplify. No hedged reads: a slow replica is waited for until `read_seconds` have passed.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from gfs.bulk_links import BulkLinks, ReadAnswer
from gfs.distance import nearest_first
from gfs.events import ReplicaSkipped
from gfs.location_cache import FileFacts, LocationCache, facts_of
from gfs.master_link import Causes, MasterLink
from gfs.patience import Patience
from gfs.pieces import Piece, cut, piece_at
from gfs.settings import ClientSettings
from runtime.errors import (
    Corrupted,
    DiskFailure,
    InvalidRequest,
    StaleVersion,
    TabletopError,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from runtime.events import because
from runtime.settings import KIBIBYTE
from runtime.wire.bulk_pb2 import ReadRequest
from runtime.wire.common_pb2 import ChunkLocations, Location
from runtime.wire.master_pb2 import FileInfo, FindLocationsReply
from runtime.world import World

# Asking another replica cannot help against these.
_HOPELESS = (InvalidRequest, Unauthenticated)
# Waiting cannot help against these: what is on disk is damaged on every replica.
_LASTING = (Corrupted, DiskFailure)
_ROUNDS_OF_LASTING_DAMAGE = 3
_PROBE_BYTES = 64 * KIBIBYTE


class Replicas:
    """The order in which replicas are tried: nearest first, those that failed a moment ago last."""

    def __init__(self, world: World, settings: ClientSettings) -> None:
        self._world = world
        self._settings = settings
        self._avoid_until: dict[str, float] = {}

    def in_order(self, chunk: ChunkLocations) -> list[Location]:
        """A chunk's replicas, the one to try first at the front."""
        ordered = nearest_first(chunk.replicas, self._settings.own_host, chunk.handle)
        return sorted(ordered, key=self._is_avoided) if self._avoid_until else ordered

    def avoid(self, replica: Location) -> None:
        """Try this server last for a while."""
        self._avoid_until[replica.server] = self._world.clock.now() + self._settings.avoid_seconds

    def _is_avoided(self, replica: Location) -> bool:
        until = self._avoid_until.get(replica.server)
        if until is not None and until <= self._world.clock.now():
            del self._avoid_until[replica.server]
            return False
        return until is not None


class ChunkReader:
    """Reads pieces, with failover."""

    def __init__(
        self, world: World, settings: ClientSettings, master: MasterLink, links: BulkLinks, causes: Causes
    ) -> None:
        self.locations = LocationCache(settings.location_seconds)
        self.replicas = Replicas(world, settings)
        self._world = world
        self._settings = settings
        self._master = master
        self._links = links
        self._causes = causes
        self._asking: dict[str, asyncio.Lock] = {}

    async def open(self, path: str) -> FileInfo:
        """Ask the master about a file, forgetting what was known of it (GFS 2.7.1). Raises NotFound, IsADirectory."""
        self.locations.forget(path)
        return (await self._look_up(path, 0)).file

    async def facts(self, path: str) -> FileFacts:
        """The file's chunk size and count, from the cache or the master."""
        return self.locations.facts(path, self._world.clock.now()) or facts_of((await self._look_up(path, 0)).file)

    async def locate(self, path: str, index: int) -> ChunkLocations | None:
        """Where a chunk is, from the cache or the master; None if the file ends before it."""
        chunk = self.locations.chunk(path, index, self._world.clock.now())
        if chunk is not None:
            return chunk
        # Several pieces of one chunk come here at once; one of them asks, the others wait for its answer.
        lock = self._asking.setdefault(path, asyncio.Lock())
        try:
            async with lock:
                chunk = self.locations.chunk(path, index, self._world.clock.now())
                if chunk is None:
                    reply = await self._look_up(path, index)
                    chunk = next((chunk for chunk in reply.chunks if chunk.index == index), None)
                return chunk
        finally:
            if not lock.locked():
                self._asking.pop(path, None)

    async def read_at(self, path: str, position: int, target: memoryview) -> int:
        """Fill `target` from `position`; returns the bytes read, fewer than its length only at the end of the file.

        Several pieces are read at once.
        """
        if len(target) <= self._settings.read_piece_bytes:
            return await self._read_pieces_in_turn(path, position, target)
        stream = PieceStream(self, self._settings, path, position, await self.facts(path), target=target)
        done = 0
        try:
            while piece := await stream.next():
                done += len(piece)
        finally:
            await stream.close()
        # What lies beyond the end that the master knew of: usually nothing.
        return done + await self._read_pieces_in_turn(path, position + done, target[done:])

    async def read_piece(self, path: str, piece: Piece, target: memoryview) -> int:
        """Read one piece; returns the bytes read, fewer than asked for only at the end of the file.

        Raises NotFound if the file is gone; after the patience Unavailable, or Corrupted if every replica is damaged.
        """
        patience = Patience(self._world, self._settings, self._settings.patience_seconds)
        rounds_of_damage = 0
        with because(self._causes.next()):
            while (chunk := await self.locate(path, piece.index)) is not None:
                answer, failures = await self._try_replicas(path, piece, chunk, target)
                if answer is not None:
                    return await self._up_to_the_end(path, piece, answer, target)
                self.locations.forget_chunk(path, piece.index)
                is_damage = bool(failures) and all(isinstance(error, _LASTING) for _, error in failures)
                rounds_of_damage = rounds_of_damage + 1 if is_damage else 0
                if patience.over() or rounds_of_damage == _ROUNDS_OF_LASTING_DAMAGE:
                    raise _unreadable(path, chunk, failures)
                await patience.pause()
        return 0

    async def _read_pieces_in_turn(self, path: str, position: int, target: memoryview) -> int:
        if not target:
            return 0
        facts = await self.facts(path)
        done = 0
        for piece in cut(
            position, len(target), chunk_bytes=facts.chunk_bytes, piece_bytes=self._settings.read_piece_bytes
        ):
            got = await self.read_piece(path, piece, target[done : done + piece.length])
            done += got
            if got < piece.length:
                break
        return done

    async def _try_replicas(
        self, path: str, piece: Piece, chunk: ChunkLocations, target: memoryview
    ) -> tuple[ReadAnswer | None, list[tuple[str, TabletopError]]]:
        request = ReadRequest(
            handle=chunk.handle,
            version=chunk.version,
            offset=piece.offset,
            length=piece.length,
            cause=self._causes.next(),
        )
        failures: list[tuple[str, TabletopError]] = []
        shortened: list[tuple[int, Location]] = []
        for replica in self.replicas.in_order(chunk):
            try:
                answer = await self._links.read(replica, request, target, timeout_seconds=self._settings.read_seconds)
            except _HOPELESS:
                raise
            except TabletopError as error:
                failures.append((replica.server, error))
                if isinstance(error, (Unavailable, TimedOut)):
                    self.replicas.avoid(replica)
                self._world.events.emit(
                    ReplicaSkipped(path, piece.index, chunk.handle, replica.server, reason=error.message)
                )
            else:
                if answer.length == piece.length or answer.chunk_length >= chunk.length:
                    return answer, failures
                # The master was told of more bytes: this replica has lost some. Another one may have them.
                reason = f"its chunk ends at {answer.chunk_length}, {chunk.length} bytes were reported"
                failures.append((replica.server, StaleVersion(f"{replica.server} was cut short: {reason}")))
                shortened.append((answer.chunk_length, replica))
                self._world.events.emit(ReplicaSkipped(path, piece.index, chunk.handle, replica.server, reason=reason))
        if shortened and len(shortened) == len(failures):
            # Everyone answered, and nobody has more: the bytes of a mutation that failed, on a replica that is gone.
            longest = max(shortened, key=lambda found: found[0])[1]
            answer = await self._links.read(longest, request, target, timeout_seconds=self._settings.read_seconds)
            return answer, failures
        return None, failures

    async def _up_to_the_end(self, path: str, piece: Piece, answer: ReadAnswer, target: memoryview) -> int:
        """What a short answer means: the end of the file, or a hole in the middle of it."""
        if answer.length == piece.length:
            return piece.length
        facts = await self.facts(path)
        if piece.index + 1 >= facts.chunk_count:
            return answer.length
        target[answer.length : piece.length] = bytes(piece.length - answer.length)
        return piece.length

    async def _look_up(self, path: str, first_index: int) -> FindLocationsReply:
        reply = await self._master.find_locations(path, first_index, self._settings.locations_at_once)
        self.locations.remember(path, reply, self._world.clock.now())
        return reply


class PieceStream:
    """The bytes of a file from `position` to its end, piece by piece, a window of them under way at once.

    Without a `target`, pieces come in buffers that are used again; with one, they are read to their places in it, as
    many as it holds. While it is not known where the last chunk ends, it begins with one small piece: most files are
    small, and asking for the whole window would be asking for nothing.
    """

    def __init__(
        self,
        reader: ChunkReader,
        settings: ClientSettings,
        path: str,
        position: int,
        facts: FileFacts,
        *,
        target: memoryview | None = None,
    ) -> None:
        self.position = position  # Of the next byte to be handed out.
        self.found_end = False  # A replica has said that the file ends here.
        self._reader = reader
        self._path = path
        self._asked = position
        self._end = facts.end if target is None else min(facts.end, position + len(target))
        self._chunk_bytes = facts.chunk_bytes
        self._is_probing = facts.length is None and target is None
        self._piece_bytes = settings.read_piece_bytes
        self._window = settings.read_window
        self._target, self._target_begin = target, position
        self._under_way: deque[tuple[Piece, memoryview, asyncio.Task[int]]] = deque()
        self._spare: list[memoryview] = []
        self._handed_out: memoryview | None = None

    async def next(self) -> memoryview:
        """The next piece, valid until the next call; empty at the end. Raises as `ChunkReader.read_piece`."""
        if self._handed_out is not None:
            self._spare.append(self._handed_out)
            self._handed_out = None
        while len(self._under_way) < (1 if self._is_probing else self._window) and self._asked < self._end:
            self._ask()
        if not self._under_way:
            return memoryview(b"")
        piece, buffer, task = self._under_way[0]
        got = await task
        self._under_way.popleft()
        self._is_probing = False
        if self._target is None:
            self._handed_out = buffer
        if got < piece.length:  # The file ends here; what was asked for beyond is of no use.
            self._end = self._asked = piece.position + got
            self.found_end = True
            await self.close()
        self.position += got
        return buffer[:got]

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [task for _, _, task in self._under_way]
        self._under_way.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self) -> None:
        left = self._end - self._asked
        piece_bytes = min(_PROBE_BYTES, self._piece_bytes) if self._is_probing else self._piece_bytes
        piece = piece_at(self._asked, left, chunk_bytes=self._chunk_bytes, piece_bytes=piece_bytes)
        buffer = self._buffer_for(piece, left)
        work = self._reader.read_piece(self._path, piece, buffer[: piece.length])
        self._under_way.append((piece, buffer, asyncio.create_task(work, name=f"read {self._path} {piece.position}")))
        self._asked = piece.end

    def _buffer_for(self, piece: Piece, left: int) -> memoryview:
        if self._target is not None:
            begin = piece.position - self._target_begin
            return self._target[begin : begin + piece.length]
        while self._spare:
            spare = self._spare.pop()
            if len(spare) >= piece.length:
                return spare
        return memoryview(bytearray(piece.length if self._is_probing else min(self._piece_bytes, left)))


def _unreadable(path: str, chunk: ChunkLocations, failures: Sequence[tuple[str, TabletopError]]) -> TabletopError:
    """The error for a chunk that no replica served, naming each of them."""
    is_damage = bool(failures) and all(isinstance(error, _LASTING) for _, error in failures)
    kind: type[TabletopError] = Corrupted if is_damage else Unavailable
    tried = "; ".join(f"{server}: {error.message}" for server, error in failures) or "the master knows of none"
    return kind(
        f"chunk {chunk.index} ({chunk.handle:#x}) of {path} cannot be read from any replica ({tried}); "
        "see `tabletop status`, and start the servers that are down",
        definite=True,
    )
