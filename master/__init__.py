"""The master: one process that knows every name, every chunk and every server (GFS 2.4 to 4.5).

The problem. A thousand servers hold the pieces of a million files. Somebody must say which pieces make a file, where
they are, who orders the writes to each, and what to do when a server dies; and it must say the same after a crash.

The idea. One master decides all of this from memory, and stays out of the way of the data: clients ask it where, then
read from and write to chunkservers directly. What must survive a crash (names, the map from files to chunks, versions)
is in an operation log, flushed before any answer. What chunkservers know better (which replicas they hold, how long
those are) is never persisted: the master asks at start and listens to heartbeats afterwards.

Its floors, from the bottom up; each has an essay of its own:

    events.py       what the master records of itself                      settings.py   what can be tuned
    namespace/      names, what is deleted, policies, locks                              2.6.1, 4.1, 4.4
    chunks/         chunks, states of replicas, leases: the tables                       2.6.2, 3.1, 4.5
    log/            records, state, checkpoints, recovery                                2.6.3, 5.1.1
    balance/        where replicas go: racks, policies, plans                            2.5, 4.2, 4.3
    servers/        which servers live, and the calls to them                            2.4, 2.6.2
    core.py         what the conversations share: where they meet
    protocol/       conversations about chunks: versions, leases, new chunks, reports    3.1, 3.4, 4.5
    maintenance/    what is done without being asked: copies, removals, reclamation      4.3, 4.4
    serving/        what is asked: the gRPC servicers, status, metrics                   4.1, 5.3
    parts.py        all of this as a whole
    failover/       several masters, of which one acts                                   2.6.3, 5.1.3
    server.py       one master alone

`docs/replicas.md` explains the replica protocol, which most of these modules are parts of.

Rules of the room. Decisions (`plan_…`, `judge_…`) are pure and take `now` as an argument. The persistent state changes
in one way only: a record is committed to the log, then applied to the state, by the same code that replays the log.
What the master thinks of a replica changes in one way only: by a transition in the table of `replicas.py`. A chunk's
version rises in one way only: by `raising.py`. A master whose log has failed ends, and its next run replays the log.

What we simplify. Quotas and access rights do not exist. Deleted trees are counted in one go.
"""
