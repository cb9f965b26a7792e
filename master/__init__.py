"""The master: one process that knows every name, every chunk and every server (GFS 2.4 to 4.5).

The problem. A thousand servers hold the pieces of a million files. Somebody must say which pieces make a file, where
they are, who orders the writes to each, and what to do when a server dies; and it must say the same after a crash.

The idea. One master decides all of this from memory, and stays out of the way of the data: clients ask it where, then
read from and write to chunkservers directly. What must survive a crash (names, the map from files to chunks, versions)
is in an operation log, flushed before any answer. What chunkservers know better (which replicas they hold, how long
those are) is never persisted: the master asks at start and listens to heartbeats afterwards.

    paths.py            what a legal path is                                             (bottom)
    prefix_table.py     a sorted table with prefix compression: memory and checkpoint    2.6.1, 2.6.3
    namespace.py        files and directories by full path                               2.6.1, 4.1
    namespace_locks.py  read and write locks on paths                                    4.1
    chunk_table.py      handle to version, goal, replicas, length                        2.6.2, 4.5
    servers.py          which chunkservers there are, and which are alive                2.4, 4.4
    leases.py           who is primary for a chunk, until when                           3.1
    placement.py        where new replicas go                                            4.2
    replication.py      what to clone and what to remove                                 4.3
    garbage.py          which reported replicas are wanted, which hidden names are due   4.4, 4.5
    records.py          what the operation log says                                      2.6.3
    state.py            all persistent state, changed by records and by nothing else     2.6.3
    checkpoint.py       the state as a file                                              2.6.3
    operation_log.py    log, checkpoints, recovery                                       2.6.3, 5.1.1
    chunkservers.py     the calls to chunkservers, many chunks in one
    granting.py         new chunks and leases: the protocol around leases.py             3.1, 4.5
    reporting.py        registrations, heartbeats, corruption reports                    2.6.2, 4.4, 5.2
    repair.py           background work: deaths, clones, removals, reclamation           4.3, 4.4
    service.py          the gRPC servicers          server.py  wiring                    (top)

Rules of the room. Decisions (`plan_…`, `judge_…`) are pure and take `now` as an argument. The persistent state changes
in one way only: a record is committed to the log, then applied to the state, by the same code that replays the log.

What we simplify. There are no snapshots of files yet (3.4), no rebalancing of disk use (4.3), no remote log replicas
and no shadow masters (5.1.3). Quotas and access rights do not exist. Deleted trees are counted in one go.
"""
