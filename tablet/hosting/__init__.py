"""A tablet server: it serves the tablets that the tablet master gives to it, for as long as it holds its lock (BT 5.2,
5.3).

The problem. A server may be cut off, and not know it, while its tablets are given to others. Two servers that answer
for one tablet would give two answers.

The idea. A server has a session with the lock service and holds the lock of a file of its own in the directory of
servers. It serves while the session is SAFE by its own clock, which ends before the service gives the lock to anybody
else. What is read is read, and then the session is looked at once more, before the answer goes out.

From its session to the end of it, a server has one *life*, with a name of its own (`ts1-17`), a log of its own in GFS,
and no tablet. When the session is over, all of that is dropped, and another life begins. A life's name is never used
again, so nobody mistakes one for another.

    settings.py    every number that the paper leaves open
    events.py      what it tells
    life.py        one life: session, lock, log, the tablets it has loaded
    splitting.py   making two tablets of one, and saying so in METADATA       merging.py    one of two
    snapshotting.py   putting tablets into a snapshot of their table
    orders.py      whose orders count: the generation of the master's lock
    service.py     the gRPC face       server.py   wiring, start and stop

Writes are fenced by the log, which is taken away from a life that is over (`tablet/storage/closing.py`): a write that
GFS has acknowledged is read by the tablet's next server. Reads are fenced by the session.

What we simplify. The paper's server tries to get its lock back while its file is there; ours begins a new life. A
table's families are given when it is created.
"""
