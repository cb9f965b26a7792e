"""With durability "fsync", what was answered survives a power cut at any later moment; with "replicated", everything
that was made durable does, and the replica knows that it may lack more.

The disk here is in memory and strict: at a cut, bytes that were not synced, and names whose folder was not synced, are
gone, all of them. (What a real disk may also do, tear and keep sectors at random, is the simulated world's business.)
"""

import contextlib
import random
from typing import Any

import pytest

from chunkserver.storage.chunk_files import data_path
from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.opening import open_store
from runtime.errors import AlreadyExists, NotFound, StaleVersion, Unavailable
from runtime.world import DiskUsage
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, new_world, settings

SOURCE = random.Random(9)


class Content:
    """What a file holds: for programs now, and on the platter."""

    def __init__(self, synced: bytes = b"") -> None:
        self.now = bytearray(synced)
        self.synced = synced


class StrictFile:
    def __init__(self, path: str, content: Content, disk: "StrictDisk") -> None:
        self.path = path
        self.content = content
        self.disk = disk

    async def read_at(self, offset: int, count: int) -> bytes:
        return bytes(self.content.now[offset : offset + count])

    async def read_into(self, offset: int, target: memoryview) -> int:
        found = self.content.now[offset : offset + len(target)]
        target[: len(found)] = found
        return len(found)

    async def write_at(self, offset: int, data: Any) -> None:
        self.disk.check_alive()
        self.content.now.extend(bytes(max(0, offset - len(self.content.now))))
        self.content.now[offset : offset + len(data)] = data

    async def append(self, data: Any) -> int:
        self.disk.check_alive()
        offset = len(self.content.now)
        self.content.now.extend(data)
        return offset

    async def truncate(self, size: int) -> None:
        self.disk.check_alive()
        self.content.now.extend(bytes(max(0, size - len(self.content.now))))
        del self.content.now[size:]

    async def size(self) -> int:
        return len(self.content.now)

    async def sync(self) -> None:
        self.disk.count_sync()
        self.content.synced = bytes(self.content.now)

    async def close(self) -> None:
        pass


class Death(BaseException):
    """The process is gone; the disk stays as it is."""


class StrictDisk:
    """Folders and files by path; `synced_names` is what a power cut leaves."""

    def __init__(self, names: "dict[str, Content | None] | None" = None) -> None:
        self.names: dict[str, Content | None] = names or {}  # None: a folder
        self.synced_names = dict(self.names)
        self.dies_in = -1  # the process, when so many files and folders have been synced
        self.boots = 1

    def check_alive(self) -> None:
        if self.dies_in == 0:
            raise Death

    def count_sync(self) -> None:
        self.check_alive()
        self.dies_in -= 1
        self.check_alive()

    def after_power_cut(self) -> "StrictDisk":
        kept = {}
        for path, content in self.synced_names.items():
            parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
            if all(parent in self.synced_names for parent in parents):
                kept[path] = None if content is None else Content(content.synced)
        disk = StrictDisk(kept)
        disk.boots = self.boots + 1
        return disk

    async def open(self, path: str, mode: str) -> StrictFile:
        self.check_alive()
        if "/" in path and path.rpartition("/")[0] not in self.names:
            raise NotFound(path)
        if mode in ("read", "update") and path not in self.names:
            raise NotFound(path)
        if mode == "create" and path in self.names:
            raise AlreadyExists(path)
        if mode in ("create", "replace"):
            present = self.names.get(path)
            if present is not None:
                present.now.clear()
            else:
                self.names[path] = Content()
        content = self.names[path]
        assert content is not None
        return StrictFile(path, content, self)

    async def make_directory(self, path: str, *, spread: bool = False) -> None:
        self.check_alive()
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            self.names.setdefault("/".join(parts[:depth]), None)

    async def rename(self, source: str, target: str) -> None:
        self.check_alive()
        if source not in self.names:
            raise NotFound(source)
        self.names[target] = self.names.pop(source)

    async def remove(self, path: str) -> None:
        self.check_alive()
        if path not in self.names:
            raise NotFound(path)
        del self.names[path]

    async def list(self, path: str = "") -> list[str]:
        return sorted(name for folder, _, name in (one.rpartition("/") for one in self.names) if folder == path)

    async def exists(self, path: str) -> bool:
        return path in self.names

    async def size(self, path: str) -> int:
        return await (await self.open(path, "read")).size()

    async def sync_directory(self, path: str = "") -> None:
        self.count_sync()

        def inside(one: str) -> bool:
            return one.rpartition("/")[0] == path

        self.synced_names = {one: found for one, found in self.synced_names.items() if not inside(one)}
        self.synced_names.update({one: found for one, found in self.names.items() if inside(one)})

    async def usage(self) -> DiskUsage:
        return DiskUsage(1 << 40, 1 << 39)

    async def lock(self, path: str) -> None:
        pass

    async def unlock(self, path: str) -> None:
        pass


