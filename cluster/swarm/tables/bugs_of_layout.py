"""Planted bugs of moves, merges and the sweep of files: see `cluster/swarm/bugs.py`."""

from collections.abc import Sequence
from dataclasses import replace

from cluster.swarm.bug_tools import Bug, Planted, noted_in, replaced
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.metadata import MetadataRows
from tablet.engine import engine as tablet_engine
from tablet.engine.engine import Engine
from tablet.engine.world.names import in_folder
from tablet.master.sweeping import Held, Sweeping
from tablet.server.reshaping import Content

BUGS: dict[str, Bug] = {}
bug = noted_in(BUGS)


@bug
def moved_without_a_second_compaction() -> Planted:
    """Without the short compaction after a tablet has stopped, its next server, which reads no log, does not know what
    was written during the first one (BT 6)."""

    async def once(self: Engine) -> None:
        await self.flush()
        self._check_writable()
        self._writer.refusal = tablet_engine._MOVING

    return replaced(Engine, "prepare_move", once)


@bug
def merged_without_the_files_of_one_side() -> Planted:
    """Without the SSTables of both, a tablet that two were merged into has lost the rows of the upper one (BT 5.2)."""
    merged_with = Content.merged_with

    def of_one_side(self: Content, upper: Content, name: str) -> Content:
        whole = merged_with(self, upper, name)
        tables = {
            group: tuple(
                replace(one, name=in_folder(self.manifest.tablet, one.name), number=place + 1)
                for place, one in enumerate(references)
            )
            for group, references in self.manifest.tables.items()
        }
        return replace(whole, manifest=replace(whole.manifest, tables=tables))

    return replaced(Content, "merged_with", of_one_side)


@bug
def merge_left_half_done() -> Planted:
    """Without giving up the merge of a server that has died, two tablets stay in one METADATA row for ever, and nobody
    serves them (BT 5.2)."""
    settle = MetadataRows.settle

    async def of_splits_only(self: MetadataRows, upper: TabletPlace) -> None:
        if not upper.merging:
            await settle(self, upper)

    return replaced(MetadataRows, "settle", of_splits_only)


@bug
def files_swept_that_other_tablets_refer_to() -> Planted:
    """Without the mark phase, the files of a tablet that was split go though its halves refer to them (BT 6)."""

    async def nothing_is_held(self: Sweeping, places: Sequence[TabletPlace], in_use: Sequence[str]) -> Held:
        return {}

    return replaced(Sweeping, "_marked", nothing_is_held)


@bug
def files_of_tablets_that_are_no_more_never_swept() -> Planted:
    """Without the sweep, the files of tablets that were split or merged stay for ever (BT 6)."""

    def never(self: Sweeping) -> None:
        """Nobody looks."""

    return replaced(Sweeping, "begin", never)
