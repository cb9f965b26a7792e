"""Whether, in the end, every file is there that a tablet refers to, and no other one (BT 6).

For that, every tablet is compacted: then each refers to files of its own only, and there is nothing else to keep.
"""

from collections.abc import Sequence

from gfs.client import Client
from runtime.errors import TabletopError
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.client import TableClient
from tablet.engine.tree.manifest import load_current
from tablet.engine.world.names import home_of, sorted_out
from tablet.location.places import METADATA, GfsPaths
from tablet.storage.folders import GfsFolders


async def missing_files(client: Client, places: Sequence[TabletPlace]) -> list[str]:
    """The files that tablets refer to and that are not there. Raises what reading raises."""
    folders = GfsFolders(client, GfsPaths().data)
    present: dict[str, list[str]] = {name: await folders.storage(name).list() for name in await folders.list()}
    missing = []
    for place in places:
        manifest = await load_current(folders.storage(place.tablet), present.get(place.tablet, []))
        for reference in manifest.references() if manifest is not None else []:
            folder, name = home_of(reference.name, place.tablet)
            if name not in present.get(folder, ()):
                missing.append(f"{folder}/{name}, to which {place.tablet} refers")
        if manifest is None:
            missing.append(f"the manifest of {place.tablet}")
    return missing


async def compact_all(tables: TableClient, table: str) -> None:
    """Every tablet but the root tablet. Raises as `TableClient.compact`."""
    await tables.compact(table)
    for place in await tables.tablets(METADATA):
        await tables.compact(place.tablet)


async def leaked_files(client: Client, places: Sequence[TabletPlace]) -> list[str]:
    """After every tablet was compacted: the folders of others, and the SSTables that no manifest names."""
    folders = GfsFolders(client, GfsPaths().data)
    names = await folders.list()
    alive = {place.tablet for place in places}
    leaked = [name for name in names if name not in alive]
    for name in sorted(alive.intersection(names)):
        present = await folders.storage(name).list()
        try:
            manifest = await load_current(folders.storage(name), present)
        except TabletopError:
            manifest = None
        needed = {reference.name for reference in manifest.references()} if manifest is not None else set()
        leaked += [f"{name}/{file}" for file in sorted_out(present).tables.values() if file not in needed]
    return leaked
