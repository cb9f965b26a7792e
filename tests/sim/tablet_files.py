"""What a tablet's folder may hold: exactly the files that something refers to."""

from tablet.engine.engine import Engine
from tablet.engine.tree.manifest import load_snapshot
from tablet.engine.world.names import manifest_name, sorted_out


async def check_no_leavings(engine: Engine) -> None:
    """No work that came to nothing has left a file behind: the SSTables are those of the manifest and of snapshots."""
    storage, manifest = engine.state.storage, engine.state.manifest
    listing = sorted_out(await storage.list())
    references = [reference.name for reference in manifest.references()]
    for name in listing.snapshots:
        references += [reference.name for reference in (await load_snapshot(storage, name)).references()]
    assert sorted(listing.tables.values()) == sorted(set(references))
    assert (listing.temporary, listing.others) == ((), ())


async def check_swept(engine: Engine) -> None:
    """After an opening, also no older manifest and no log is left that the redo point has passed."""
    await check_no_leavings(engine)
    manifest = engine.state.manifest
    listing = sorted_out(await engine.state.storage.list())
    assert list(listing.manifests.values()) == [manifest_name(manifest.number)]
    assert set(listing.logs) <= set(manifest.log_numbers)
