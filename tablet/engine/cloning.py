"""Cloning a tablet, or one of its snapshots, into other storage.

A snapshot is a manifest under another name: a list of references to SSTables, which the sweep then leaves alone. It
costs a flush and one small file. A clone in *other* storage needs the bytes too, and so copies the SSTables that are
referred to, then writes a manifest of its own: until that is there, the target is no tablet.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from runtime.errors import AlreadyExists, TabletopError
from tablet.engine.engine import Engine
from tablet.engine.tree.manifest import Manifest, TableReference, load_snapshot, write_manifest
from tablet.engine.world.names import TEMPORARY, manifest_name, table_name
from tablet.engine.world.storage import Storage

_COPY_BYTES = 1024 * 1024


async def copy_tablet(engine: Engine, target: Storage, snapshot: str | None = None) -> None:
    """Copy what is flushed, or what a snapshot holds, to `target`, which must be empty, and is again if this fails.

    Raises AlreadyExists, NotFound for the snapshot, NoSpace, DiskFailure.
    """
    state = engine.state
    with pinned(engine) as present_manifest:
        manifest = await load_snapshot(state.storage, snapshot) if snapshot is not None else present_manifest
        present = await target.list()
        if present:
            raise AlreadyExists(f"the target of the clone is not empty: it holds {present[0]!r}")
        fresh, names = standing_alone(manifest)
        try:
            for reference, name in names.items():
                await _copy(state.storage, target, reference.name, name)
                await state.world.breathe()
            await write_manifest(target, replace(fresh, logs=()), manifest_name(1))
        except BaseException:
            await _remove(target, (manifest_name(1), manifest_name(1) + TEMPORARY, *names.values()))
            raise


@contextmanager
def pinned(engine: Engine) -> Iterator[Manifest]:
    """What is flushed at this moment: until the block ends, the tablet removes none of these SSTables."""
    view = engine.state.view
    view.pins += 1
    try:
        yield engine.state.manifest
    finally:
        view.pins -= 1


def standing_alone(manifest: Manifest) -> tuple[Manifest, Mapping[TableReference, str]]:
    """A first manifest with the same content, all of whose SSTables are in its own folder; and which name each of them
    has there."""
    names = {reference: table_name(reference.number) for reference in manifest.references()}
    tables = {
        group: tuple(replace(reference, name=names[reference]) for reference in found)
        for group, found in manifest.tables.items()
    }
    return replace(manifest, number=1, tables=tables, token=0), names


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
