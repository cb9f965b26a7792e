"""Storage: chunks as files, verified block by block (GFS 2.5, 4.5, 5.2).

    blocks.py             64 KiB blocks and their checksums; which of them a write touches      5.2
    payload_checksums.py  checksums of what is sent to a reader                                 5.2
    chunk_format.py       the metadata file of a chunk, as bytes: which header counts           5.2, 4.5
    chunk_files.py        where the files are, and which of them are open
    keyed_locks.py        one after the other, for each chunk
    headers.py            which header is written where, and what is synced before              4.5
    settling.py           what an interrupted overwrite left behind                             5.2
    verification.py       blocks compared with their checksums                                  5.2
    block_writer.py       bytes, checksums and header, in the order that survives a death       5.2
    admission.py          unsure replicas: what they hold, and how they become sure again       4.5, 5.2
    placing.py            chunks that appear, move and vanish as a whole                        4.3, 4.4
    chunk_store.py        all chunks: create, raise, admit, write, read verified, remove        2.5, 4.5, 5.2
    block_mender.py       damaged blocks, replaced from a sound replica                         5.2
    identity.py           whose chunks these are, and whom the server obeys
    writeback.py          syncing in the background                                             3.1
    opening.py            what is on the disk at start                                          5.1.1
    scrubber.py           idle verification                                                     5.2
    reads.py              how often each chunk is read                                          2.5

The files are described byte by byte in docs/formats/chunk.md.
"""
