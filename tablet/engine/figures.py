"""What an engine counts, for people, tests and benchmarks."""

from dataclasses import dataclass, replace

from tablet.engine.maintenance.housekeeping import Housekeeping, Work
from tablet.engine.sstable.block_cache import CacheFigures
from tablet.engine.tree.state import TabletState


@dataclass(frozen=True, slots=True)
class TableFigures:
    """One SSTable, for people. `trouble`: why compactions leave it alone, or nothing."""

    name: str
    group: str
    file_bytes: int
    rows: int
    first_row: bytes
    last_row: bytes
    bloom_checks: int
    bloom_rejections: int
    bloom_mistakes: int
    trouble: str


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What an engine counted since it was opened. `user_bytes`: rows, columns and values that were written."""

    tables: tuple[TableFigures, ...]
    memtable_rows: int
    memtable_bytes: int
    frozen_memtables: int
    user_bytes: int
    log_bytes: int
    log_syncs: int
    work: Work
    block_cache: CacheFigures
    pinned_blocks: CacheFigures
    scan_cache: CacheFigures


def figures_of(state: TabletState, housekeeping: Housekeeping, user_bytes: int) -> EngineFigures:
    """Take stock."""
    state.view.count_questions()
    tables = tuple(
        TableFigures(
            table.name,
            group,
            table.file_bytes,
            table.properties.rows,
            table.properties.first_row,
            table.properties.last_row,
            table.bloom_checks,
            table.bloom_rejections,
            table.bloom_mistakes,
            housekeeping.quarantine.reason(table.number),
        )
        for group, found in state.view.tables.items()
        for table in found
    )
    return EngineFigures(
        tables=tables,
        memtable_rows=len(state.memtable),
        memtable_bytes=state.memtable.charged_bytes,
        frozen_memtables=len(state.frozen),
        user_bytes=user_bytes,
        log_bytes=state.log.file_bytes,
        log_syncs=state.log.syncs,
        work=replace(housekeeping.work),
        block_cache=state.block_cache.figures,
        pinned_blocks=state.pinned_blocks.figures,
        scan_cache=state.scan_cache.figures,
    )
