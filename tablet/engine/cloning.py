"""Cloning a tablet, or one of its snapshots, into other storage.

A snapshot is a manifest under another name: a list of references to SSTables, which the sweep then leaves alone. It
costs a flush and one small file. A clone in *other* storage needs the bytes too, and so copies the SSTables that are
referred to, then writes a manifest of its own: until that is there, the target is no tablet.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from runtime.errors import AlreadyExists, TabletopError
from tablet.engine.engine import Engine
from tablet.engine.tree.manifest import load_snapshot, write_manifest
from tablet.engine.world.names import TEMPORARY, manifest_name, table_name
from tablet.engine.world.storage import Storage

_COPY_BYTES = 1024 * 1024


async def copy_tablet(engine: Engine, target: Storage, snapshot: str | None = None) -> None:
    """Copy what is flushed, or what a snapshot holds, to `target`, which must be empty, and is again if this fails.

    Raises AlreadyExists, NotFound for the snapshot, NoSpace, DiskFailure.
    """
    state = engine.state
    view = state.view
    view.pins += 1
    try:
        manifest = await load_snapshot(state.storage, snapshot) if snapshot is not None else state.manifest
        present = await target.list()
        if present:
            raise AlreadyExists(f"the target of the clone is not empty: it holds {present[0]!r}")
        own = {reference: replace(reference, name=table_name(reference.number)) for reference in manifest.references()}
        names = [reference.name for reference in own.values()]
        tables = {group: tuple(own[other] for other in found) for group, found in manifest.tables.items()}
        fresh = replace(manifest, number=1, logs=(), tables=tables, token=0)
        try:
            for reference, copied in own.items():
                await _copy(state.storage, target, reference.name, copied.name)
                await state.world.breathe()
            await write_manifest(target, fresh, manifest_name(1))
        except BaseException:
            await _remove(target, (manifest_name(1), manifest_name(1) + TEMPORARY, *names))
            raise
    finally:
        view.pins -= 1


async def _remove(target: Storage, names: Iterable[str]) -> None:
    """Remove whichever of these there are, as far as that is possible."""
    for name in names:
        with suppress(TabletopError):
            await target.remove(name)


async def _copy(source: Storage, target: Storage, name: str, new_name: str) -> None:
    reader = await source.open(name)
    try:
        writer = await target.create(new_name)
        try:
            offset = 0
            while data := await reader.read_at(offset, _COPY_BYTES):
                await writer.append(data)
                offset += len(data)
            await writer.sync()
        finally:
            await writer.close()
    finally:
        await reader.close()
