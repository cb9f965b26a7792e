"""Verifying a tablet: is every byte of every file what it should be?

The problem. Checksums are looked at when a block is read, and some blocks are not read for years. And a checksum says
only that the bytes are those that were written: a wrong index, a filter that lacks a row, or a manifest that names the
wrong file have perfect checksums and lose data all the same.

The idea. Read everything once, in the order of the files, and compare what is stored with what follows from it: each
frame and block with its CRC32C; the rows of a block with one another and with the index; each row, and each row and
column, with the Bloom filter that speaks for it; the counts and ranges with the properties; the properties with the
manifest; sequences with those of the neighbours in age; and the parts of a file with its length, so that no byte is
left out. One SSTable block, or one log record, is in memory at a time.

A *problem* is something that must not be. A *remark* is legal, and worth knowing: a torn tail that the next opening
will drop, a file that the next sweep removes.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from runtime.errors import Corrupted, NotFound, TabletopError
from tablet.engine.log.log_mark import marked_sequence, refuse_short_log
from tablet.engine.log.records import decode_header, decode_rows
from tablet.engine.log.replay import Replay, log_reader, refuse_foreign, zeros_at_end
from tablet.engine.model.fragments import DELETE_CELLS, PUT, decode_fragment
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.bloom.policy import column_key
from tablet.engine.sstable.format import Block
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.manifest import Manifest, TableReference, load_manifest, refuse_missing_logs
from tablet.engine.world.eventual import finished
from tablet.engine.world.names import FolderListing, is_neighbour, log_number_of, manifest_name
from tablet.engine.world.storage import Storage
from tablet.tools.inspection import counted, file_bytes
from tablet.tools.read_only import ReadOnlyStorage, held, load_folder

_PROBLEMS_KEPT = 20
"""Of one file; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one file, or of the tablet as a whole (`kind` "tablet")."""

    name: str
    kind: str
    file_bytes: int
    checked: str
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


async def verify_folder(storage: Storage) -> AsyncIterator[Verdict]:
    """One verdict for each file, as it is reached, and one for what they amount to together.

    Raises NotFound for a folder without a tablet, IncompatibleFormat for one of another program, Conflict if a running
    engine changes the files faster than they are opened; what is wrong with a file of ours, its manifest too, is a
    problem in a verdict. Beside a running engine it judges the files as they were when it began.
    """
    async with held(storage) as files:
        async for verdict in _verdicts(files):
            yield verdict


async def _verdicts(storage: Storage) -> AsyncIterator[Verdict]:
    try:
        manifest, listing = await load_folder(storage)
    except Corrupted as error:
        yield Verdict("manifest", "manifest", 0, "", (error.message,))
        return
    for _, name in sorted(listing.manifests.items()):
        yield await verify_manifest(storage, name, obsolete=name != manifest_name(manifest.number))
    for name in listing.snapshots.values():
        yield await verify_manifest(storage, name, listing=listing)
    references = {reference.name: reference for reference in manifest.references()}
    for name, reference in references.items():
        yield await verify_table(storage, name, reference)
    for name in listing.tables.values():
        if name not in references:
            yield _with_remark(await verify_table(storage, name), "the manifest does not name it")
    for number, name in sorted(listing.logs.items()):
        verdict = await verify_log(storage, name, manifest)
        old = "the manifest does not name it: its rows are in SSTables, or it was never used"
        yield verdict if number in manifest.log_numbers else _with_remark(verdict, old)
    for name in listing.temporary:
        size = await file_bytes(storage, name)
        yield Verdict(name, "unfinished", size, "nothing", (), ("was never finished: the next sweep removes it",))
    for name in listing.others:
        yield Verdict(name, "foreign", 0, "nothing", (), ("is no file of a tablet",))
    yield await _verify_whole(storage, manifest, listing)


async def verify_file(storage: Storage, name: str, kind: str) -> Verdict:
    """One file by itself, of kind "SSTable", "log" or "manifest". Raises NotFound, DiskFailure."""
    storage = ReadOnlyStorage(storage)
    if kind == "SSTable":
        return await verify_table(storage, name)
    return await (verify_log(storage, name) if kind == "log" else verify_manifest(storage, name))


async def verify_manifest(
    storage: Storage, name: str, *, obsolete: bool = False, listing: FolderListing | None = None
) -> Verdict:
    """A manifest or a snapshot. With `listing`, the files it names must be there."""
    kind = "snapshot" if name.startswith("snapshot") else "manifest"
    size = await file_bytes(storage, name)
    try:
        manifest = await load_manifest(storage, name)
    except TabletopError as error:
        return Verdict(name, kind, size, "nothing", (error.message,))
    problems = _manifest_problems(manifest)
    if kind == "manifest" and manifest_name(manifest.number) != name:
        problems.append(f"{name} says that it is number {manifest.number}")
    if listing is not None:
        there = dict.fromkeys(listing.tables.values())
        lost = [reference.name for reference in manifest.references() if reference.name not in there]
        lost = [missing for missing in lost if not (is_neighbour(missing) and await _is_there(storage, missing))]
        problems += [f"{name} refers to {missing}, which is not there" for missing in lost]
    remarks = ("is obsolete: the next sweep removes it",) if obsolete else ()
    return Verdict(name, kind, size, counted(len(manifest.references()), "reference"), tuple(problems), remarks)


async def verify_log(storage: Storage, name: str, manifest: Manifest | None = None) -> Verdict:
    """Every frame of a commit log, and every row in it. With `manifest`, it must be a log of this tablet, and hold what
    is not flushed yet if it is needed."""
    size = await file_bytes(storage, name)
    records = rows = 0
    file = await storage.open(name)
    reader = log_reader(file, name)
    problems: list[str] = []
    try:
        async for record in reader:
            records += 1
            if records == 1:
                header = decode_header(record.payload, name)
                refuse_foreign(header, name, log_number_of(name), manifest.tablet if manifest else None)
                if manifest and header.number in manifest.log_numbers and record.sequence <= manifest.flushed_sequence:
                    problems.append(
                        f"{name} is needed and begins with record {record.sequence}, but the manifest says that all up "
                        f"to {manifest.flushed_sequence} are in SSTables: an opening would pass over its rows"
                    )
                continue
            for _, fragment in decode_rows(record.payload).rows:
                rows += 1
                entries = decode_fragment(fragment)
                if list(entries) != sorted(entries):
                    problems.append(f"{name}: record {record.sequence} holds cells that are not in order")
    except TabletopError as error:
        problems.append(error.message)
    finally:
        await file.close()
    remarks = []
    if reader.end.kind == "torn":
        remarks.append(
            f"its last {reader.end.dropped_bytes} bytes are a torn write, which an opening drops: {reader.end.reason}"
        )
    if zeros := zeros_at_end(reader):
        remarks.append(f"an opening drops its last {reader.end.dropped_bytes} bytes: {zeros}")
    if behind := reader.end.later_records:
        problems.append(
            f"{name}: {counted(behind, 'whole record')} after the unreadable one at offset {reader.end.offset:,} "
            f"would be dropped with it; after a power cut that is right (they were never synced), else it is damage: "
            f"restore the file from a copy"
        )
    if reader.duplicates:
        remarks.append(f"{reader.duplicates} records are duplicates, which are skipped")
    if reader.skipped_bytes:
        remarks.append(f"{reader.skipped_bytes:,} bytes are the remains of appends that failed, which are skipped")
    return Verdict(
        name, "log", size, f"{counted(records, 'record')}, {counted(rows, 'row')}", tuple(problems), tuple(remarks)
    )


async def verify_table(storage: Storage, name: str, reference: TableReference | None = None) -> Verdict:
    """Every block of an SSTable, and what the index, the filters, the properties and the manifest say of them."""
    try:
        table = await SSTable.open(storage, name, reference.number if reference else 0, BlockCache(0))
    except NotFound as error:
        missing = f"{name} is named by the manifest and is not there ({error.message})"
        return Verdict(name, "SSTable", 0, "nothing", (missing if reference else error.message,))
    except TabletopError as error:
        return Verdict(name, "SSTable", await file_bytes(storage, name), "nothing", (error.message,))
    try:
        check = _TableCheck(table)
        for place in range(table.blocks):
            try:
                block = await finished(table.block(place, cached=False))
                table.check_parts(place, block)
                check.take(place, block)
            except TabletopError as error:
                check.lose_block(error.message)
        check.compare(reference)
    finally:
        await table.close()
    checked = f"{counted(table.blocks, 'block')}, {counted(check.rows, 'row')}, {counted(check.keys, 'Bloom key')}"
    return Verdict(name, "SSTable", table.file_bytes, checked, tuple(check.told()))


class _TableCheck:
    """Compares the blocks of one SSTable, in their order, with all that is said about them."""

    def __init__(self, table: SSTable) -> None:
        self.rows = 0
        self.keys = 0
        self._table = table
        self._problems: list[str] = []
        self._untold = 0
        self._lost_blocks = 0
        self._before: bytes | None = None
        self._first_row = b""
        self._cells = self._markers = self._broad_markers = self._row_bytes = 0
        self._stamps: tuple[int, int] | None = None

    def told(self) -> list[str]:
        """The problems; if there are many, the first ones and the number of the others."""
        more = [f"{self._table.name} has {self._untold:,} further problems"] if self._untold else []
        return self._problems + more

    def lose_block(self, message: str) -> None:
        """A block cannot be read."""
        self._lost_blocks += 1
        self._note(message)

    def take(self, place: int, block: Block) -> None:
        """The next block."""
        chunk = block.chunk()
        name, table = f"{self._table.name}: block {place}", self._table
        last, _ = table.index_entry(place)
        continues = (
            place > 0 and bool(table.index_entry(place - 1)[1]) and chunk.rows[0] == table.index_entry(place - 1)[0]
        )
        if self._before is not None and (
            chunk.rows[0] < self._before or (chunk.rows[0] == self._before and not continues)
        ):
            self._note(f"{name} begins with row {chunk.rows[0][:80]!r}, which does not come after the block before")
        if any(first >= second for first, second in pairwise(chunk.rows)):
            self._note(f"{name} holds rows that are not in order")
        if chunk.rows[-1] != last:
            self._note(f"{name} ends with row {chunk.rows[-1][:80]!r}, the index says {last[:80]!r}")
        if not self.rows:
            self._first_row = chunk.rows[0]
        self._before = chunk.rows[-1]
        self.rows += len(chunk.rows) - continues
        self._row_bytes += block.body_bytes
        for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
            self._take_row(place, row, fragment, single=block.single_puts)

    def compare(self, reference: TableReference | None) -> None:
        """What the properties, the layout and the manifest say, now that all blocks have been seen."""
        table, said = self._table, self._table.properties
        if not self._lost_blocks:
            oldest, newest = self._stamps or (0, 0)
            found = {
                "rows": self.rows,
                "cells": self._cells,
                "markers": self._markers,
                "broad_markers": self._broad_markers,
                "first_row": self._first_row,
                "last_row": self._before,
                "oldest_timestamp": oldest,
                "newest_timestamp": newest,
                "blocks": table.blocks,
                "row_bytes": self._row_bytes,
                "data_bytes": sum(table.block_range(table.blocks - 1)),
            }
            for field, value in found.items():
                if getattr(said, field) != value:
                    self._note(f"{table.name}: its {field} are {value!r}, its properties say {getattr(said, field)!r}")
        end = sum(table.block_range(table.blocks - 1))
        for what, offset, length in table.parts:
            if offset != end:
                self._note(f"{table.name}: the {what} begins at {offset:,}, what is before it ends at {end:,}")
            end = offset + length
        if reference is not None and (reference.properties != said or reference.file_bytes != table.file_bytes):
            self._note(f"{table.name}: the manifest describes another file than is there")

    def _take_row(self, place: int, row: bytes, fragment: bytes, *, single: bool) -> None:
        entries = decode_fragment(fragment)
        where = f"{self._table.name}: block {place}, row {row[:80]!r}"
        if len(entries) > 1 and list(entries) != sorted(entries):
            self._note(f"{where}: its cells are not in order")
        if not entries or (single and (len(entries) != 1 or entries[0][2] != PUT)):
            self._note(f"{where} holds {len(entries)} cells where the block promises exactly one")
        columns: dict[bytes, None] = {}
        for column, minus, kind, _ in entries:
            if kind == PUT:
                self._cells += 1
                oldest, newest = self._stamps or (-minus, -minus)
                self._stamps = (min(oldest, -minus), max(newest, -minus))
            else:
                self._markers += 1
                self._broad_markers += kind != DELETE_CELLS
            columns[column if kind in (PUT, DELETE_CELLS) else b""] = None
        self._ask_filter(place, row, list(columns), where)

    def _ask_filter(self, place: int, row: bytes, columns: Sequence[bytes], where: str) -> None:
        bloom = self._table.filter_of(place)
        if bloom is None:
            return
        keys = [row]
        if self._table.properties.bloom_keys == "row+column":
            keys += [column_key(row, column) for column in columns]
        self.keys += len(keys)
        for key in keys:
            if not bloom.may_contain(key):
                self._note(f"{where}: the Bloom filter denies {key[:80]!r}, so reads would not find it")

    def _note(self, problem: str) -> None:
        if len(self._problems) < _PROBLEMS_KEPT:
            self._problems.append(problem)
        else:
            self._untold += 1


def _manifest_problems(manifest: Manifest) -> list[str]:
    """What no manifest can say."""
    problems = []
    for number in manifest.log_numbers:
        if number >= manifest.next_file_number:
            problems.append(f"log {number} is needed, and has a number that is still to be given")
    for group, references in manifest.tables.items():
        if group not in manifest.schema.groups:
            problems.append(f"there are SSTables of a locality group {group!r}, which the schema does not have")
        for newer, older in combinations(references, 2):
            if not older.is_older_than(newer, manifest.merged_sequence):
                problems.append(f"{older.name} and the newer {newer.name} overlap in sequence")
        for reference in references:
            last = reference.properties.last_sequence
            if last > manifest.flushed_sequence:
                problems.append(f"{reference.name} holds record {last}, flushed are only {manifest.flushed_sequence}")
            if reference.number >= manifest.next_file_number:
                problems.append(f"{reference.name} has a number that is still to be given")
    return problems


async def _verify_whole(storage: Storage, manifest: Manifest, listing: FolderListing) -> Verdict:
    """Can the tablet be opened: do the logs follow one another from the redo point?"""
    problems, remarks, replayed = [], [], 0
    logs = {number: listing.logs[number] for number in manifest.log_numbers if number in listing.logs}
    start = manifest.logs[0].first_sequence - 1 if manifest.logs else 0
    replay = Replay(storage, logs, start, manifest.flushed_sequence, manifest.tablet)
    try:
        refuse_missing_logs(manifest, listing)
        async for _, rows in replay:
            replayed += len(rows)
        last_sequence = max(replay.last_sequence, manifest.flushed_sequence)
        refuse_short_log(await marked_sequence(storage), last_sequence, replay.last_name)
    except TabletopError as error:
        problems.append(error.message)
    remarks += [f"an opening drops {event.dropped_bytes} bytes of {event.log}" for event in replay.dropped]
    remarks += [f"an opening leaves {listing.logs[number]} out" for number in replay.left_out]
    checked = f"{counted(replayed, 'row')} to replay"
    return Verdict("(together)", "tablet", 0, checked, tuple(problems), tuple(remarks))


async def _is_there(storage: Storage, name: str) -> bool:
    try:
        await (await storage.open(name)).close()
    except NotFound:
        return False
    return True


def _with_remark(verdict: Verdict, remark: str) -> Verdict:
    return replace(verdict, remarks=(*verdict.remarks, remark))
