"""Planted bugs of snapshots of tables: see `cluster/swarm/bugs.py`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from cluster.swarm.bug_tools import Bug, Planted, noted_in, nothing, replaced
from runtime.errors import TabletopError
from tablet.engine.cloning import pinned
from tablet.engine.engine import Engine
from tablet.engine.tree.manifest import Manifest, TableReference
from tablet.engine.world.names import in_folder
from tablet.hosting import snapshotting
from tablet.master.snapshots import Snapshots

BUGS: dict[str, Bug] = {}
bug = noted_in(BUGS)


@bug
def snapshot_without_what_is_in_memory() -> Planted:
    """Without a minor compaction before, a snapshot of a table lacks the rows that are in memtables (BT 5.4)."""

    @asynccontextmanager
    async def as_it_is(engine: Engine) -> AsyncIterator[Manifest]:
        with pinned(engine) as manifest:
            yield manifest

    return replaced(snapshotting, "content_of", as_it_is)


@bug
def snapshot_refers_to_the_files_of_the_tablet() -> Planted:
    """Without files of its own, a snapshot refers to those of the tablet: the tablet's next compaction removes them, or
    the drop of its table (BT 6)."""

    def referring(manifest: Manifest) -> tuple[Manifest, Mapping[TableReference, str]]:
        tables = {
            group: tuple(replace(other, name=in_folder(manifest.tablet, other.name)) for other in found)
            for group, found in manifest.tables.items()
        }
        return replace(manifest, number=1, tables=tables, token=0), {}

    return replaced(snapshotting, "standing_alone", referring)


@bug
def snapshot_taken_before_all_have_reached_it() -> Planted:
    """Without waiting for every server to acquire its tablets, a snapshot is there that lacks some of them
    (BT 5.2: METADATA says who has which)."""
    order = Snapshots._order

    async def forgiving(self: Snapshots, record: Any, server: str, tablets: Sequence[str]) -> int | TabletopError:
        outcome = await order(self, record, server, tablets)
        return 0 if isinstance(outcome, TabletopError) else outcome

    return replaced(Snapshots, "_order", forgiving)


@bug
def snapshot_of_a_dead_master_not_aborted() -> Planted:
    """Without aborting what a master that died had begun, its successor leaves half a snapshot in GFS for ever (BT
    5.2: a master's start)."""
    return replaced(Snapshots, "remove_remains", nothing)
