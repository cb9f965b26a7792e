"""Dumping a tablet's file part by part: what stands at which byte.

A dump is a sequence of *parts* in the order of the file, each with its offset, its stored length, a headline and, if
asked for, what is in it, cell by cell. A part that is damaged is shown as damaged, and the dump continues after it
where the format allows: SSTable blocks stand on their own, a log is only believed up to the damage. One part is in
memory at a time.

What kind of file it is, is told by its bytes, not by its name, so that a file that was saved under another name can be
looked at; only where the bytes say nothing (an empty log, an SSTable that lost its footer) the name decides.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from runtime.errors import Corrupted, IncompatibleFormat, TabletopError
from runtime.record_log import HEADER, HEADER_BYTES
from runtime.record_log import MAGIC as FRAME_MAGIC
from tablet.engine.log.records import HEADER_KIND, decode_header, decode_rows
from tablet.engine.log.replay import log_reader
from tablet.engine.model.fragments import DELETE_CELLS, DELETE_FAMILY, DELETE_ROW, PUT, Entry, decode_fragment
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.format import MAGIC as TABLE_MAGIC
from tablet.engine.sstable.format import TRAILER, TRAILER_BYTES, Block
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.manifest import load_manifest
from tablet.engine.world.eventual import finished
from tablet.engine.world.small_files import BEGINNING
from tablet.engine.world.storage import Storage
from tablet.tools.inspection import counted
from tablet.tools.read_only import ReadOnlyStorage
from tablet.tools.values import plain_values

_COMPRESSIONS = {0: "none", 1: "snappy", 2: "lz4", 3: "zstd"}
_SHOWN_BYTES = 60


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a file. `damaged`: the headline says how. `details`: a line for each thing within."""

    offset: int
    stored_bytes: int
    headline: str
    details: tuple[str, ...] = ()
    damaged: bool = False


async def kind_of(storage: Storage, name: str) -> str:
    """ "SSTable", "log" or "manifest" (a snapshot is one). Raises NotFound, DiskFailure, and IncompatibleFormat for a
    file that is none of them."""
    file = await ReadOnlyStorage(storage).open(name)
    try:
        size = await file.size()
        head = await file.read_at(0, HEADER_BYTES + 1)
        tail = await file.read_at(max(0, size - len(TABLE_MAGIC)), len(TABLE_MAGIC))
    finally:
        await file.close()
    by_name = {"sst": "SSTable", "log": "log"}.get(name.removesuffix(".new").rpartition(".")[2], "")
    if tail == TABLE_MAGIC:
        return "SSTable"
    if len(head) > HEADER_BYTES and HEADER.unpack_from(head)[0] == FRAME_MAGIC:
        return "manifest" if head[HEADER_BYTES:] == BEGINNING else "log"
    if by_name:
        return by_name
    if name.startswith(("manifest-", "snapshot-")):
        return "manifest"
    found = f"begins with {head[:8]!r} and ends with {tail!r}" if size else "is empty"
    raise IncompatibleFormat(
        f"{name} is no file of a tablet: it {found}; give a .log, a .sst, a manifest or a snapshot"
    )


async def dump(storage: Storage, name: str, *, cells: bool = False) -> AsyncIterator[Part]:
    """The parts of a file, in their order. With `cells`, what is in each, cell by cell.

    Raises NotFound, IncompatibleFormat, DiskFailure; Corrupted where nothing after it can be shown.
    """
    storage = ReadOnlyStorage(storage)
    kind = await kind_of(storage, name)
    parts = _dump_log if kind == "log" else _dump_table if kind == "SSTable" else _dump_manifest
    async for part in parts(storage, name, cells):
        yield part


