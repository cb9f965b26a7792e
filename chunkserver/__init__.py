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
    identity.py           whose chunks these are, and whom the server obeys, on disk
    authority.py          whether an order is to be obeyed
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
    writeback.py          syncing in the background                                             3.1
    opening.py            what is on the disk at start                                          5.1.1
    signs.py              signs of life while an order is carried out that may take a minute
    push_buffer.py        pushed data that waits for its mutation: LRU by bytes                 3.1
    tries.py              what clients have tried to write: each try once, or never               3.1
    leases.py             leases that this server holds, as primary                             3.1
    serial_order.py       whose turn it is                                                      3.1
    appending.py          where a record goes, and when a chunk is padded                       3.3
    mutations.py          writing and appending, as primary and as secondary                    3.1, 3.3
    advancing.py          what the master orders about versions and leases                      3.1, 4.5
    data_flow.py          pushes forwarded while they arrive; reads verified, then sent         3.2, 5.2
    cloning.py            copying a chunk from other servers, or another chunk on this one      3.4, 4.3
    scrubber.py           idle verification                                                     5.2
    heartbeats.py         registration, heartbeats, removals, corruption reports                2.6.2, 3.1, 4.4
    shadow_reports.py     what masters hear that only look                                      5.1.3
    service.py            the gRPC servicer          server.py  wiring                          (top)

The files are described byte by byte in docs/formats/chunk.md.

What a loss of power may cost. A version, a creation, a copy, a removal are on stable storage before anybody is told.
Bytes are too with `durability = "fsync"`. With "replicated" a write is answered when every replica has it in the page
cache: it survives any number of killed processes, and the loss of power of all servers but one. A server that lost
power knows it (its machine was started anew since the headers were written), calls its replicas *unsure*, and serves
nobody from them until the master has compared them with others. If all servers lose power at once, the bytes that they
took in their last `writeback_seconds` may be gone, and never a chunk.
"""
