"""The files of a chunk as docs/formats/chunk.md describes them, damaged headers, and folders that are not ours."""

from dataclasses import replace
from pathlib import Path

import crc32c
import pytest

from chunkserver.storage.chunk_files import Chunk
from chunkserver.storage.chunk_format import (
    NO_BOOT,
    SLOT_BYTES,
    TABLE_OFFSET,
    Header,
    Intent,
    Progress,
    decode_metadata,
    encode_header,
    encode_intent,
    encode_slots,
    intent_offset,
    with_table,
)
from chunkserver.storage.chunk_store import ChunkStore, data_path, metadata_path
from chunkserver.storage.headers import rewritten
from chunkserver.storage.opening import open_store
from runtime.errors import Conflict, Corrupted, IncompatibleFormat, Unavailable
from runtime.real.disk import RealDisk
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, new_world, settings
from tests.unit.test_format_pages import dumped_bytes

BOOT = 0x1122334455667788


async def opened(folder: Path, boot_id: str = "") -> ChunkStore:
    """The store on a folder whose last process was killed; another `boot_id` says that the machine lost power since."""
    world = new_world(folder)
    if boot_id:
        world.boot_id = lambda: boot_id
    store = (await open_store(world, settings())).store
    await world.disk.unlock("")
    return store


def damage_slot(folder: Path, handle: int, *slots: int) -> None:
    path = folder / metadata_path(handle)
    raw = bytearray(path.read_bytes())
    for slot in slots:
        raw[SLOT_BYTES * slot + 20] ^= 1
    path.write_bytes(raw)


async def three_writes(folder: Path) -> None:
    """Chunk 7 with a header of sequence 3 in slot 0, 2 in slot 1, and an anchor of sequence 1 in slot 3."""
    store = await opened(folder)
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.advance(7, from_version=1, to_version=2)
    await store.write(7, version=2, offset=0, data=memoryview(b"one"))
    await store.write(7, version=2, offset=3, data=memoryview(b"two"))
    await store.close()


async def test_the_chunk_page_shows_the_headers_and_the_intent_that_are_written(tmp_path):
    store = ChunkStore(RealDisk(tmp_path), syncs=False, boot=BOOT, reserve_bytes=0, open_chunks=8)
    await store.create(0x2A, version=3, capacity=2 * BLOCK)
    first, second = dumped_bytes("chunk.md", 0), dumped_bytes("chunk.md", 1)
    padding = bytes(SLOT_BYTES - len(first))
    assert (tmp_path / metadata_path(0x2A)).read_bytes() == 4 * (first + padding)
    await store.write(0x2A, version=3, offset=0, data=memoryview(b"hello"), serial=1)
    assert (tmp_path / metadata_path(0x2A)).read_bytes() == second + padding + 3 * (first + padding)
    assert (tmp_path / data_path(0x2A)).read_bytes() == b"hello"
    await store.write(0x2A, version=3, offset=0, data=memoryview(b"J"))
    intent = dumped_bytes("chunk.md", 2)
    offset = intent_offset(2 * BLOCK)
    assert offset == 2560
    assert (tmp_path / metadata_path(0x2A)).read_bytes()[offset:] == intent
    sums = (crc32c.crc32c(b"hello"),), (crc32c.crc32c(b"Jello"),)
    assert intent == encode_intent(Intent(2, 0, 5, *sums))


# Which header counts: pure.


def header(sequence: int, length: int = 0, *, boot: int = BOOT, is_synced: bool = False, version: int = 1) -> Header:
    return Header(sequence, 7, boot, version, length, CHUNK_BYTES, is_synced)


def file_of(*slots: Header, table: bytes = b"") -> bytes:
    return b"".join(encode_header(one).ljust(SLOT_BYTES, b"\0") for one in slots) + table


def test_without_a_loss_of_power_the_newest_header_counts_and_the_replica_is_sure():
    raw = file_of(header(4, 40), header(5, 50), header(2, 20), header(1))
    found = decode_metadata(raw, 7, boot=BOOT, data_bytes=0)
    assert (found.slot, found.header.length, found.is_unsure) == (1, 50, False)
    assert (found.anchor_slot, found.anchor, found.highest_sequence) == (2, header(2, 20), 5)


def test_after_a_loss_of_power_a_header_without_its_data_does_not_count_but_none_is_older_than_the_newest_anchor():
    raw = file_of(header(4, 40), header(5, 50), header(3, 30), header(1))
    for data_bytes, slot in ((50, 1), (45, 0), (35, 2), (5, 2)):
        found = decode_metadata(raw, 7, boot=BOOT + 1, data_bytes=data_bytes)
        assert (found.slot, found.is_unsure, found.highest_sequence) == (slot, True, 5)


