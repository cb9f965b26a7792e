"""Verification when idle (GFS 5.2).

The problem. A block that nobody reads may rot unnoticed, until it is the last good copy that is missing; and so may the
headers and the checksums of a chunk whose files have been open for long. The idea: in idle moments the server reads
what it holds, one slice after the other, and compares it with the checksums, so that the master can replace a bad
replica while there are good ones. Headers and tables on disk are compared with what is in memory; there the server can
help itself, and writes them anew."""

from collections.abc import Callable

from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_store import ChunkStore
from runtime.errors import Corrupted, TabletopError
from runtime.world import World

SLICE_BYTES = 16 * BLOCK_BYTES
PAUSE_SECONDS = 1.0  # while clients keep the server busy, and between rounds


class Scrubber:
    """Goes round all chunks. `work_done` counts what the server does for others: while it rises, the scrubber rests."""

    def __init__(
        self, world: World, settings: ChunkserverSettings, store: ChunkStore, work_done: Callable[[], int]
    ) -> None:
        self.counters = {"scrub_rounds": 0, "bytes_scrubbed": 0, "metadata_repaired": 0}
        self._world = world
        self._settings = settings
        self._store = store
        self._work_done = work_done

    async def run(self) -> None:
        """Verify for ever."""
        if not self._settings.scrub_bytes_per_second:
            return
        handle = -1
        while True:
            following = self._store.states_after(handle, 1)
            if following:
                handle = following[0].handle
                if following[0].is_unsure:
                    await self._world.breathe()
                else:
                    await self._verify_chunk(handle, following[0].length)
            else:
                if handle >= 0:
                    self.counters["scrub_rounds"] += 1
                handle = -1
                await self._world.clock.sleep(PAUSE_SECONDS)

    async def _verify_chunk(self, handle: int, length: int) -> None:
        """Verify one chunk, its data in slices; the store reports what is damaged."""
        await self._until_idle()
        try:
            if not await self._store.check_metadata(handle):
                self.counters["metadata_repaired"] += 1
        except TabletopError:
            return
        for offset in range(0, length, SLICE_BYTES):
            await self._until_idle()
            try:
                verified = await self._store.verify(handle, offset=offset, count=SLICE_BYTES)
            except Corrupted:
                verified = min(SLICE_BYTES, length - offset)
            except TabletopError:
                return
            self.counters["bytes_scrubbed"] += verified
            await self._world.clock.sleep(max(verified, BLOCK_BYTES) / self._settings.scrub_bytes_per_second)

    async def _until_idle(self) -> None:
        before = -1
        while before != (done := self._work_done()):
            if before >= 0:
                await self._world.clock.sleep(PAUSE_SECONDS)
            before = done
            await self._world.clock.sleep(0.01)
