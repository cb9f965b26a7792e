"""Syncing in the background: how much a loss of all power may cost (GFS 3.1).

The problem. With durability "replicated" a mutation is acknowledged when all replicas have it in memory. That survives
any number of killed processes, and the loss of power of all replicas but one. If all of them lose power at once, what
no disk has is gone: an operating system that is left alone writes after half a minute, and in no particular order. The
idea: every few seconds each chunk that was mutated is made durable, with an anchor (`headers.py`), so that at most the
bytes of the last seconds are lost, and never a chunk. A few chunks are synced at the same time: then the file system
writes its journal once for several of them (ten thousand small chunks took a third of the processor time).

What we simplify. While a server is down nobody syncs what it has left in the page cache but the operating system, after
half a minute: if its machine loses power then, the bytes of the seconds before the server ended may be lost with it.
"""

import asyncio

from chunkserver.events import WriteBackFailed
from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.chunk_files import folder_of
from chunkserver.storage.chunk_store import ChunkStore
from runtime.errors import TabletopError
from runtime.world import World

_AT_ONCE = 32


class WriteBack:
    """Goes round the chunks that were mutated."""

    def __init__(self, world: World, settings: ChunkserverSettings, store: ChunkStore) -> None:
        self.counters = {"chunks_written_back": 0}
        self._world = world
        self._settings = settings
        self._store = store
        self._failed: dict[int, None] = {}

    async def run(self) -> None:
        """Sync for ever; first what a process that was killed has left."""
        while True:
            await self.sync_all()
            await self._world.clock.sleep(self._settings.writeback_seconds)

    async def sync_all(self) -> None:
        """Make durable what was mutated up to now. A chunk that cannot be synced is damaged, or is tried again
        later."""
        # Those of one folder one after the other: they share the sync of its names.
        handles = iter(sorted(self._store.dirty(), key=folder_of))

        async def work() -> None:
            for handle in handles:
                await self._sync(handle)
                await self._world.breathe()

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))

    async def _sync(self, handle: int) -> None:
        try:
            await self._store.write_back(handle)
            self.counters["chunks_written_back"] += 1
            self._failed.pop(handle, None)
        except TabletopError as error:
            if handle not in self._failed:
                self._failed[handle] = None
                self._world.events.emit(WriteBackFailed(handle, error.message))
