"""Faults that need to know how servers store things.

Ending, pausing and starting nodes is the business of each kind of cluster. Bit rot is the same in both worlds: a few
bytes of a chunk's data change on the disk of one server, behind its back, while it goes on running.
"""

from collections.abc import Callable

from chunkserver.storage.blocks import BLOCK_BYTES, block_count, block_extent
from chunkserver.storage.chunk_files import data_path
from cluster.interface import Cluster, Corruption
from runtime.errors import InvalidRequest, NotFound, shown
from runtime.wire import common_pb2
from runtime.world import Disk

# Some bytes at each of these parts of the block are inverted.
_PLACES = (0.0, 0.5, 0.99)
_BYTES_AT_EACH = 4


async def corrupt(
    cluster: Cluster, disk_of: Callable[[str], Disk], path: str, chunk_index: int, block: int, server: str
) -> Corruption:
    """Flip bits in one block of one replica; `server` may be empty for the first replica.

    Raises NotFound (the file, the chunk, the replica), IsADirectory, and InvalidRequest for a block beyond the end.
    """
    chunk = await chunk_of(cluster, path, chunk_index)
    holder = _holder(chunk, path, server)
    disk = disk_of(holder)
    file_path = data_path(chunk.handle)
    length = await disk.size(file_path) if await disk.exists(file_path) else 0
    if not 0 <= block < block_count(length):
        raise InvalidRequest(
            f"chunk {chunk_index} of {shown(path)} has no block {block} on {holder}; its {length} bytes are "
            f"{block_count(length)} blocks of {BLOCK_BYTES} bytes, counted from 0"
        )
    offset, count = block * BLOCK_BYTES, block_extent(block, length)
    file = await disk.open(file_path, "update")
    try:
        old = await file.read_at(offset, count)
        new = bytearray(old)
        for place in _PLACES:
            begin = int(count * place)
            for position in range(begin, min(begin + _BYTES_AT_EACH, count)):
                new[position] ^= 0xFF
        await file.write_at(offset, new)
        await file.sync()
    finally:
        await file.close()
    return Corruption(
        path=path,
        chunk_index=chunk_index,
        handle=chunk.handle,
        server=holder,
        block=block,
        file=file_path,
        file_offset=offset,
        flipped_bytes=sum(before != after for before, after in zip(old, new, strict=True)),
    )


async def chunk_of(cluster: Cluster, path: str, index: int) -> common_pb2.ChunkLocations:
    """The chunk at a place in a file, which counts from 0. Raises NotFound, IsADirectory."""
    chunks = {chunk.index: chunk for chunk in await cluster.client().locations(path)}
    if index not in chunks:
        raise NotFound(f"{shown(path)} has no chunk {index}; it has {len(chunks)}, counted from 0")
    return chunks[index]


def _holder(chunk: common_pb2.ChunkLocations, path: str, server: str) -> str:
    holders = [replica.server for replica in chunk.replicas]
    if not holders:
        raise NotFound(f"chunk {chunk.index} of {shown(path)} has no live replica; see `tabletop status`")
    if server and server not in holders:
        raise NotFound(f"{server} has no replica of chunk {chunk.index} of {shown(path)}; {', '.join(holders)} have")
    return server or holders[0]
