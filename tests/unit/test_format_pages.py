"""The hex dumps in docs/formats are what the code writes."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from runtime.real.disk import RealDisk
from runtime.record_log import encode_frame
from tablet.cells import DeleteRow, encode_fragment, encode_put, fragment_of
from tablet.commit_log import CommitLog, LogHeader
from tablet.manifest import Manifest, manifest_name, write_manifest
from tablet.merge import Chunk
from tablet.schema import Family, LocalityGroup, MaxVersions, Schema
from tablet.sstable_writer import SSTableWriter
from tablet.storage import DiskStorage

PAGES = Path(__file__).resolve().parents[2] / "docs" / "formats"


def dumped_bytes(page: str, number: int = 0) -> bytes:
    """The bytes of the page's hex dump with this number, from 0."""
    dumps = re.findall(r"```hex\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split(maxsplit=1) for line in dumps[number].splitlines()]
    data = b""
    for offset, values in lines:
        assert int(offset, 16) == len(data)
        data += bytes.fromhex(values.split("|")[0])
    return data


def test_the_record_log_page_shows_the_frames_that_are_written():
    first = encode_frame(b"hello", 1, 0)
    assert dumped_bytes("record-log.md") == first + encode_frame(b"world!", 2, len(first))


async def small_log(storage: DiskStorage) -> None:
    header = LogHeader("", 1, 0)
    log = await CommitLog.create(storage, header, next_sequence=1, sync="fsync", inline=True)
    await log.write_one(b"r1", encode_put(b"f:q", 7, b"v"))
    await log.write_one(b"r2", encode_fragment(fragment_of([DeleteRow()])))
    await log.close()


async def small_table(storage: DiskStorage) -> None:
    writer = await SSTableWriter.create(storage, "000002.sst", LocalityGroup(compression="none"))
    writer.add(Chunk([b"apple", b"apricot"], [encode_put(b"f:q", 7, b"A"), encode_put(b"f:q", 8, b"BB")], True))
    await writer.finish(first_sequence=2, last_sequence=3)


async def small_manifest(storage: DiskStorage) -> None:
    manifest = Manifest(number=2, schema=Schema().with_family(Family("f", MaxVersions(3))), next_file_number=2)
    await write_manifest(storage, manifest, manifest_name(2))


@pytest.mark.parametrize(
    ("page", "name", "write"),
    [
        ("commit-log.md", "000001.log", small_log),
        ("sstable.md", "000002.sst", small_table),
        ("manifest.md", "manifest-000002", small_manifest),
    ],
)
def test_each_page_of_a_tablet_shows_the_file_that_is_written(
    page: str, name: str, write: Callable[[DiskStorage], Coroutine[Any, Any, None]], tmp_path: Path
):
    asyncio.run(write(DiskStorage(RealDisk(tmp_path))))
    assert dumped_bytes(page) == (tmp_path / name).read_bytes()
