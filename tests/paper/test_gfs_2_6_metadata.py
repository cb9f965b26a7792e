"""GFS 2.6.1: metadata in memory, in less than 64 bytes a file and a chunk."""

import sys

from master.chunks.chunk_table import ChunkTable
from master.namespace.namespace import Namespace

FILES = 30_000


def test_a_file_takes_less_than_64_bytes() -> None:
    names = Namespace()
    for directory in range(FILES // 100):
        names.make_directory(f"/crawl-{directory:06d}", created_microseconds=1)
        for file in range(100):
            path = f"/crawl-{directory:06d}/part-{file:05d}-of-00100"
            names.create(path, goal=3, created_microseconds=1_700_000_000_000_000, file_id=2 * (directory * 100 + file))
            names.append_chunk(path, directory * 100 + file + 1)
    leaves = names.table.snapshot()
    # A pointer to the leaf, the leaf, a pointer to its lower bound, the lower bound.
    table = sum(
        8 + sys.getsizeof(leaf) + 8 + sys.getsizeof(low) for leaf, low in zip(leaves, names.table._lows, strict=True)
    )
    assert table / FILES < 64


def test_a_chunk_takes_less_than_64_bytes() -> None:
    chunks = ChunkTable()
    servers = [f"cs{number}" for number in range(20)]
    for number in range(FILES):
        handle = chunks.reserve_handle()
        holders = (servers[number % 20], servers[(number + 1) % 20], servers[(number + 2) % 20])
        chunks.create(handle, goal=3, members=holders)
        chunks.set_replicas(handle, holders)
    packed, _, _, groups = chunks.snapshot()
    soft = FILES * (4 + 8) + sum(sys.getsizeof(names) + 100 for names in chunks._tuples)
    shared = sum(sys.getsizeof(names) + 100 for names in groups)
    assert (sum(map(len, packed)) + soft + shared) / FILES < 64
