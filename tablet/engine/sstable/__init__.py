"""The SSTable: an ordered, immutable file of rows (BT 4, 6).

    format.py        the file, constant by constant
    index.py         where its blocks and filters end, and which rows end the blocks
    properties.py    what a file says about itself
    bloom/           "certainly not here", by one of several policies
    writer.py        chunks in, a file out
    block_cache.py   decompressed blocks, least recently used first out; pinned ones
    reader.py        one binary search, one block
    directory.py     which files may hold a row: all filters asked at once

Because a file never changes, readers share it without locks, a cached block is never wrong, and a crash leaves either
no SSTable or a whole one.
"""