async def opened(tmp_path, disk: StrictDisk, durability: str = "fsync") -> ChunkStore:
    world = new_world(tmp_path)
    world.disk = disk
    world.boot_id = lambda: f"boot {disk.boots}"
    return (await open_store(world, settings(durability=durability))).store


async def content(store: ChunkStore, handle: int) -> bytes:
    async with store.reading(handle, least_version=0, offset=0, count=CHUNK_BYTES) as found:
        return await found.file.read_at(0, found.length) if found.length else b""


@pytest.mark.parametrize("seed", range(12))
async def test_every_answered_change_survives_a_power_cut_right_after_its_answer(tmp_path, seed):
    source = random.Random(seed)
    disk = StrictDisk()
    store = await opened(tmp_path, disk)
    expected: dict[int, tuple[int, bytearray]] = {}
    for step in range(25):
        kind = source.choice(["create", "write", "write", "write", "advance", "delete"])
        handle = source.choice(list(expected)) if expected else 0
        if kind == "create" or not expected:
            handle = 1000 * seed + step
            await store.create(handle, version=1, capacity=CHUNK_BYTES)
            expected[handle] = (1, bytearray())
        elif kind == "write":
            version, model = expected[handle]
            offset = source.randrange(0, min(CHUNK_BYTES // 2, len(model) + BLOCK) + 1)
            data = source.randbytes(source.randrange(1, 2 * BLOCK))
            await store.write(handle, version=version, offset=offset, data=memoryview(data))
            model.extend(bytes(max(0, offset + len(data) - len(model))))
            model[offset : offset + len(data)] = data
        elif kind == "advance":
            version, model = expected[handle]
            await store.advance(handle, from_version=version, to_version=version + 3)
            expected[handle] = (version + 3, model)
        else:
            await store.remove(handle, version=expected[handle][0])
            del expected[handle]  # It may come back: then it is garbage, and the master says so again.
        again = await opened(tmp_path, disk.after_power_cut())
        for one, (version, model) in expected.items():
            state = again.state(one)
            assert state is not None and (state.version, state.length) == (version, len(model))
            assert await content(again, one) == model


@pytest.mark.parametrize("syncs", range(10))
async def test_what_a_killed_server_left_unsynced_holds_what_is_answered_after_its_restart(tmp_path, syncs):
    disk = StrictDisk()
    store = await opened(tmp_path, disk)
    disk.dies_in = syncs + 1
    with contextlib.suppress(Death):
        await store.create(7, version=1, capacity=CHUNK_BYTES)
        await store.write(7, version=1, offset=0, data=memoryview(b"before"))
    disk.dies_in = -1
    store = await opened(tmp_path, disk)
    if store.state(7) is None:
        await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(b"answered"))
    again = await opened(tmp_path, disk.after_power_cut())
    assert await content(again, 7) == b"answered"


@pytest.mark.parametrize("killed_at", range(4))
async def test_what_an_opening_has_found_a_power_cut_does_not_take_back(tmp_path, killed_at):
    """Headers take turns between two places. If an opening believed one that is not durable, the next change would
    write over the only one that is."""
    disk = StrictDisk()
    store = await opened(tmp_path, disk)
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(b"answered"))
    disk.dies_in = killed_at + 1
    with contextlib.suppress(Death):
        await store.write(7, version=1, offset=8, data=memoryview(b", more"))
    disk.dies_in = -1
    found = (await opened(tmp_path, disk)).state(7)
    again = await opened(tmp_path, disk.after_power_cut())
    assert again.state(7) == found
    assert (await content(again, 7)).startswith(b"answered")


async def raw(disk: StrictDisk, handle: int, length: int) -> bytes:
    """What the disk holds of a chunk's bytes, whatever the store says."""
    path = data_path(handle)
    found = bytes(disk.names[path].now) if path in disk.names else b""
    return found[:length].ljust(length, b"\0")


