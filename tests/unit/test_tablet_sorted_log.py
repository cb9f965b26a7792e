"""A server's log, sorted by tablet in pieces of bounded size (BT 6)."""

import random
import tracemalloc
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from runtime.errors import Corrupted
from runtime.real.disk import RealDisk
from tablet.embedded.inline import InlineWorld, RecentEvents
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import LIST_NAME, SortedLog, sort_log
from tablet.engine.world.options import SyncMode
from tablet.engine.world.storage import DiskStorage

TABLETS = (b"one", b"two", b"three")


class World(InlineWorld):
    """A folder, and what sorting needs beside it."""

    def __init__(self, root: Path) -> None:
        super().__init__(RecentEvents([]))
        self.disk = RealDisk(root)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def folder(world: World, name: str) -> DiskStorage:
    return DiskStorage(world.disk, name)


async def written_log(world: World, records: int = 200, value_bytes: int = 40, sync: SyncMode = "os") -> None:
    """The log that a server leaves, in several segments."""
    choice = random.Random(records)
    await world.disk.make_directory("log")
    await world.disk.make_directory("sorted")
    size = records * value_bytes // 2
    log = await ServerLog.open(folder(world, "log"), owner="server", sync=sync, segment_bytes=size)
    for number in range(records):
        await log.make_room()
        assert log.current is not None
        rows = [b"row%d" % choice.randrange(30) for _ in range(2)]
        fragments = [b"%d" % number * (value_bytes // 4)] * 2
        await log.current.write(choice.choice(TABLETS), rows, fragments, last_timestamp=number)
    await log.close()


async def sorted_pieces(world: World, piece_bytes: int = 5000) -> SortedLog:
    return await sort_log(folder(world, "log"), folder(world, "sorted"), world, owner="server", piece_bytes=piece_bytes)


async def mutations_of(found: SortedLog, tablet: bytes) -> list[tuple[int, bytes, bytes]]:
    return [mutation for part in found.parts_of(tablet.decode()) async for mutation in found.read(part)]


async def as_replayed(world: World, tablet: bytes) -> list[tuple[int, bytes, bytes]]:
    log = await ServerLog.open(folder(world, "log"), owner="server", sync="os", segment_bytes=1000)
    replay = log.read(tablet.decode(), 0)
    return [(sequence, row, fragment) async for sequence, rows in replay for row, fragment in rows]


async def test_the_pieces_hold_each_mutation_of_each_tablet_once(world: World):
    await written_log(world)
    found = await sorted_pieces(world)
    assert len({part.piece for part in found.parts}) > 5
    for tablet in TABLETS:
        mutations, expected = await mutations_of(found, tablet), await as_replayed(world, tablet)
        assert sorted(mutations) == sorted(expected)
        for row in {row for _, row, _ in expected}:
            of_row = [mutation for mutation in mutations if mutation[1] == row]
            assert of_row == [mutation for mutation in expected if mutation[1] == row], "not in the order of the log"


async def test_in_a_piece_a_tablet_lies_together_by_row_and_pieces_follow_one_another(world: World):
    await written_log(world)
    found = await sorted_pieces(world)
    latest = 0
    for _, in_piece in groupby(found.parts, key=lambda part: part.piece):
        parts = list(in_piece)
        assert [part.tablet for part in parts] == sorted({part.tablet for part in parts})
        assert all(before.offset + before.size == after.offset for before, after in pairwise(parts))
        assert latest < min(part.first_sequence for part in parts)
        latest = max(part.last_sequence for part in parts)
        for part in parts:
            mutations = [mutation async for mutation in found.read(part)]
            assert [(row, sequence) for sequence, row, _ in mutations] == sorted(
                (row, sequence) for sequence, row, _ in mutations
            )
            assert part.mutations == len(mutations)
            assert part.first_sequence == min(mutations)[0] and part.last_sequence == max(mutations)[0]


async def test_only_the_mutations_after_the_redo_point_are_asked_for(world: World):
    await written_log(world)
    found = await sorted_pieces(world)
    middle = found.parts[len(found.parts) // 2].last_sequence
    parts = found.parts_of("one", middle)
    assert 0 < len(parts) < len(found.parts_of("one"))
    assert all(part.last_sequence > middle for part in parts)
    assert found.parts_of("nobody") == []


async def test_a_log_that_was_sorted_is_not_sorted_again(world: World):
    await written_log(world)
    before = await sorted_pieces(world)
    files = {path: path.stat().st_mtime_ns for path in Path(world.disk.root, "sorted").iterdir()}
    assert (await sorted_pieces(world, piece_bytes=100)).parts == before.parts
    assert {path: path.stat().st_mtime_ns for path in Path(world.disk.root, "sorted").iterdir()} == files
    await before.remove()
    assert await SortedLog.load(folder(world, "sorted"), "server") is None
    assert list(Path(world.disk.root, "sorted").iterdir()) == []


async def test_an_empty_log_is_sorted_too(world: World):
    await world.disk.make_directory("log")
    await world.disk.make_directory("sorted")
    assert (await sorted_pieces(world)).parts == ()
    assert await SortedLog.load(folder(world, "sorted"), "server") is not None


async def test_memory_is_bounded_by_the_size_of_a_piece_and_not_by_that_of_the_log(world: World):
    await written_log(world, records=400, value_bytes=20_000)
    log_bytes = sum(path.stat().st_size for path in Path(world.disk.root, "log").glob("*.log"))
    tracemalloc.start()
    try:
        await sorted_pieces(world, piece_bytes=500_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    windows = 4 * 1024 * 1024  # What a reader of a log holds.
    assert log_bytes > 2 * (500_000 + windows)
    assert peak < 2 * 500_000 + windows


async def test_damage_to_a_piece_or_to_the_list_is_refused_and_says_what_to_do(world: World):
    await written_log(world, records=30)
    found = await sorted_pieces(world, piece_bytes=2000)
    choice = random.Random(0)
    for path in sorted(Path(world.disk.root, "sorted").iterdir()):
        sound = path.read_bytes()
        for place in sorted(choice.sample(range(len(sound)), 40)):
            path.write_bytes(sound[:place] + bytes((sound[place] ^ 0x40,)) + sound[place + 1 :])
            with pytest.raises(Corrupted, match=f"{path.name}.*sort the log of 'server' again"):
                await SortedLog.load(folder(world, "sorted"), "server")
                for tablet in TABLETS:
                    await mutations_of(found, tablet)
        path.write_bytes(sound[:-1])
        with pytest.raises(Corrupted, match=path.name):
            await SortedLog.load(folder(world, "sorted"), "server")
            for tablet in TABLETS:
                await mutations_of(found, tablet)
        path.write_bytes(sound)
    Path(world.disk.root, "sorted", found.parts[0].piece).unlink()
    with pytest.raises(Corrupted, match="which sorted names"):
        await mutations_of(found, found.parts[0].tablet.encode())


async def test_the_list_of_another_server_is_refused(world: World):
    await written_log(world, records=10)
    await sorted_pieces(world)
    with pytest.raises(Corrupted, match="is that of the log of 'server', expected 'other'"):
        await SortedLog.load(folder(world, "sorted"), "other")


async def test_a_damaged_log_is_refused_and_nothing_is_called_sorted(world: World):
    await written_log(world, sync="fsync")
    first = min(Path(world.disk.root, "log").glob("*.log"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    with pytest.raises(Corrupted, match=r"000001\.log"):
        await sorted_pieces(world)
    assert not Path(world.disk.root, "sorted", LIST_NAME).exists()
