"""Acquiring tablets for a snapshot of their table, one at a time (BT 6; HBase's protocol: acquired, reached, aborted).

    1. a minor compaction: whatever was acknowledged before is in SSTables
    2. the manifest of one moment, whose SSTables stay meanwhile
    3. each of these SSTables gets a second name in the snapshot's folder, by a snapshot of GFS: no byte is copied
    4. a manifest there, which refers to these alone
    5. one more look at the session: was the tablet ours at that moment?

Writes go on all the time: what comes in after the moment of step 2 is not in the snapshot. The tablet does not move and
is not split meanwhile. The folder is made by the master, and removed by it if anything fails here: a late server
finds no folder, and leaves nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from runtime.errors import NotServed, TabletopError
from tablet.engine.cloning import pinned, standing_alone
from tablet.engine.engine import Engine
from tablet.engine.tree.manifest import Manifest, write_manifest
from tablet.engine.world.names import manifest_name
from tablet.hosting.events import TabletAcquired
from tablet.hosting.life import Life
from tablet.storage.errors import in_engine_words
from tablet.storage.folders import GfsStorage


async def acquire(life: Life, folder: str, tablets: Sequence[str]) -> int:
    """Put the content of some tablets into a folder of their own in the snapshot's `folder`; returns about how many
    bytes of SSTables that is. Ends with the life of the server. Raises NotServed, AlreadyExists (it was asked for
    before), NotFound (the snapshot was aborted), NoSpace, DiskFailure."""
    wanted = (folder, *tablets)  # The tablets, too: METADATA may still give some of them to an earlier life of ours.
    task = life.acquiring.get(wanted)
    if task is None:
        task = life.acquiring[wanted] = life.world.spawn(_outcome(life, folder, tablets), f"acquire for {folder}")
        task.add_done_callback(lambda _: life.acquiring.pop(wanted, None))
    try:
        outcome = await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise NotServed("this server's life has ended meanwhile", definite=False) from None
        raise
    if isinstance(outcome, TabletopError):
        raise outcome
    return outcome


@asynccontextmanager
async def content_of(engine: Engine) -> AsyncIterator[Manifest]:
    """What was acknowledged before this, in SSTables that stay until the block ends."""
    await engine.flush()
    with pinned(engine) as manifest:
        yield manifest


async def _outcome(life: Life, folder: str, tablets: Sequence[str]) -> int | TabletopError:
    try:
        return sum([await _acquire(life, folder, tablet) for tablet in tablets])
    except TabletopError as error:
        return error


async def _acquire(life: Life, folder: str, tablet: str) -> int:
    target = f"{life.paths.snapshots}/{folder}/{tablet}"
    async with life.turn(tablet):
        engine = life.engine(tablet)
        with in_engine_words():
            await life.client.make_directory(target)
        async with content_of(engine) as manifest:
            held, names = standing_alone(manifest)
            storage = GfsStorage(life.client, target)
            for reference, name in names.items():
                await life.data.storage(tablet).share(reference.name, storage, name)
            await write_manifest(storage, held, manifest_name(1))
        life.engine(tablet)  # Otherwise another server may have acknowledged writes before.
    size = sum(reference.charged_bytes for reference in names)
    life.world.events.emit(TabletAcquired(tablet, folder, len(names), size))
    return size
