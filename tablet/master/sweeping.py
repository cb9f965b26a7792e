"""Garbage collection of files: mark and sweep from METADATA (BT 6).

The problem. A tablet that comes from a split or a merge refers to SSTables in the folders of tablets that are no more.
When its compactions have replaced them all, nobody needs these files; but which tablet knows that it was the last one?

The idea. The engine of a living tablet sweeps the tablet's own folder, for nobody else refers to what is in there. The
master sweeps the folders of all others. It begins with METADATA, the root of everything that is alive: each tablet's
manifest, and the manifests of its snapshots, say which files it refers to, and its server, what is still being read.
Whatever is in the folder of a tablet that is no more, and is not marked so, is removed; the folder goes with the last.

The order makes it safe; a tablet may be split, merged or compacted at any moment:

    1. list the folders: a tablet whose folder is made later is not judged
    2. ask every server which tablets its splits and merges under way are about to make: these are not judged either.
       What is not among them either has a row in METADATA by now, or will never have one. And ask which files in
       folders of others are in use: a scan may still read what its tablet does not refer to any more
    3. read METADATA, which must have each row of each table once, in tablets that were served in step 2
    4. read the manifests. A tablet that is split or merged meanwhile is marked all the same, and those that come from
       it refer to nothing else in folders that are judged: what a tablet refers to outside of its own only becomes less
    5. remove

So what is needless once is needless for ever: no tablet is given a name twice, and a master that was paused between
two of these steps, and is replaced, still removes the right files. If anything cannot be read, nothing is removed.

Snapshots of whole tables have files of their own, and refer to no tablet's. Whatever else is to hold files in folders
of tablets one day has to be marked in `_marked`, both before step 3 and after step 4.

The newest manifest in a folder stays until the folder goes. An owner of the tablet who was given up long ago, and wakes
up, finds its number taken, and changes nothing (`engine/tree/state.py`, invariant 5).

>>> needless(["000001.sst", "000002.sst", "manifest-000003", "manifest-000004"], {"000002.sst"})
['000001.sst', 'manifest-000003']
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, pairwise
from typing import Any

from gfs.client import Client
from runtime.errors import Corrupted, NotFound, TabletopError
from runtime.wire.tables_pb2 import TableRecord, TabletPlace
from runtime.world import World
from tablet.client.client import TableClient
from tablet.engine.tree.manifest import Manifest, load_current, load_manifest
from tablet.engine.world.names import home_of, manifest_name, sorted_out
from tablet.location.places import METADATA, GfsPaths
from tablet.master.events import TabletFilesSwept
from tablet.master.servers import LivingServer, Servers
from tablet.master.settings import TabletMasterSettings
from tablet.master.tables import SERVING, TableChanges
from tablet.server.catalogue import tablet_number
from tablet.storage.errors import in_engine_words
from tablet.storage.folders import GfsFolders, GfsStorage

Held = Mapping[str, Collection[str]]
"""The files that are needed, by the folder that they are in."""
_AT_ONCE = 8
_ATTEMPTS = 5


def needless(names: Sequence[str], held: Collection[str]) -> list[str]:
    """What is to be removed in the folder of a tablet that is no more, while some files in it are needed."""
    newest = manifest_name(max(sorted_out(names).manifests, default=0))
    return [name for name in names if name not in held and name != newest]


def is_whole(places: Sequence[TabletPlace]) -> bool:
    """Whether METADATA has each row of each table once, and every tablet has a row for itself."""
    for _, group in groupby(places, key=lambda place: place.table):
        found = list(group)
        are_apart = all(lower.end_row == upper.start_row != b"" for lower, upper in pairwise(found))
        if not are_apart or found[0].start_row or found[-1].end_row:
            return False
    return not any(place.HasField("lower_half") for place in places)


class Sweeping:
    """The sweeps of one tenure. `root`: where the root tablet is."""

    def __init__(
        self,
        world: World,
        settings: TabletMasterSettings,
        *,
        client: Client,
        tables: TableClient,
        servers: Servers,
        changes: TableChanges,
        paths: GfsPaths,
        root: Callable[[], Awaitable[TabletPlace]],
    ) -> None:
        self._world = world
        self._settings = settings
        self._client = client
        self._tables = tables
        self._servers = servers
        self._changes = changes
        self._folders = GfsFolders(client, paths.data)
        self._paths = paths
        self._root = root
        self._due_at = 0.0
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """Sweep beside the rounds, if it is time. All tablets are served."""
        now = self._world.clock.now()
        if self._task is None and now >= self._due_at:
            self._due_at = now + self._settings.sweep_seconds
            self._task = self._world.spawn(self._sweep(), "sweep the files of tablets")
            self._task.add_done_callback(self._done)

    def hurry(self) -> None:
        """Something may have become needless: sweep in the next quiet round."""
        self._due_at = 0.0

    def stop(self) -> None:
        """The tenure is over."""
        if self._task is not None:
            self._task.cancel()

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._task = None

    async def _sweep(self) -> None:
        with suppress(TabletopError):  # What cannot be read now is read the next time.
            await self.sweep()

    async def sweep(self) -> None:
        """Remove what no tablet refers to. Raises what reading METADATA and the manifests raises."""
        folders = [name for name in await self._folders.list() if tablet_number(name)]
        answered = await self._servers.with_files()
        preparing = {name for server in answered.values() for name in server.preparing}
        records = await self._changes.records()
        places = [await self._root(), *await self._tables.tablets(METADATA), *await self._tables.tablets()]
        serving = {table for table, record in records.items() if record.state == SERVING}
        if not is_whole(places) or not serving <= {place.table for place in places}:
            return
        if not all(place.server in answered and _serves(answered[place.server], place) for place in places):
            return  # What the server before it was about to commit may take effect yet, or what it read is not known.
        alive = {place.tablet for place in places}
        judged = [name for name in folders if name not in alive | preparing and self._is_settled(name, records)]
        if judged:
            held = await self._marked(places, [name for server in answered.values() for name in server.files_in_use])
            await asyncio.gather(*(self._remove_in(name, held.get(name, ())) for name in judged))

    def _is_settled(self, tablet: str, records: Mapping[str, TableRecord]) -> bool:
        """Whether the tablet's table is not just being made or deleted."""
        table = tablet.rpartition("-")[0]
        return table not in self._changes.busy and (table not in records or records[table].state == SERVING)

    async def _marked(self, places: Sequence[TabletPlace], in_use: Sequence[str]) -> Held:
        """The files to which tablets refer, and those `in_use`. Raises NotFound, Corrupted, DiskFailure."""
        held = defaultdict[str, set[str]](set)
        for folder, _, name in (path.partition("/") for path in in_use):
            held[folder].add(name)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def mark(place: TabletPlace) -> None:
            async with turns:
                manifests = await _manifests(self._folders.storage(place.tablet))
            for manifest in manifests:
                for reference in manifest.references():
                    folder, name = home_of(reference.name, place.tablet)
                    held[folder].add(name)

        await asyncio.gather(*map(mark, places))
        return held

    async def _remove_in(self, tablet: str, held: Collection[str]) -> None:
        storage = self._folders.storage(tablet)
        names = await storage.list()
        if not held:
            with in_engine_words(), suppress(NotFound):
                await self._client.delete(f"{self._paths.data}/{tablet}", recursive=True, immediately=True)
            self._world.events.emit(TabletFilesSwept(tablet, len(names), 0))
            return
        found = needless(names, held)
        for name in found:
            with suppress(NotFound):
                await storage.remove(name)
        if found:
            self._world.events.emit(TabletFilesSwept(tablet, len(found), len(held)))


def _serves(server: LivingServer, place: TabletPlace) -> bool:
    return server.serving.get(place.tablet, -1) >= place.token


async def _manifests(storage: GfsStorage) -> list[Manifest]:
    """What a tablet refers to: its manifest, and its snapshots."""
    for _ in range(_ATTEMPTS):
        names = await storage.list()
        with suppress(NotFound):  # A newer one has taken its place.
            current = await load_current(storage, names)
            if current is None:
                raise Corrupted("a tablet that METADATA names has no manifest")
            snapshots = [await load_manifest(storage, name) for name in sorted_out(names).snapshots.values()]
            return [current, *snapshots]
    raise NotFound("a tablet changes its manifest faster than it can be read")
