"""The master: one process that knows every name, every chunk and every server (GFS 2.4 to 4.5).

The problem. A thousand servers hold the pieces of a million files. Somebody must say which pieces make a file, where
they are, who orders the writes to each, and what to do when a server dies; and it must say the same after a crash.

The idea. One master decides all of this from memory, and stays out of the way of the data: clients ask it where, then
read from and write to chunkservers directly. What must survive a crash (names, the map from files to chunks, versions)
is in an operation log, flushed before any answer. What chunkservers know better (which replicas they hold, how long
those are) is never persisted: the master asks at start and listens to heartbeats afterwards.

    paths.py            what a legal path is                                             (bottom)
    prefix_table.py     a sorted table with prefix compression: memory and checkpoint    2.6.1, 2.6.3
    namespace.py        files and directories by full path, and their identity           2.6.1, 4.1
    namespace_locks.py  read and write locks on paths                                    4.1
    sharing.py          the files of chunks that have more than one                      3.4
    chunk_table.py      handle to version, members, goal, replicas, length               2.6.2, 4.5
    replicas.py         THE table of replica states, and their legal transitions         3.1, 4.3 to 4.5
    judging.py          what a report says of a replica; which replicas are alike        4.4, 4.5
    servers.py          which chunkservers there are, and which are alive                2.4, 4.4
    attention.py        for how long the master has been listening                       2.6.2
    safe_mode.py        when copies and removals are not ordered                         2.6.2
    leases.py           who is primary for a chunk, until when                           3.1
    deadlines.py        how long each server may take to do what needs its disk
    racks.py            racks and data centres: which sets of servers are safe           4.2
    placement.py        where new replicas go: the policy as a plug, and the paper's     4.2
    hashing.py          another policy: consistent hashing; placement_policies.py has both  4.2
    replication.py      what to clone, and where                                         4.3
    hidden_names.py     where deleted entries live: when, for how long, from where       4.4
    policies.py         goals and trash times of whole trees                             4.3, 4.4
    standing.py         how many replicas are wanted, and which are to leave             4.3
    heat.py             which chunks are read too much for their copies                  2.5
    garbage.py          which hidden and which abandoned names are due                   4.4
    requests.py         the answers to requests that clients may repeat
    records.py          what the operation log says                                      2.6.3
    state.py            all persistent state, changed by records and by nothing else     2.6.3
    checkpoint.py       the state as a file                                              2.6.3
    operation_log.py    log, checkpoints, recovery                                       2.6.3, 5.1.1
    chunkservers.py     the calls to chunkservers, many chunks in one
    raising.py          one procedure that raises a chunk's version on alike replicas    3.1, 4.5
    settling.py         comparing replicas whose servers have lost power
    moving.py           looks at all chunks for copies that should be elsewhere          2.5, 4.3
    draining.py         servers that leave                                               4.3
    new_chunks.py       chunks that do not exist yet                                     3.1, 4.2
    creating.py         new files, many in a call
    first_writes.py     a chunk of its own for a file that shares one                    3.4
    granting.py         leases, and fences against old writers                           3.1
    snapshotting.py     a second copy of a tree, at once                                 3.4
    reporting.py        registrations, heartbeats, corruption reports                    2.6.2, 4.4, 5.2
    trash.py            what operators ask about deletions, and policies                 4.3, 4.4
    repair.py           background work on chunks: deaths, clones, removals              4.3
    reclaiming.py       background work on names: deleted and abandoned ones             4.4
    checking.py         an operator has replicas read and compared                       5.2
    admission.py        an operator lets a chunk go on with a replica that was put aside
    measures.py         figures for monitoring                                           5.3
    once.py             doing each named request once
    service.py          the gRPC servicers          parts.py  what a master is made of
    server.py           one master alone

Several masters (`docs/masters.md`):

    agreement.py        how far two logs agree                                           5.1.3
    mastership.py       the lock, and the charter: who acts, who is in sync              5.1.3
    following.py        a shadow's log          log_supply.py  what it is supplied from  2.6.3
    shipping.py         the log on its way, and what is confirmed                        2.6.3
    sightings.py        where replicas are, as a shadow is told
    shadow.py           what a shadow answers, and how old it may be                     5.1.3
    replicated.py       shadow or acting: taking over, standing down                     (top)

`docs/replicas.md` explains the replica protocol, which most of these modules are parts of.

Rules of the room. Decisions (`plan_…`, `judge_…`) are pure and take `now` as an argument. The persistent state changes
in one way only: a record is committed to the log, then applied to the state, by the same code that replays the log.
What the master thinks of a replica changes in one way only: by a transition in the table of `replicas.py`. A chunk's
version rises in one way only: by `raising.py`. A master whose log has failed ends, and its next run replays the log.

What we simplify. There are no snapshots of files yet (3.4) and no rebalancing of disk use (4.3). Quotas and access
rights do not exist. Deleted trees are counted in one go.
What we simplify. There are no remote log replicas and no shadow masters (5.1.3). Quotas and access rights do not exist.
Deleted trees are counted in one go.
"""
