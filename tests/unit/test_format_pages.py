"""The hex dumps in docs/formats are what the code writes.

After a change of a format, `python -m tests.unit.test_format_pages` writes the dumps anew; read the difference.
"""

import asyncio
import math
import re
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import xxhash

from gfs.records import Scanner, encode_record
from master.log.log_files import checkpoint_path, log_path
from master.log.operation_log import OperationLog
from master.log.records import (
    KINDS,
    ChunkAllocated,
    DirectoriesMade,
    EpochBegun,
    FileCreated,
    FileSystemFounded,
    HandlesReserved,
    ServerJoined,
    VersionAttempted,
)
from runtime.real.disk import RealDisk
from runtime.record_log import encode_frame
from runtime.simulated.world import Simulation
from tablet.embedded.inline import InlineWorld, RecentEvents
from tablet.engine.log.commit_log import CommitLog
from tablet.engine.log.records import LogHeader, Segment
from tablet.engine.log.segment_list import SegmentList
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import sort_log
from tablet.engine.model.chunks import Chunk
from tablet.engine.model.fragments import encode_fragment, encode_put
from tablet.engine.model.mutations import fragment_of
from tablet.engine.model.operations import DeleteRow
from tablet.engine.model.schema import Family, LocalityGroup, MaxVersions, Schema
from tablet.engine.sstable.bloom.blocked import BlockedPolicy
from tablet.engine.sstable.writer import SSTableWriter
from tablet.engine.tree.manifest import Manifest, write_manifest
from tablet.engine.world.names import (
    LOCK_NAME,
    MARK_NAME,
    TEMPORARY,
    log_name,
    manifest_name,
    snapshot_file_name,
    table_name,
)
from tablet.engine.world.storage import DiskStorage
from tablet.server.catalogue import CatalogueFile, TabletEntry

PAGES = Path(__file__).resolve().parents[2] / "docs" / "formats"


