"""The chunkserver: keeps chunks as files, checks every byte it gives out, and takes part in writing (GFS 2.4, 3, 5.2).

The problem. Disks rot, processes die in the middle of a write, and several clients write to one chunk at once. Readers
must never get wrong bytes, replicas must apply the same mutations in the same order, and none of this may be slow.

The idea. A chunk is an ordinary file of nothing but its bytes, so that the kernel can send it. Beside it stands a
small file of checksums, one for each 64 KiB, which is written *before* the data: after a crash the two files say
together whether the interrupted write was done, undone, or left a damaged block. Versions, by which the master
recognises replicas that missed a mutation, are in one log for all chunks. The primary of a chunk numbers the mutations;
everybody applies them in that order. Bulk data comes ahead of the mutation on a path of its own.

    settings.py         what can be tuned                                                       (bottom)
    events.py           what a chunkserver records of itself
    blocks.py           64 KiB blocks and their CRC32C; which blocks a write touches            5.2
    checksum_file.py    the checksums of one chunk as a file, and what it says after a crash    5.2
    holdings.py         the log of the replicas held, with their versions                       4.5
    chunk_files.py      one chunk's two files: verified reads, checked writes                   5.2
    chunk_store.py      all chunks on this disk                                                 4.5
    push_buffer.py      pushed data that waits for its mutation: LRU by bytes                   3.1
    leases.py           leases that this server holds, as primary                               3.1
    serial_order.py     whose turn it is                                                        3.1
    mutations.py        writing, as primary and as secondary                                    3.1
    links.py            bulk connections to other chunkservers
    data_flow.py        pushes forwarded while they arrive; reads verified, then sent           3.2, 5.2
    cloning.py          copying a chunk from another server                                     4.3
    scrubber.py         idle verification                                                       5.2
    flusher.py          what was written lately, brought to stable storage
    heartbeats.py       registration, heartbeats, corruption reports                            2.6.2, 3.1, 4.4
    service.py          the gRPC servicer          server.py  wiring                            (top)

What we simplify. No record append and no snapshots yet (3.3, 3.4). With `durability = "replicated"` a write is answered
when every replica has it in the page cache: it survives any number of killed processes, and the power cut of all
replicas at once may lose the last seconds. The power cut of one server may take its replica back by those seconds;
where checksums and data do not fit together afterwards, this is noticed. `durability = "fsync"` has neither weakness.
"""
