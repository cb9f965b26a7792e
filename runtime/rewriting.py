"""Bytes that can be read, and may be on no disk.

The problem. When a sync fails, the operating system may take the pages for clean that it could not write. Whoever hears
of the failure calls nothing durable any more. But that process may end, and the next one reads the bytes from the
cache, and syncs them: nothing is written, and the next loss of power takes them. The idea: whoever builds on what an
earlier process has written writes it once more before the sync.
"""

from runtime.world import File

_PIECE_BYTES = 1024 * 1024


async def write_again(file: File, begin: int, end: int) -> None:
    """Write the bytes from `begin` to `end`, so far as the file has them, as they are; a sync is to follow. Raises
    NoSpace, DiskFailure."""
    for offset in range(begin, end, _PIECE_BYTES):
        piece = await file.read_at(offset, min(_PIECE_BYTES, end - offset))
        if piece:
            await file.write_at(offset, piece)
