"""The chunkserver: keeps replicas of chunks, and sees that they stay alike and stay whole (GFS 2.3, 3, 5.2).

The problem. Several servers hold a copy of each chunk, many clients write to it at once, any of the servers may die at
any point, and disks change bytes without telling. Still every replica must end up with the same mutations in the same
order, and no reader may ever get a byte that was not written.

The idea. Data and control take different ways. Bytes are pushed along a chain of servers into a buffer, where they mean
nothing yet. Then the client names them to the *primary*, the server that holds the master's lease for the chunk. The
primary gives each mutation a serial number and has every replica apply them in that order. Each 64 KB block has a
checksum apart from it, compared before any byte leaves. A server does not know what its chunks are for: the master
tells it what to create, at which version, and what to delete.

    blocks.py         64 KB blocks and their checksums                              5.2     (bottom)
    chunk_format.py   the metadata file of a chunk, as bytes                        5.2
    chunk_files.py    where the files are, which of them are open
    chunk_lock.py     one writer or many readers
    settling.py       what an interrupted overwrite left behind
    chunk_store.py    create, raise the version, write, read verified, delete       2.5, 4.5, 5.2
    opening.py        what is on disk at start; the format of the folder            5.1.1
    push_buffer.py    the LRU buffer of pushed data                                 3.1 step 3
    leases.py         for which chunks this server is primary                       3.1
    serial_order.py   who may apply which serial number now                         3.1 step 5
    mutations.py      the primary's and the secondaries' part of a write            3.1 steps 4 to 7
    advancing.py      what the master tells of versions and leases                  3.1, 4.5
    bulk_links.py     connections to other chunkservers
    data_flow.py      pushes down the chain, reads                                  3.2, 5.2
    cloning.py        copies from another server                                    4.3
    scrubber.py       verification when idle                                        5.2
    heartbeats.py     registration, heartbeats, garbage, corruption reports         2.6.2, 3.1, 4.4
    service.py        the gRPC servicer     server.py  wiring                                (top)

What an answer means. A write is answered when every replica has applied it. With durability "replicated" that means: in
every replica's operating system, so that it survives the death of all processes, but not a power cut of all machines;
with "fsync": on every replica's disk. `MutationFailed` says that some replicas may have applied it.

What we simplify. There is no record append and no copy-on-write of snapshots yet (3.3, 3.4). Chunks lie in one folder
of one disk. Distances between servers are the client's business.
"""