def test_after_a_loss_of_power_a_header_without_its_table_entries_does_not_count():
    newest = rewritten(header(5), BLOCK, 0, [123])
    for entry, slot in ((123, 1), (124, 0)):
        raw = file_of(header(4, 40), newest, header(3), header(1), table=entry.to_bytes(4, "little"))
        assert decode_metadata(raw, 7, boot=BOOT + 1, data_bytes=BLOCK).slot == slot


def test_a_synced_replica_is_sure_after_a_loss_of_power_unless_its_newest_header_is_not_believed():
    raw = file_of(*(header(number, number, is_synced=True) for number in (4, 5, 3, 1)))
    assert not decode_metadata(raw, 7, boot=BOOT + 1, data_bytes=5).is_unsure
    assert decode_metadata(raw, 7, boot=BOOT + 1, data_bytes=4).is_unsure


def test_a_header_of_an_unsure_replica_makes_no_machine_sure():
    raw = file_of(header(4), header(5), header(6, boot=NO_BOOT), header(1))
    assert decode_metadata(raw, 7, boot=BOOT, data_bytes=0).is_unsure


def test_a_header_whose_table_is_another_one_has_come_no_further_than_what_was_durable():
    """Its own entry is there. An earlier mutation may have lost its block and its checksum, which looks whole."""
    come = {"progress": Progress(1, 9), "durable_progress": Progress(1, 4)}
    newest = replace(with_table(rewritten(header(5), 2 * BLOCK, 1, [123]), [7, 123]), **come)
    anchor = replace(header(3), progress=Progress(1, 6), durable_progress=Progress(1, 6))
    for first, progress in ((7, (1, 9)), (8, (1, 6))):
        table = first.to_bytes(4, "little") + (123).to_bytes(4, "little")
        raw = file_of(header(4), newest, anchor, header(1), table=table)
        found = decode_metadata(raw, 7, boot=BOOT + 1, data_bytes=2 * BLOCK)
        assert (found.slot, found.is_unsure, found.header.progress) == (1, True, progress)
        assert Chunk.as_found(found).durable_progress == (1, 6)


@pytest.mark.parametrize("syncs", [False, True])
async def test_headers_say_how_far_the_replica_has_come_and_how_far_durably(tmp_path, syncs):
    store = ChunkStore(RealDisk(tmp_path), syncs=syncs, boot=BOOT, reserve_bytes=0, open_chunks=8)

    async def come() -> tuple[Progress, Progress]:
        found = await store.compare(7)
        return found.progress, found.durable_progress

    await store.create(7, version=1, capacity=2 * BLOCK)
    assert await come() == ((1, 0), (1, 0))
    await store.write(7, version=1, offset=0, data=memoryview(b"hello"), serial=1)
    await store.write(7, version=1, offset=0, data=memoryview(b"J"), serial=3)
    assert await come() == ((1, 3), (1, 3) if syncs else (1, 0))
    await store.write_back(7)
    assert await come() == ((1, 3), (1, 3))
    await store.advance(7, from_version=1, to_version=4)
    assert await come() == ((4, 0), (4, 0))
    await store.write(7, version=4, offset=5, data=memoryview(b"!"), serial=1)
    await store.close()
    raw = (tmp_path / metadata_path(7)).read_bytes()
    assert decode_metadata(raw, 7, boot=BOOT, data_bytes=6).header.progress == (4, 1)


async def test_an_unsure_replica_keeps_its_progress_through_versions_until_it_is_admitted(tmp_path):
    store = await opened(tmp_path)
    await store.create(7, version=1, capacity=2 * BLOCK)
    await store.write(7, version=1, offset=0, data=memoryview(b"hello"), serial=1)
    await store.write_back(7)
    await store.write(7, version=1, offset=0, data=memoryview(b"J"), serial=2)
    await store.close()
    store = await opened(tmp_path, "after a loss of power")
    for version in (1, 2, 3):
        await store.advance(7, from_version=1, to_version=version)
        found = await store.compare(7)
        assert (found.progress, found.durable_progress) == ((1, 2), (1, 1))
    await store.admit(7, version=3)
    found = await store.compare(7)
    assert (found.progress, found.durable_progress) == ((3, 0), (3, 0))
    await store.close()


@pytest.mark.parametrize("slot", range(4))
def test_a_slot_that_cannot_be_read_makes_the_replica_unsure_whichever_it_is(slot):
    raw = bytearray(file_of(header(4, 40), header(5, 50), header(3, 30), header(1)))
    raw[SLOT_BYTES * slot + 30] ^= 1
    found = decode_metadata(bytes(raw), 7, boot=BOOT, data_bytes=50)
    assert found.is_unsure and found.unreadable == (slot,)
    assert found.header.length == (40 if slot == 1 else 50)


def test_any_cut_of_a_metadata_file_is_refused_or_understood():
    whole = encode_slots(header(0))
    for count in (0, 60, SLOT_BYTES, TABLE_OFFSET - 500):
        raw = whole[:count]
        if count < SLOT_BYTES:
            with pytest.raises(Corrupted):
                decode_metadata(raw, 7, boot=BOOT, data_bytes=0)
        else:
            assert decode_metadata(raw, 7, boot=BOOT, data_bytes=0).is_unsure == (count < TABLE_OFFSET - 440)
    with pytest.raises(Corrupted):
        decode_metadata(bytes(5000), 7, boot=BOOT, data_bytes=0)


