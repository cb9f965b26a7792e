"""The chunkserver: keeps replicas of chunks, and sees that they stay alike and stay whole (GFS 2.4, 3, 5.2).

The problem. Disks rot, processes die in the middle of a write, and several clients write to one chunk at once. Readers
must never get wrong bytes, replicas must apply the same mutations in the same order, and none of this may be slow.

The idea. Data and control take different ways. Bytes are pushed along a chain of servers into a buffer, where they mean
nothing yet. Then the client names them to the *primary*, the server that holds the master's lease for the chunk; it
numbers the mutations, and everybody applies them in that order. A chunk is an ordinary file of nothing but its bytes,
so that the kernel can send it; beside it stands a small file with its version, its length and a checksum for each
64 KiB, by which every byte is verified before it leaves, and by which an interrupted write is recognised. A server does
not know what its chunks are for: the master tells it what to create, at which version, and what to delete.

Its floors, from the bottom up; each has an essay of its own:

    settings.py        what can be tuned                events.py   what a chunkserver records of itself
    storage/           chunks as files, verified block by block; identity, opening, scrubbing   2.5, 4.5, 5.1.1, 5.2
    mutation/          leases, serial order, writes, record appends, versions                   3.1, 3.3
    transfer/          pushes along a chain, reads, copies                                      3.2, 3.4, 4.3, 5.2
    heartbeats.py      registration, heartbeats, removals, corruption reports                   2.6.2, 3.1, 4.4
    shadow_reports.py  what masters hear that only look                                         5.1.3
    service.py         the gRPC servicer                server.py   wiring

The files are described byte by byte in docs/formats/chunk.md.

What a loss of power may cost. A version, a creation, a copy, a removal are on stable storage before anybody is told.
Bytes are too with `durability = "fsync"`. With "replicated" a write is answered when every replica has it in the page
cache: it survives any number of killed processes, and the loss of power of all servers but one. A server that lost
power knows it (its machine was started anew since the headers were written), calls its replicas *unsure*, and serves
nobody from them until the master has compared them with others. If all servers lose power at once, the bytes that they
took in their last `writeback_seconds` may be gone, and never a chunk.
"""
