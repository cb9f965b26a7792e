"""Mending: blocks that are damaged here are taken from replicas elsewhere, whatever their version (GFS 5.2).

The problem. The paper says of a damaged replica only that a client reads another one, and that the master clones the
chunk from another one. That is enough as long as another *current* replica exists. But the others may have missed the
last append, or have lost power, and then one rotten block of the only current replica made the whole chunk unreadable
for ever, though servers beside it held that very block whole.

The idea: what a block has to hold is known, by its checksum. Whose bytes match it has the right bytes, however old the
rest of that replica is. So the server of the damaged replica asks the others for single blocks:

    sure replica     a damaged block is replaced by bytes that match its own checksum, by nothing else
    unsure replica   a doubtful block: by bytes that match its own checksum; if nobody has them, by a block that is
                     whole, as its own checksum says, at the source of the current version that has come furthest. Only
                     if there is none are its bytes taken as they lie, when the replica is admitted

A block of an unsure replica that is whole elsewhere may differ from the one here in what was written in the last
seconds before the loss of power. As they lie, its bytes are torn or rotten: either is worse.

Invariants: (1) a block is lost only if no replica that can be reached has it whole; (2) a sure replica never gets bytes
that are not its own; (3) each source has a bounded time, and one that does not answer is not asked again; (4) chunks
are mended one at a time each, to the end even if the caller goes away; (5) the caller hears every second that the
server is at it.

What we simplify. A replica whose metadata cannot be read is not mended; it is replaced by a copy. An unsure one that
took a block from a source which has not come as far keeps its own progress: nobody who answered has more of that block.
If it alone had made the block durable, and a later overwrite tore it, the older bytes are taken: a torn block cannot be
told from a rotten one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from chunkserver.events import BlocksMended
from chunkserver.mutation.advancing import to_wire
from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.block_mender import BadBlock, BlockMender
from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_files import stale
from chunkserver.storage.chunk_format import Progress
from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.keyed_locks import KeyedLocks
from chunkserver.transfer.peers import read_from
from chunkserver.transfer.signs import with_signs
from runtime.bulk_pool import BulkPool
from runtime.errors import NotFound, TabletopError, TimedOut, Unavailable
from runtime.events import current_cause
from runtime.wire.bulk_pb2 import ReadRequest
from runtime.wire.chunkserver_pb2 import MendProgress, MendReply, MendRequest
from runtime.wire.common_pb2 import Location
from runtime.world import World

_AT_ONCE = 16  # blocks that are held in memory before they are put in
_SOURCE_SECONDS = 30.0  # in all, for one chunk


class _Sources:
    """Whom to ask for one chunk's blocks, and how long each of them has taken."""

    def __init__(self, places: Sequence[Location]) -> None:
        self.seconds = {place.server: 0.0 for place in places}
        self.places = {place.server: place for place in places}
        self.used: dict[str, None] = {}

    def left(self) -> list[Location]:
        """Those that may be asked yet."""
        return [place for name, place in self.places.items() if self.seconds[name] < _SOURCE_SECONDS]

    def give_up(self, place: Location) -> None:
        """It does not answer."""
        self.seconds[place.server] = _SOURCE_SECONDS


class Mending:
    """Mends the replicas of one server."""

    def __init__(
        self, world: World, settings: ChunkserverSettings, store: ChunkStore, mender: BlockMender, links: BulkPool
    ) -> None:
        self.counters = {"blocks_mended": 0}
        self._world = world
        self._settings = settings
        self._store = store
        self._mender = mender
        self._links = links
        self._orders = KeyedLocks()

    async def mend(self, request: MendRequest) -> AsyncIterator[MendProgress]:
        """Read a replica, and mend what does not match its checksums; a word every second, and at last what came of it.

        Raises NotFound, StaleVersion, Corrupted (its metadata), NoSpace, DiskFailure."""
        work, name = self._in_turn(request), f"mend chunk {request.handle:#x}"
        async with aclosing(with_signs(self._world, work, name, ends_with_caller=False)) as signs:
            async for done in signs:
                yield MendProgress(done=done)

    async def _in_turn(self, request: MendRequest) -> MendReply:
        async with self._orders.hold(request.handle):
            return await self._mend(request)

    async def _mend(self, request: MendRequest) -> MendReply:
        handle, store = request.handle, self._store
        state = store.state(handle)
        if state is None:
            raise NotFound(f"there is no replica of chunk {handle:#x} here to be mended")
        if state.version < request.version:
            raise stale(handle, state.version, request.version, request.version)
        bad = await self._mender.bad_blocks(handle)
        sources = _Sources([place for place in request.sources if place.server != self._world.node])
        mended = 0
        for begin in range(0, len(bad), _AT_ONCE):
            found = {}
            for block in bad[begin : begin + _AT_ONCE]:
                data = await self._find(request, block, sources, is_unsure=state.is_unsure)
                if data is not None:
                    found[block] = data
            mended += await self._mender.put(handle, found)
        await store.check_metadata(handle)
        self.counters["blocks_mended"] += mended
        left = len(bad) - mended
        if bad:
            self._world.events.emit(BlocksMended(handle, mended, left, tuple(sources.used)))
        now = store.state(handle)
        return MendReply(state=None if now is None else to_wire(now), mended_blocks=mended, left_blocks=left)

    async def _find(self, request: MendRequest, bad: BadBlock, sources: _Sources, *, is_unsure: bool) -> bytes | None:
        """The bytes for a bad block; None if nobody has them."""
        second_best: tuple[Progress, Location, bytes] | None = None
        for place in sources.left():
            began = self._world.clock.now()
            try:
                data, version, progress = await self._ask(place, request.handle, bad.block)
            except (Unavailable, TimedOut):
                sources.give_up(place)
                continue
            except TabletopError:
                continue
            finally:
                sources.seconds[place.server] += self._world.clock.now() - began
            data = data[: bad.extent]
            if bad.is_whole(memoryview(data)):
                sources.used[place.server] = None
                return data
            is_eligible = is_unsure and version >= request.version and len(data) == bad.extent
            if is_eligible and (second_best is None or progress > second_best[0]):
                second_best = progress, place, data
        if second_best is None:
            return None
        _, chosen, data = second_best
        sources.used[chosen.server] = None
        return data

    async def _ask(self, place: Location, handle: int, block: int) -> tuple[bytes, int, Progress]:
        """A block as it is at a source, its version, and how far it has come. Raises what `read_from` does."""
        wanted = ReadRequest(
            handle=handle, offset=block * BLOCK_BYTES, length=BLOCK_BYTES, salvage=True, cause=current_cause()
        )
        target = memoryview(bytearray(BLOCK_BYTES))
        stall_seconds = self._settings.stall_seconds
        try:
            reply = await read_from(self._links, place, wanted, target, stall_seconds=stall_seconds)
        except Unavailable:  # The connection may have been idle since before that server was started again.
            reply = await read_from(self._links, place, wanted, target, stall_seconds=stall_seconds)
        progress = Progress(reply.progress.version, reply.progress.serial)
        return bytes(target[: reply.length]), reply.version, progress
