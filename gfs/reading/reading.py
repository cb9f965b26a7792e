"""Reading: from an offset in a file to verified bytes (GFS 2.4).

The problem. Any replica may be slow, dead, stale or damaged, and the reader should neither notice nor wait for long.
The idea: a read is cut into pieces; each piece goes to the nearest replica and on to the next one at any error; when
none served, the master is asked where the replicas are now. A server that failed is tried last for a while.

Where does the file end? A replica that answers with fewer bytes than were asked for has no more: here its chunk ends.
That is the end of the file unless a later chunk holds bytes, and then what this chunk lacks is a hole, which reads as
zeros. So the reader asks the master for the file's chunks, and the replicas of the later ones for their lengths, after
the read was begun: an older answer could hide bytes that were acknowledged in the meantime. And a hole is believed only
if the chunk is found short *after* a later one was known to hold bytes, as it may have been filled in between.

Invariants:
1. Bytes handed out come from a replica of at least the version that the master named (GFS 4.5), and of at least the
   version under which this client wrote to the chunk, and were verified.
2. All bytes of one read come from the file that was opened: if its path names another file by now, the master says so.
3. A read ends before the length it was asked for only where the file ended at some moment since the read was begun.

What we simplify. No hedged reads: a slow replica is waited for until `read_seconds` have passed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gfs.events import ReplicaSkipped
from gfs.names.identity import FileIdentity, identity_of
from gfs.names.location_cache import FileFacts, LocationCache
from gfs.names.master_link import Causes, MasterLink
from gfs.patience import Patience
from gfs.reading.bulk_links import BulkLinks, ReadAnswer
from gfs.reading.lengths import LengthFinder
from gfs.reading.piece_stream import PieceStream
from gfs.reading.pieces import Piece, cut, most_bytes
from gfs.reading.replicas import Replicas
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
from runtime.wire.bulk_pb2 import ReadRequest
from runtime.wire.common_pb2 import ChunkLocations, Location
from runtime.wire.master_pb2 import FileInfo, FindLocationsReply
from runtime.world import World

# Asking another replica cannot help against these.
_HOPELESS = (InvalidRequest, Unauthenticated)
# Waiting cannot help against these: what is on disk is damaged on every replica.
_LASTING = (Corrupted, DiskFailure)
_ROUNDS_OF_LASTING_DAMAGE = 3
NEVER = -1  # Before the first question.

T = TypeVar("T")
Failures = list[tuple[str, TabletopError]]


class ChunkReader:
    """Reads pieces, with failover."""

    def __init__(
        self,
        world: World,
        settings: ClientSettings,
        master: MasterLink,
        links: BulkLinks,
        replicas: Replicas,
        lengths: LengthFinder,
        causes: Causes,
    ) -> None:
        self.locations = LocationCache(settings.location_seconds)
        self.questions = (
            0  # Asked of the master so far: an answer is recent if its number is above the one noted before.
        )
        self._world = world
        self._settings = settings
        self._master = master
        self._links = links
        self._replicas = replicas
        self._lengths = lengths
        self._causes = causes
        self._asking: dict[FileIdentity, asyncio.Lock] = {}

    async def open(self, path: str, *, may_be_old: bool = False) -> FileInfo:
        """Ask the master about a file, forgetting what was known of it (GFS 2.7.1). Raises NotFound, IsADirectory."""
        self.questions += 1
        question = self.questions
        count = self._settings.locations_at_once
        reply = await self._master.find_locations(FileIdentity(path, 0), 0, count, may_be_old=may_be_old)
        file = identity_of(reply.file)
        self.locations.open(file, reply, self._world.clock.now(), question)
        return reply.file

    async def facts(self, file: FileIdentity, *, since: int = NEVER, patience: Patience | None = None) -> FileFacts:
        """What the master says of the file: from the cache, if it was asked after the question of number `since`."""
        known = self.locations.facts(file, self._world.clock.now())
        if known is not None and known.question > since:
            return known
        return await self._alone(file, lambda: self._facts_now(file, since, patience))

    async def locate(self, file: FileIdentity, index: int, patience: Patience | None = None) -> ChunkLocations | None:
        """Where a chunk is, from the cache or the master; None if the file ends before it.

        Raises NotFound, and Conflict if the path names another file now.
        """
        chunk = self.locations.chunk(file, index, self._world.clock.now())
        return chunk or await self._alone(file, lambda: self._locate_now(file, index, patience))

    async def read_at(self, file: FileIdentity, position: int, target: memoryview) -> int:
        """Fill `target` from `position`; returns the bytes read, fewer than its length only at the end of the file.

        Several pieces are read at once.
        """
        since = self.questions
        if len(target) <= self._settings.read_piece_bytes:
            return await self._read_pieces_in_turn(file, position, target, since)
        stream = PieceStream(self, self._settings, file, position, await self.facts(file), since=since, target=target)
        done = 0
        try:
            while piece := await stream.next():
                done += len(piece)
        finally:
            await stream.close()
        if stream.found_end:
            return done
        # What lies beyond the end that the master knew of: usually nothing.
        return done + await self._read_pieces_in_turn(file, position + done, target[done:], since)

    async def read_piece(self, file: FileIdentity, piece: Piece, target: memoryview, since: int) -> int:
        """Read one piece; returns the bytes read, fewer than asked for only at the end of the file.

        `since` is the number of questions that had been asked when the whole read was begun. Raises NotFound or
        Conflict if the file is not there any more; after the patience Unavailable, or Corrupted if every replica is
        damaged.
        """
        patience = Patience(self._world, self._settings, self._settings.patience_seconds)
        rounds_of_damage = 0
        may_be_hole = False
        chunk: ChunkLocations | None = None
        failures: Failures = []
        with because(self._causes.next()):
            while (chunk := await self._locate_after(file, piece.index, patience, chunk, failures)) is not None:
                answer, failures = await self._try_replicas(file, piece, chunk, target, patience)
                if answer is not None and answer.length == piece.length:
                    return piece.length
                if answer is not None and may_be_hole:
                    target[answer.length : piece.length] = bytes(piece.length - answer.length)
                    return piece.length
                if answer is not None and not await self._bytes_follow(file, piece, since, patience):
                    return answer.length
                if answer is not None:
                    # A later chunk holds bytes. Is this one still short, on a replica that the master names now? The
                    # one that answered may have been left out before those bytes were written.
                    may_be_hole = True
                    self.locations.forget_chunk(file, piece.index)
                    continue
                self.locations.forget_chunk(file, piece.index)
                is_damage = bool(failures) and all(isinstance(error, _LASTING) for _, error in failures)
                rounds_of_damage = rounds_of_damage + 1 if is_damage else 0
                if rounds_of_damage < _ROUNDS_OF_LASTING_DAMAGE:
                    await patience.pause()
                if patience.over() or rounds_of_damage == _ROUNDS_OF_LASTING_DAMAGE:
                    raise _unreadable(file.path, chunk, failures)
        return 0

    async def _locate_after(
        self, file: FileIdentity, index: int, patience: Patience, tried: ChunkLocations | None, failures: Failures
    ) -> ChunkLocations | None:
        """As `locate`. If the time runs out meanwhile, the error names the replicas that took it."""
        try:
            return await self.locate(file, index, patience)
        except TimedOut as error:
            if tried is None or not failures:
                raise
            raise _unreadable(file.path, tried, [*failures, ("master", error)]) from error

    async def _read_pieces_in_turn(self, file: FileIdentity, position: int, target: memoryview, since: int) -> int:
        if not target:
            return 0
        facts = await self.facts(file)
        done = 0
        within = min(len(target), max(0, most_bytes(facts.chunk_bytes) - position))
        for piece in cut(position, within, chunk_bytes=facts.chunk_bytes, piece_bytes=self._settings.read_piece_bytes):
            got = await self.read_piece(file, piece, target[done : done + piece.length], since)
            done += got
            if got < piece.length:
                break
        return done

    async def _try_replicas(
        self, file: FileIdentity, piece: Piece, chunk: ChunkLocations, target: memoryview, patience: Patience
    ) -> tuple[ReadAnswer | None, Failures]:
        request = ReadRequest(
            handle=chunk.handle,
            version=max(chunk.version, self.locations.least_version(chunk.handle)),
            offset=piece.offset,
            length=piece.length,
            cause=self._causes.next(),
        )
        failures: Failures = []
        shortened: list[tuple[int, Location]] = []
        for replica in self._replicas.in_order(chunk):
            answer = await self._try_replica(file, piece, request, replica, target, patience, failures)
            if answer is None:
                continue
            if answer.length == piece.length or answer.chunk_length >= chunk.length:
                return answer, failures
            # The master was told of more bytes: another replica may have them.
            reason = f"its chunk ends at {answer.chunk_length}, {chunk.length} bytes were reported"
            shortened.append((answer.chunk_length, replica))
            self._world.events.emit(ReplicaSkipped(file.path, piece.index, chunk.handle, replica.server, reason=reason))
        if shortened and not failures:
            # Everyone answered, and nobody has more: the bytes of a mutation that failed, on a replica that is gone.
            longest = max(shortened, key=lambda found: found[0])[1]
            return await self._try_replica(file, piece, request, longest, target, patience, failures), failures
        for length, replica in shortened:
            failures.append((replica.server, StaleVersion(f"its chunk ends at {length}, more bytes were reported")))
        return None, failures

    async def _try_replica(
        self,
        file: FileIdentity,
        piece: Piece,
        request: ReadRequest,
        replica: Location,
        target: memoryview,
        patience: Patience,
        failures: Failures,
    ) -> ReadAnswer | None:
        seconds = patience.limit(self._settings.read_seconds)
        try:
            return await self._links.read(replica, request, target, timeout_seconds=seconds)
        except _HOPELESS:
            raise
        except TabletopError as error:
            failures.append((replica.server, error))
            if isinstance(error, (Unavailable, TimedOut)):
                self._replicas.avoid(replica)
            reason = error.message
            self._world.events.emit(
                ReplicaSkipped(file.path, piece.index, request.handle, replica.server, reason=reason)
            )
            return None

    async def _bytes_follow(self, file: FileIdentity, piece: Piece, since: int, patience: Patience) -> bool:
        """Whether a chunk after the piece's holds bytes, by what was found out since the read was begun.

        Raises Unavailable if that cannot be told within the patience.
        """
        while True:
            facts = await self.facts(file, since=since, patience=patience)
            if facts.chunk_count <= piece.index + 1:
                return False
            [status] = await self._lengths.settle([facts.info], patience)
            if status.length_is_exact:
                return status.length > (piece.index + 1) * facts.chunk_bytes
            await patience.pause()
            if patience.over():
                raise Unavailable(
                    f"it cannot be told whether {file.path} ends in chunk {piece.index}: no replica of a later chunk "
                    f"answered within {patience.seconds:g} seconds; see `tabletop status`",
                    definite=True,
                )
            since = self.questions  # The replicas may be elsewhere by now.

    async def _alone(self, file: FileIdentity, ask: Callable[[], Awaitable[T]]) -> T:
        """Several pieces of one file come here at once; one of them asks the master, the others wait for its answer."""
        lock = self._asking.setdefault(file, asyncio.Lock())
        try:
            async with lock:
                return await ask()
        finally:
            if not lock.locked():
                self._asking.pop(file, None)

    async def _facts_now(self, file: FileIdentity, since: int, patience: Patience | None) -> FileFacts:
        known = self.locations.facts(file, self._world.clock.now())
        if known is not None and known.question > since:
            return known
        # Where the chunks are will be asked for by whoever reads them; often they are known already.
        question = self.questions + 1
        return FileFacts((await self._look_up(file, 0, 0, patience)).file, question)

    async def _locate_now(self, file: FileIdentity, index: int, patience: Patience | None) -> ChunkLocations | None:
        chunk = self.locations.chunk(file, index, self._world.clock.now())
        if chunk is not None:
            return chunk
        reply = await self._look_up(file, index, self._settings.locations_at_once, patience)
        return next((chunk for chunk in reply.chunks if chunk.index == index), None)

    async def _look_up(
        self, file: FileIdentity, first_index: int, count: int, patience: Patience | None
    ) -> FindLocationsReply:
        while True:
            self.questions += 1
            question = self.questions
            reply = await self._master.find_locations(file, first_index, count, patience, may_be_old=True)
            if not self.locations.is_overtaken(file, question):
                break
            # The file was opened meanwhile: what an older answer says was true before it, but perhaps not since.
        self.locations.remember(file, reply, self._world.clock.now(), question)
        return reply


def _unreadable(path: str, chunk: ChunkLocations, failures: Sequence[tuple[str, TabletopError]]) -> TabletopError:
    """The error for a chunk that no replica served, naming each of them."""
    is_damage = bool(failures) and all(isinstance(error, _LASTING) for _, error in failures)
    kind: type[TabletopError] = Corrupted if is_damage else Unavailable
    tried = "; ".join(f"{server}: {error.message}" for server, error in failures) or "the master knows of none"
    if is_damage:
        # To admit a damaged copy would bring nothing: what is whole of it is read as it is.
        advice = (
            f"`tabletop admit {chunk.handle:#x} NODE --force` accepts an older copy that it shows; if none is left and "
            "no server comes back with another one, the damaged part is lost"
        )
    else:
        advice = "start the servers that are down"
    return kind(
        f"chunk {chunk.index} ({chunk.handle:#x}) of {path} cannot be read from any replica ({tried}); "
        f"see `tabletop status --chunks`; {advice}",
        definite=True,
    )