def test_the_metadata_of_another_chunk_is_refused():
    with pytest.raises(Corrupted):
        decode_metadata(encode_slots(header(0)), 8, boot=BOOT, data_bytes=0)


# Damaged headers on a disk.


async def test_damage_to_the_newest_header_makes_the_replica_unsure_and_cuts_nothing_off(tmp_path):
    await three_writes(tmp_path)
    damage_slot(tmp_path, 7, 1)
    store = await opened(tmp_path)
    state = store.state(7)
    assert state.is_unsure and (state.version, state.length) == (2, 3)
    with pytest.raises(Unavailable):
        await store.verify(7, offset=0, count=10)
    await store.advance(7, from_version=2, to_version=3)
    assert (await store.compare(7)).doubtful_blocks == 0
    assert (tmp_path / data_path(7)).read_bytes() == b"onetwo"
    await store.close()
    # It stays unsure whatever is written meanwhile, until it was admitted; then all slots can be read again.
    store = await opened(tmp_path)
    assert store.state(7).is_unsure and store.state(7).version == 3
    await store.admit(7, version=3)
    await store.close()
    store = await opened(tmp_path)
    assert not store.state(7).is_unsure and store.state(7).length == 3
    store.check_invariants()


async def test_a_chunk_whose_headers_are_all_damaged_is_put_aside_with_its_data(tmp_path):
    await three_writes(tmp_path)
    damage_slot(tmp_path, 7, 0, 1, 2, 3)
    metadata = (tmp_path / metadata_path(7)).read_bytes()
    store = await opened(tmp_path)
    assert store.state(7) is None
    assert (tmp_path / f"aside/{7:016x}.data").read_bytes() == b"onetwo"
    assert (tmp_path / f"aside/{7:016x}.meta").read_bytes() == metadata
    # What is put aside a second time does not replace it.
    await store.close()
    (tmp_path / data_path(7)).write_bytes(b"again")
    store = await opened(tmp_path)
    assert (tmp_path / f"aside/{7:016x}.1.data").read_bytes() == b"again"
    assert (tmp_path / f"aside/{7:016x}.data").read_bytes() == b"onetwo"


async def test_data_whose_metadata_was_lost_is_put_aside(tmp_path):
    await three_writes(tmp_path)
    (tmp_path / metadata_path(7)).unlink()
    assert (await opened(tmp_path)).state(7) is None
    assert (tmp_path / f"aside/{7:016x}.data").read_bytes() == b"onetwo"


async def test_a_header_that_rots_while_the_server_runs_is_written_anew_from_memory(tmp_path):
    store = await opened(tmp_path)
    found: list[str] = []
    store.on_repair = lambda handle, what: found.append(what)
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(b"a" * (BLOCK + 5)))
    assert await store.check_metadata(7) and not found
    damage_slot(tmp_path, 7, 0, 1, 2, 3)
    assert not await store.check_metadata(7)
    assert "slot 0 cannot be read" in found[0]
    raw = bytearray((tmp_path / metadata_path(7)).read_bytes())
    raw[TABLE_OFFSET] ^= 1
    (tmp_path / metadata_path(7)).write_bytes(raw)
    assert not await store.check_metadata(7) and "table" in found[1]
    assert await store.check_metadata(7)
    await store.close()
    again = await opened(tmp_path)
    assert not again.state(7).is_unsure and await again.verify(7, offset=0, count=CHUNK_BYTES) == BLOCK + 5


# Folders.


@pytest.mark.parametrize("content", [b"tabletop chunkserver 1\n", b"tabletop chunkserver 9\n", b"", b"\xff\xfe"])
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
    held = new_world(tmp_path)
    await open_store(held, settings())
    with pytest.raises(Conflict):
        await open_store(new_world(tmp_path), settings())


async def test_half_a_copy_is_gone_at_the_next_start_and_a_complete_one_is_in_its_place(tmp_path):
    await three_writes(tmp_path)
    incoming = tmp_path / "incoming"
    for handle in (7, 8):
        (incoming / f"{handle:016x}.data").write_bytes(b"copied")
        (incoming / f"{handle:016x}.draft").write_bytes(b"half")
    copy = rewritten(Header(1, 7, BOOT, 5, 0, CHUNK_BYTES), 6, 0, [crc32c.crc32c(b"copied")])
    (incoming / f"{7:016x}.meta").write_bytes(encode_slots(copy))
    store = await opened(tmp_path)
    assert list(incoming.iterdir()) == []
    assert store.state(8) is None and store.state(7).version == 5
    assert (tmp_path / data_path(7)).read_bytes() == b"copied"
