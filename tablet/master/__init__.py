"""The tablet master: it sees that each tablet is served by exactly one tablet server (BT 5.2).

The problem. Servers come, go, and are cut off. Somebody must notice, give their tablets to others, and must not give
one to two of them.

The idea. The master holds a lock, so there is one. It keeps nothing of its own: where tablets are, METADATA says; which
servers there are, the lock service's directory of servers; what each of them serves, the servers themselves. A new
master reads all of that and goes on. Nobody needs it to read or to write.

    settings.py    every number that the paper leaves open        events.py     what it tells
    plans.py       whom to give a tablet to: pure functions        servers.py    who is alive, and burying who is not
    assigning.py   one tablet: recover its logs, choose, write it down, give the order
    moving.py      moves, by order and to make servers even       compacting.py  compactions by order
    merging.py     merges, by order and of small neighbours       sweeping.py    files that no tablet refers to
    tables.py      making and deleting tables                     snapshots.py  snapshots of tables
    old_logs.py    removing logs that nobody needs                 tenure.py     the rounds of one tenure
    service.py     the gRPC face                                   server.py     wiring, the lock, start and stop

A round: look at the servers; see that the root tablet is served; read it, and see that the METADATA tablets are; read
those, and see that all others are. What takes long (sorting a log, loading a tablet) runs beside the rounds.

Who is dead? A server whose lock is free. The master takes that lock, so that the server cannot have it any more,
deletes the file, and gives its tablets away. A server that does not answer and has its lock is left alone: it is the
lock service that decides.

Invariants: (1) before anything is assigned, every server that holds its lock has said what it serves; (2) a tablet is
given to another server only after the lock of the one before was taken and the logs that may have mutations of it were
closed and sorted; (3) METADATA names the new server, and the log that the tablet will write to, before the order to
load goes out.

What we simplify. Locks are looked at once a round, and no watch is set.
"""
