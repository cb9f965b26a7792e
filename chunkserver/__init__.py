"""The chunkserver: keeps replicas of chunks, and sees that they stay alike and stay whole (GFS 2.4, 3, 5.2).

The problem. Disks rot, processes die in the middle of a write, and several clients write to one chunk at once. Readers
must never get wrong bytes, replicas must apply the same mutations in the same order, and none of this may be slow.

The idea. Data and control take different ways. Bytes are pushed along a chain of servers into a buffer, where they mean
nothing yet. Then the client names them to the *primary*, the server that holds the master's lease for the chunk; it
numbers the mutations, and everybody applies them in that order. A chunk is an ordinary file of nothing but its bytes,
so that the kernel can send it; beside it stands a small file with its version, its length and a checksum for each
64 KiB, by which every byte is verified before it leaves, and by which an interrupted write is recognised. A server does
not know what its chunks are for: the master tells it what to create, at which version, and what to delete.

    settings.py           what can be tuned                                                     (bottom)
    events.py             what a chunkserver records of itself
    blocks.py             64 KiB blocks and their checksums; which of them a write touches      5.2
    payload_checksums.py  checksums of what is sent to a reader                                 5.2
    chunk_format.py       the metadata file of a chunk, as bytes                                5.2, 4.5
    chunk_files.py        where the files are, and which of them are open
    settling.py           what an interrupted overwrite left behind                             5.2
    chunk_store.py        all chunks: create, raise the version, write, read verified, delete   2.5, 4.5, 5.2
    opening.py            what is on the disk at start; the format of the folder                5.1.1
    push_buffer.py        pushed data that waits for its mutation: LRU by bytes                 3.1
    leases.py             leases that this server holds, as primary                             3.1
    serial_order.py       whose turn it is                                                      3.1
    mutations.py          writing, as primary and as secondary                                  3.1
    advancing.py          what the master says of versions and leases                           3.1, 4.5
    data_flow.py          pushes forwarded while they arrive; reads verified, then sent         3.2, 5.2
    cloning.py            copying a chunk from another server                                   4.3
    scrubber.py           idle verification                                                     5.2
    heartbeats.py         registration, heartbeats, garbage, corruption reports                 2.6.2, 3.1, 4.4
    service.py            the gRPC servicer          server.py  wiring                          (top)

The files are described byte by byte in docs/formats/chunk.md.

What we simplify. No record append and no snapshots yet (3.3, 3.4). With `durability = "replicated"` a write is answered
when every replica has it in the page cache: it survives any number of killed processes, and the power cut of all
replicas at once may lose the last seconds. The power cut of one server may take its replica back by those seconds;
where checksums and data do not fit together afterwards, this is noticed. `durability = "fsync"` has neither weakness.
"""