async def _dump_log(storage: Storage, name: str, cells: bool) -> AsyncIterator[Part]:
    file = await storage.open(name)
    reader = log_reader(file, name)
    try:
        async for record in reader:
            durable = HEADER.unpack(await file.read_at(record.offset, HEADER_BYTES))[5]
            size = HEADER_BYTES + len(record.payload)
            where = f"record {record.sequence}, durable up to record {durable}"
            if record.payload[:1] == bytes((HEADER_KIND,)):
                header = decode_header(record.payload, name)
                what = f"header of log {header.number}, tablet {header.tablet!r}"
                headline = f"{where}: {what}, earlier logs durable up to record {header.durable_sequence}"
                yield Part(record.offset, size, headline)
                continue
            mutations = decode_rows(record.payload)
            tablet, rows = mutations.tablet, mutations.rows
            owner = f" of tablet {readable(tablet)}" if tablet else ""
            headline = (
                f"{where}: {counted(len(rows), 'row')}{owner}, from {readable(rows[0][0])}"
                if rows
                else (f"{where}: mark, the records before it are durable")
            )
            details = tuple(line for row, fragment in rows for line in _row_lines(row, fragment)) if cells else ()
            yield Part(record.offset, size, headline, details)
        end = reader.end
        if end.kind == "torn":
            yield Part(end.offset, end.dropped_bytes, f"torn tail, which an opening drops: {end.reason}")
        elif end.dropped_bytes:
            yield Part(end.offset, end.dropped_bytes, "zeros: the records that stood here never reached the disk")
        elif not end.offset:
            yield Part(0, 0, "empty: a log that was begun, and nothing more")
    finally:
        await file.close()


async def _dump_table(storage: Storage, name: str, cells: bool) -> AsyncIterator[Part]:
    file = await storage.open(name)
    try:
        table = await _readable_blocks(storage, name)
    except Corrupted as error:
        lost = "without footer and index nobody knows where its blocks are"
        yield Part(0, await file.size(), f"nothing can be told apart, {lost}: {error.message}", damaged=True)
        await file.close()
        return
    except BaseException:
        await file.close()
        raise
    try:
        for place in range(table.blocks):
            start, stored = table.block_range(place)
            try:
                block = await finished(table.block(place, cached=False))
                chunk = block.chunk()
                trailer = await file.read_at(start + stored - TRAILER_BYTES, TRAILER_BYTES)
                code, checksum = TRAILER.unpack(trailer)
                _, next_column = table.index_entry(place)
                continues = f", continues at {readable(next_column)}" if next_column else ""
                headline = (
                    f"block {place}: {_content_of(block)}, {block.body_bytes} bytes, {_COMPRESSIONS[code]}, "
                    f"CRC32C {checksum:08x}, prefix {readable(block.prefix)}, "
                    f"{readable(chunk.rows[0])} to {readable(chunk.rows[-1])}{continues}"
                )
                pairs = zip(chunk.rows, chunk.fragments, strict=True)
                details = tuple(line for row, fragment in pairs for line in _row_lines(row, fragment)) if cells else ()
                yield Part(start, stored, headline, details)
            except TabletopError as error:
                yield Part(start, stored, f"block {place} is damaged: {error.message}", damaged=True)
        for number, (what, offset, stored) in enumerate(table.parts):
            if table.damaged_parts is None:
                yield Part(offset, stored, _part_headline(table, what, number), _part_details(table, what, cells))
            elif what in table.damaged_parts:
                reason = table.damaged_parts[what]
                damaged = isinstance(reason, Corrupted)
                state = "is damaged" if damaged else "cannot be read"
                yield Part(offset, stored, f"{what} {state}: {reason.message}", damaged=damaged)
            else:
                yield Part(offset, stored, f"{what}: sound")
    finally:
        await file.close()
        await table.close()


async def _readable_blocks(storage: Storage, name: str) -> SSTable:
    """The SSTable, if need be without its filters and properties. Raises Corrupted without footer or index."""
    try:
        return await SSTable.open(storage, name, 0, BlockCache(0))
    except (Corrupted, IncompatibleFormat):
        return await SSTable.open(storage, name, 0, BlockCache(0), only_blocks=True)