async def test_a_chunk_its_version_and_what_was_synced_in_the_background_survive_a_power_cut_of_replicated_data(
    tmp_path,
):
    disk = StrictDisk()
    store = await opened(tmp_path, disk, "replicated")
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    assert (await opened(tmp_path, disk.after_power_cut(), "replicated")).state(7) is not None
    await store.write(7, version=1, offset=0, data=memoryview(b"a" * BLOCK))
    await store.write_back(7)
    await store.write(7, version=1, offset=BLOCK, data=memoryview(b"b" * BLOCK))
    after = disk.after_power_cut()
    state = (await opened(tmp_path, after, "replicated")).state(7)
    assert state.is_unsure and (state.version, state.length) == (1, BLOCK)
    assert await raw(after, 7, BLOCK) == b"a" * BLOCK
    await store.advance(7, from_version=1, to_version=4)
    after = disk.after_power_cut()
    again = await opened(tmp_path, after, "replicated")
    assert again.state(7).is_unsure and (again.state(7).version, again.state(7).length) == (4, 2 * BLOCK)
    assert (await again.compare(7)).doubtful_blocks == 0
    assert await raw(after, 7, 2 * BLOCK) == b"a" * BLOCK + b"b" * BLOCK


async def test_an_unsure_replica_serves_nobody_takes_versions_and_is_sure_once_it_was_admitted(tmp_path):
    disk = StrictDisk()
    store = await opened(tmp_path, disk, "replicated")
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(b"a" * BLOCK))
    await store.write_back(7)
    whole = (await store.compare(7)).digest
    disk = disk.after_power_cut()
    store = await opened(tmp_path, disk, "replicated")
    for attempt in (
        store.verify(7, offset=0, count=1),
        store.write(7, version=1, offset=0, data=memoryview(b"x")),
        store.verify_all(7, version=1),
    ):
        with pytest.raises(Unavailable) as refused:
            await attempt
        assert refused.value.definite and "awaits comparison" in refused.value.message
    await store.advance(7, from_version=1, to_version=2)
    assert store.state(7).is_unsure and (await store.compare(7)).digest == whole
    with pytest.raises(StaleVersion):
        await store.admit(7, version=1)
    # A restart does not make it sure, nor does another loss of power.
    disk = disk.after_power_cut()
    store = await opened(tmp_path, disk, "replicated")
    assert store.state(7).is_unsure and store.state(7).version == 2
    await store.admit(7, version=2)
    assert not store.state(7).is_unsure and await content(store, 7) == b"a" * BLOCK
    store.check_invariants()
    # A kill leaves it sure: the page cache is whole.
    assert not (await opened(tmp_path, disk, "replicated")).state(7).is_unsure
    assert (await opened(tmp_path, disk.after_power_cut(), "replicated")).state(7).is_unsure


async def test_blocks_that_arrived_without_their_checksums_are_doubtful_and_are_admitted_as_they_lie(tmp_path):
    disk = StrictDisk()
    store = await opened(tmp_path, disk, "replicated")
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(b"a" * 3 * BLOCK))
    await store.write_back(7)
    await store.write(7, version=1, offset=BLOCK, data=memoryview(b"b" * BLOCK))
    written = disk.names[data_path(7)]
    written.synced = bytes(written.now)  # The system has written the data on its own, and not the metadata.
    disk = disk.after_power_cut()
    store = await opened(tmp_path, disk, "replicated")
    assert (await store.compare(7)).doubtful_blocks == 1
    await store.admit(7, version=1)
    assert await content(store, 7) == b"a" * BLOCK + b"b" * BLOCK + b"a" * BLOCK
    assert (await store.compare(7)).doubtful_blocks == 0


async def test_another_durability_holds_from_the_first_mutation_on(tmp_path):
    """A header that promises synced mutations must not be the newest on the disk while unsynced ones are made."""
    disk = StrictDisk()
    store = await opened(tmp_path, disk, "fsync")
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(b"synced"))
    store = await opened(tmp_path, disk, "replicated")
    await store.write(7, version=1, offset=6, data=memoryview(b" and not"))
    assert (await opened(tmp_path, disk.after_power_cut(), "fsync")).state(7).is_unsure
    store = await opened(tmp_path, disk, "fsync")
    await store.write(7, version=1, offset=14, data=memoryview(b", synced again"))
    again = await opened(tmp_path, disk.after_power_cut(), "replicated")
    assert not again.state(7).is_unsure and await content(again, 7) == b"synced and not, synced again"


async def test_a_removal_is_durable_when_it_is_answered_and_spares_what_is_newer(tmp_path):
    disk = StrictDisk()
    store = await opened(tmp_path, disk, "replicated")
    await store.create(7, version=3, capacity=CHUNK_BYTES)
    await store.write(7, version=3, offset=0, data=memoryview(b"abc"))
    assert await store.remove(7, version=2) is None and store.state(7).length == 3
    assert await store.remove(7, version=5) == 3
    assert await store.remove(7, version=5) == 5, "it is not here: that is what was asked for"
    again = await opened(tmp_path, disk.after_power_cut(), "replicated")
    assert again.state(7) is None and not [name for name in again._disk.names if "0007" in name]
