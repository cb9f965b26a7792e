"""The files of a chunk as the page docs/formats/chunk.md describes them, and folders that are not ours."""

import crc32c
import pytest

from chunkserver.chunk_format import (
    SLOT_BYTES,
    Intent,
    decode_metadata,
    encode_intent,
    intent_offset,
)
from chunkserver.chunk_store import data_path, metadata_path
from chunkserver.opening import open_store
from runtime.errors import Conflict, Corrupted, IncompatibleFormat
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, new_world, settings
from tests.unit.test_format_pages import dumped_bytes


async def test_the_chunk_page_shows_the_headers_and_the_intent_that_are_written(tmp_path):
    store = await open_store(new_world(tmp_path), settings())
    await store.create(0x2A, version=3, capacity=2 * BLOCK)
    await store.write(0x2A, version=3, offset=0, data=memoryview(b"hello"))
    raw = (tmp_path / metadata_path(0x2A)).read_bytes()
    first, second = dumped_bytes("chunk.md", 0), dumped_bytes("chunk.md", 1)
    assert raw == first + bytes(SLOT_BYTES - len(first)) + second
    assert (tmp_path / data_path(0x2A)).read_bytes() == b"hello"
    await store.write(0x2A, version=3, offset=0, data=memoryview(b"J"))
    intent = dumped_bytes("chunk.md", 2)
    offset = intent_offset(2 * BLOCK)
    assert offset == 1536
    assert (tmp_path / metadata_path(0x2A)).read_bytes()[offset:] == intent
    sums = (crc32c.crc32c(b"hello"),), (crc32c.crc32c(b"Jello"),)
    assert intent == encode_intent(Intent(2, 0, 5, *sums))


async def test_damage_to_the_newest_header_falls_back_to_the_one_before(tmp_path):
    store = await open_store(new_world(tmp_path), settings())
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(b"one"))
    await store.write(7, version=1, offset=3, data=memoryview(b"two"))
    raw = bytearray((tmp_path / metadata_path(7)).read_bytes())
    assert decode_metadata(bytes(raw), 7).header.length == 6
    raw[20] ^= 1  # Sequence 2 is in slot 0.
    assert decode_metadata(bytes(raw), 7).header.length == 3
    raw[SLOT_BYTES + 20] ^= 1
    with pytest.raises(Corrupted):
        decode_metadata(bytes(raw), 7)


def test_any_cut_of_a_metadata_file_is_refused_or_understood():
    with pytest.raises(Corrupted):
        decode_metadata(b"", 7)
    with pytest.raises(Corrupted):
        decode_metadata(bytes(5000), 7)


async def test_the_metadata_of_another_chunk_is_refused(tmp_path):
    store = await open_store(new_world(tmp_path), settings())
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    raw = (tmp_path / metadata_path(7)).read_bytes()
    with pytest.raises(Corrupted):
        decode_metadata(raw, 8)


@pytest.mark.parametrize("content", [b"tabletop chunkserver 2\n", b"", b"\xff\xfe"])
async def test_a_folder_of_another_format_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "format").write_bytes(content)
    with pytest.raises(IncompatibleFormat):
        await open_store(new_world(tmp_path), settings())
    assert (tmp_path / "format").read_bytes() == content
    # Nothing is held: somebody who knows this format may open it.
    (tmp_path / "format").unlink()
    await open_store(new_world(tmp_path), settings())


async def test_a_folder_of_another_program_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(IncompatibleFormat):
        await open_store(new_world(tmp_path), settings())
    assert (tmp_path / "thesis.txt").read_text() == "important"
    assert not (tmp_path / "chunks").exists()


async def test_a_folder_that_another_server_has_open_is_refused(tmp_path):
    await open_store(new_world(tmp_path), settings())
    with pytest.raises(Conflict):
        await open_store(new_world(tmp_path), settings())


async def test_half_a_copy_is_gone_at_the_next_start(tmp_path):
    world = new_world(tmp_path)
    await open_store(world, settings())
    await world.disk.unlock("")
    (tmp_path / "incoming" / "0000000000000007.data").write_bytes(b"half")
    await open_store(new_world(tmp_path), settings())
    assert list((tmp_path / "incoming").iterdir()) == []