async def _dump_manifest(storage: Storage, name: str, cells: bool) -> AsyncIterator[Part]:
    manifest = await load_manifest(storage, name)
    owner = f"tablet {manifest.tablet!r}, " if manifest.tablet else ""
    headline = (
        f"manifest {manifest.number}: {owner}{counted(len(manifest.references()), 'SSTable')}, flushed up to record "
        f"{manifest.flushed_sequence}, logs {list(manifest.log_numbers)}, next file {manifest.next_file_number}"
    )
    fields = plain_values(manifest.to_message())
    details = tuple(json.dumps(fields, indent=2).splitlines()) if cells else tuple(_manifest_lines(fields))
    file = await storage.open(name)
    try:
        yield Part(0, await file.size(), headline, details)
    finally:
        await file.close()


def readable(data: bytes) -> str:
    """Bytes for people: as text if they are, with escapes where not, cut where long.

    >>> readable(b"com.example/a"), readable(b"\\xff\\x00a"), readable(b"")
    ('com.example/a', '\\\\xff\\\\x00a', "''")
    """
    short = data[:_SHOWN_BYTES]
    text = short.decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = repr(short)[2:-1]
    return (text or "''") + ("…" if len(data) > _SHOWN_BYTES else "")


def _content_of(block: Block) -> str:
    return f"{counted(block.count, 'fragment')} of a wide row" if block.wide else counted(block.count, "row")


def _row_lines(row: bytes, fragment: bytes) -> Iterator[str]:
    try:
        for entry in decode_fragment(fragment):
            yield f"{readable(row)}  {_entry_text(entry)}"
    except TabletopError as error:
        yield f"{readable(row)}  damaged: {error.message}"


def _entry_text(entry: Entry) -> str:
    column, minus, kind, value = entry
    if kind == PUT:
        return f"{readable(column)} @{-minus} = {readable(value)} ({len(value)} bytes)"
    if kind == DELETE_ROW:
        return "deletes the row"
    if kind == DELETE_FAMILY:
        return f"deletes the family {readable(column[1:])}"
    assert kind == DELETE_CELLS
    return f"deletes {readable(column)} from @{int.from_bytes(value, 'little', signed=True)} to @{-minus}"


def _part_headline(table: SSTable, what: str, number: int) -> str:
    if what.startswith("filter"):
        bloom, policy = table.filters[number], table.properties.bloom_policy
        return f"{what}: {policy}, {counted(bloom.keys, 'key')}, {bloom.shape}, {bloom.fill_ratio:.0%} set"
    if what == "index":
        return f"index: {counted(table.blocks, 'block')}, {counted(len(table.filters), 'filter')}"
    said = table.properties
    if what == "properties":
        counts = ((said.rows, "row"), (said.cells, "cell"), (said.markers, "deletion"))
        return f"properties: group {said.group!r}, {', '.join(counted(number, noun) for number, noun in counts)}"
    return "footer: where the index and the properties are"


def _part_details(table: SSTable, what: str, cells: bool) -> tuple[str, ...]:
    if what == "properties":
        return tuple(f"{name}: {value}" for name, value in plain_values(table.properties.to_message()).items())
    if what == "index" and cells:
        places = range(table.blocks)
        return tuple(
            f"block {place} ends at {sum(table.block_range(place))} with row {readable(table.index_entry(place)[0])}"
            for place in places
        )
    return ()


def _manifest_lines(fields: dict[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if name not in ("schema", "tables"):
            yield f"{name}: {value!r}"
    yield f"schema: {json.dumps(fields['schema'])}"
    for group in fields["tables"]:
        for entry in group["tables"]:
            said = entry["properties"]
            span = f"{counted(said['rows'], 'row')}, {said['first_row']!r} to {said['last_row']!r}"
            yield f"{group['group']}: {entry['name']}, {entry['file_bytes']} bytes, {span}"
