"""Whether, in the end, every file is there that a tablet refers to, and no other one (BT 6).

Before the second question every tablet is compacted: then each refers to files of its own only, unless it was just
split or merged, and there is little else to keep. Both are asked again until the answer is yes, for the master may be
merging small tablets at the end.
"""

from collections.abc import Awaitable, Callable

from gfs.client import Client
from runtime.errors import TabletopError
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.client import TableClient
from tablet.engine.tree.manifest import load_current
from tablet.engine.world.names import home_of, sorted_out
from tablet.location.places import METADATA, GfsPaths
from tablet.storage.folders import GfsFolders

Places = Callable[[], Awaitable[list[TabletPlace]]]
"""All tablets, as METADATA has them now."""


async def missing_files(client: Client, places: Places) -> list[str]:
    """The files that tablets refer to and that are not there; why that cannot be said now, for tablets change."""
    folders = GfsFolders(client, GfsPaths().data)
    try:
        before = await places()
        # Tablets come after those whose files they share, so nobody sweeps what a manifest names that is read later.
        present: dict[str, list[str]] = {name: await folders.storage(name).list() for name in await folders.list()}
        missing = []
        for place in before:
            manifest = await load_current(folders.storage(place.tablet), present.get(place.tablet, []))
            for reference in manifest.references() if manifest is not None else []:
                folder, name = home_of(reference.name, place.tablet)
                if name not in present.get(folder, ()):
                    missing.append(f"{folder}/{name}, to which {place.tablet} refers")
            if manifest is None:
                missing.append(f"the manifest of {place.tablet}")
        return missing if await places() == before else [*missing, "(the tablets have changed meanwhile)"]
    except TabletopError as error:
        return [error.message]


async def compact_all(tables: TableClient, table: str) -> None:
    """Every tablet but the root tablet. Raises as `TableClient.compact`."""
    await tables.compact(table)
    for place in await tables.tablets(METADATA):
        await tables.compact(place.tablet)


async def leaked_files(client: Client, places: Places) -> list[str]:
    """The folders of tablets that are no more and have files that no tablet refers to, and the SSTables in folders of
    living ones that their manifests do not name; why that cannot be said now."""
    folders = GfsFolders(client, GfsPaths().data)
    try:
        held: dict[str, set[str]] = {}
        present = {name: await folders.storage(name).list() for name in await folders.list()}
        alive = {place.tablet for place in await places()}
        for tablet in sorted(alive):
            manifest = await load_current(folders.storage(tablet), await folders.storage(tablet).list())
            for reference in manifest.references() if manifest is not None else []:
                folder, name = home_of(reference.name, tablet)
                held.setdefault(folder, set()).add(name)
        leaked = [name for name in present if name not in alive and name not in held]
        for folder, names in present.items():
            needed = held.get(folder, set())
            leaked += [f"{folder}/{name}" for name in sorted_out(names).tables.values() if name not in needed]
        return leaked
    except TabletopError as error:
        return [error.message]
