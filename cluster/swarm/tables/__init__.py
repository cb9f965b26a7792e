"""The swarm's sibling for tables: a whole cluster with tablet servers, clients that read and write rows, and faults.

    ./scripts/swarm --tables --seeds 100

A seed draws a small cluster whose memtables, log segments and tablets are tiny, so that there are flushes, splits and
take-overs within seconds; clients that put, delete, read, scan and change rows under conditions; an operator who has
tablets moved, split, merged and compacted (`layout.py`, drawn from a stream of its own); and faults that kill, pause
and cut off tablet servers, tablet masters, chunkservers, the master and the lock service. Each write has a value of
its own, so every read says what it sees. Judged is:

    rows            is there an order of the operations on each row that explains every answer? (`judging.py`)
    one server      at no moment do two servers that hold their locks serve one row
    metadata        at every moment, as a client reads it, METADATA has every row of every table in exactly one tablet
    scans           the rows of a scan come in order, each once (`promises.py`)
    errors          a client is told errors that the library promises, and no others
    endless         no operation takes longer than its client's patience allows
    served again    half a minute after the faults have ended every tablet is served
    final reads     in the end every row can be read, and a row can be written
    leavings        in the end no log of a dead server is left, whole or in part
    files           in the end every file is there that a tablet refers to, and no other one
    snapshots       every restore of a snapshot shows the same, and in the end nothing is left of them (`snapshots.py`)
    invariants      what the servers know of themselves
    untyped error   a task failed with something that is none of our errors
"""