def dumped_bytes(page: str, number: int = 0) -> bytes:
    """The bytes of the page's hex dump with this number, from 0."""
    dumps = re.findall(r"```hex\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split(maxsplit=1) for line in dumps[number].splitlines()]
    data = line_before = b""
    for offset, *values in lines:
        if offset == "*":  # As in hexdump(1): more lines like the one before, up to the next offset.
            continue
        data += line_before * ((int(offset, 16) - len(data)) // max(1, len(line_before)))
        assert int(offset, 16) == len(data)
        line_before = bytes.fromhex(values[0].split("|")[0])
        data += line_before
    return data


def hex_dump(data: bytes) -> str:
    """The lines of a dump, as hexdump(1) writes them with -C."""
    lines, before = [], b""
    for offset in range(0, len(data), 16):
        line = data[offset : offset + 16]
        if line == before and offset + 16 < len(data):
            lines += [] if lines[-1] == "*" else ["*"]
            continue
        before = line
        halves = f"{line[:8].hex(' '):23}  {line[8:].hex(' '):23}"
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        lines.append(f"{offset:08x}  {halves}  |{shown}|")
    return "\n".join(lines) + "\n"


def record_log() -> bytes:
    return encode_frame(b"hello", 1, 0) + encode_frame(b"world!", 2, 1)


def test_the_record_log_page_shows_the_frames_that_are_written():
    assert dumped_bytes("record-log.md") == record_log()


def file_of_records() -> bytes:
    first, second = (encode_record(text, writer=7, sequence=n) for n, text in enumerate((b"hello", b"world!"), 1))
    return first + second[:20] + bytes(14) + second


def test_the_page_of_records_shows_what_is_appended_and_a_reader_finds_the_records_in_it():
    content = dumped_bytes("records.md")
    assert content == file_of_records()
    scanner = Scanner(chunk_bytes=4096)
    assert [record.payload for record in scanner.feed(content)] == [b"hello", b"world!"]


def master_files() -> dict[str, bytes]:
    """What a master of a small cluster writes before and after its first checkpoint."""
    changes = (
        FileSystemFounded(0x7AB1E, 0x4000000),
        EpochBegun(1),
        ServerJoined("cs1"),
        DirectoriesMade(("/home",), created_microseconds=7, client=0xC1, number=1, oldest=1),
        HandlesReserved(1025),
        FileCreated("/home/a", goal=1, created_microseconds=8, file_id=1, client=0xC1, number=2, oldest=2),
        ChunkAllocated("/home/a", index=0, handle=2, version=1, members=("cs1",)),
        VersionAttempted(handle=2, version=2),
    )
    with Simulation(quiet=True) as simulation:
        world = simulation.add_node("master")

        async def story() -> None:
            log = OperationLog(world, cluster="desk", checkpoint_log_bytes=1 << 30)
            await log.recover()
            for change in changes:
                await log.commit(change)
            await log.checkpoint()
            await log.close()

        simulation.run(story())
        disk = world.simulated_disk
        return {path: bytes(disk.content(path).cached) for path in disk.paths()}


MASTER_PAGES = {"operation-log.md": log_path(1), "checkpoint.md": checkpoint_path(10)}


@pytest.mark.parametrize("page", MASTER_PAGES)
def test_each_page_of_the_master_shows_the_file_that_is_written(page: str):
    assert dumped_bytes(page) == master_files()[MASTER_PAGES[page]]


async def small_log(storage: DiskStorage) -> None:
    header = LogHeader("", 1, 0, 0)
    log = await CommitLog.create(storage, header, next_sequence=1, sync="fsync", inline=True)
    await log.write(b"", [b"r1"], [encode_put(b"f:q", 7, b"v")])
    await log.write(b"", [b"r2"], [encode_fragment(fragment_of([DeleteRow()]))])
    await log.close()


async def small_table(storage: DiskStorage) -> None:
    writer = await SSTableWriter.create(
        storage, "000002.sst", LocalityGroup(compression="none", bloom_policy="pybloom-live")
    )
    writer.add(Chunk([b"apple", b"apricot"], [encode_put(b"f:q", 7, b"A"), encode_put(b"f:q", 8, b"BB")], True))
    await writer.finish(first_sequence=2, last_sequence=3)


async def small_manifest(storage: DiskStorage) -> None:
    manifest = Manifest(number=2, schema=Schema().with_family(Family("f", MaxVersions(3))), next_file_number=2)
    await write_manifest(storage, manifest, manifest_name(2))


async def small_list(storage: DiskStorage) -> None:
    segments = await SegmentList.load(storage)
    await segments.add(Segment(segments.new_number(), 1))


async def small_piece(storage: DiskStorage) -> None:
    log = await ServerLog.open(storage, owner="server", sync="fsync", segment_bytes=1000)
    await log.make_room()
    assert log.current is not None
    for tablet, row in ((b"b", b"r2"), (b"a", b"r1"), (b"b", b"r1")):
        await log.current.write(tablet, [row], [encode_put(b"f:q", 7, b"v")], last_timestamp=7)
    await log.close()
    await sort_log(storage, storage, InlineWorld(RecentEvents(deque())), owner="server")


async def small_catalogue(storage: DiskStorage) -> None:
    found = await CatalogueFile.load(storage)
    halves = TabletEntry("users-000001", "users", b"", b"m"), TabletEntry("users-000002", "users", b"m", b"")
    await found.switch(found.current.with_changed((), halves))


TABLET_PAGES: dict[str, tuple[str, Callable[[DiskStorage], Coroutine[Any, Any, None]]]] = {
    "commit-log.md": ("000001.log", small_log),
    "sstable.md": ("000002.sst", small_table),
    "log-segments.md": ("segments-000001", small_list),
    "sorted-log.md": ("000001.piece", small_piece),
    "manifest.md": ("manifest-000002", small_manifest),
    "tablet-catalogue.md": ("catalogue-000002", small_catalogue),
}


@pytest.mark.parametrize("page", TABLET_PAGES)
def test_each_page_of_a_tablet_shows_the_file_that_is_written(page: str, tmp_path: Path):
    name, write = TABLET_PAGES[page]
    asyncio.run(write(DiskStorage(RealDisk(tmp_path))))
    assert dumped_bytes(page) == (tmp_path / name).read_bytes()


FILTER_KEYS = [b"apple", b"apple\0f:q", b"apricot", b"apricot\0f:q"]


def test_the_filter_on_the_page_has_the_bits_that_the_page_says():
    filter_, p = dumped_bytes("sstable.md")[0x57 : 0x76 - 5], 0.004
    rate, slices, slice_bits, count = struct.unpack_from("<dIII", filter_)
    assert (rate, count) == (p, len(FILTER_KEYS))
    assert slices == math.ceil(math.log2(1 / p))
    assert slice_bits == math.ceil(count * math.log(1 / p) / (slices * math.log(2) ** 2))
    salt = xxhash.xxh128(bytes(4)).digest()
    numbers = [struct.unpack("<8H", xxhash.xxh128(salt + key).digest()) for key in FILTER_KEYS]
    wanted = {place * slice_bits + number[place] % slice_bits for number in numbers for place in range(slices)}
    bits = filter_[20:]
    assert {place for place in range(8 * len(bits)) if bits[place // 8] >> place % 8 & 1} == wanted


def blocked_filter() -> bytes:
    return BlockedPolicy().build(FILTER_KEYS, 0.004).encode()


def test_the_page_shows_a_blocked_filter_with_the_bits_that_it_says():
    shown = dumped_bytes("sstable.md", 1)
    assert shown == blocked_filter()
    count, words = struct.unpack_from("<II", shown)
    ways = [sum(1 << bit for bit in three) for three in combinations(range(32), 3)]
    wanted = [0] * words
    for key in FILTER_KEYS:
        a, b, c = struct.unpack(">HHI", xxhash.xxh3_64(key).digest())
        wanted[c % words] |= ways[a % 4960] | ways[b % 4960] << 32
    assert (count, list(struct.unpack_from(f"<{words}Q", shown, 8))) == (4, wanted)


def test_the_page_of_a_tablets_folder_knows_every_kind_of_name():
    page = (PAGES / "tablet-folder.md").read_text(encoding="utf-8")
    names = (manifest_name(2), table_name(3), log_name(4), snapshot_file_name("NAME"), LOCK_NAME, MARK_NAME, TEMPORARY)
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_page_of_the_operation_log_lists_every_kind_of_record_with_its_fields():
    rows = re.findall(r"\| (\d+) \| (\w+) \| ([^|]*) \|", (PAGES / "operation-log.md").read_text(encoding="utf-8"))
    said = {int(number): (name, listed.strip().split(", ")) for number, name, listed in rows}
    real = {
        number: (kind.__name__, [field.name.removesuffix("_microseconds") for field in fields(kind)])
        for number, kind in KINDS.items()
    }
    assert said == real


def main() -> None:
    """Write the dumps on the pages anew."""
    found = {"record-log.md": [record_log()], "records.md": [file_of_records()]}
    found |= {page: [master_files()[path]] for page, path in MASTER_PAGES.items()}
    with tempfile.TemporaryDirectory() as folder:
        for page, (name, write) in TABLET_PAGES.items():
            asyncio.run(write(DiskStorage(RealDisk(Path(folder, page)))))
            found[page] = [Path(folder, page, name).read_bytes()]
    found["sstable.md"].append(blocked_filter())
    for page, dumps in found.items():
        before, *rest = (PAGES / page).read_text(encoding="utf-8").split("```hex\n")
        parts = [
            f"```hex\n{hex_dump(data)}```{part.partition('```')[2]}" for data, part in zip(dumps, rest, strict=True)
        ]
        (PAGES / page).write_text(before + "".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
