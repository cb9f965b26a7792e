"""The protocol of replicas: the conversations that change a version, a lease or a replica's state (GFS 3.1, 4.5).

    raising.py          one procedure that raises a chunk's version on alike replicas    3.1, 4.5
    mending.py          replicas that hear what they missed
    settling.py         comparing replicas whose servers have lost power
    new_chunks.py       chunks that do not exist yet                                     3.1, 4.2
    moving.py           looks at all chunks for copies that should be elsewhere          2.5, 4.3
    first_writes.py     a chunk of its own for a file that shares one                    3.4
    granting.py         leases, and fences against old writers                           3.1
    snapshotting.py     a second copy of a tree, at once                                 3.4
    reporting.py        registrations, heartbeats, corruption reports                    2.6.2, 4.4, 5.2
    checking.py         an operator has replicas read and compared                       5.2
    admission.py        an operator lets a chunk go on with a replica that was put aside

All stand on `master/core.py`, where they meet: each holds a chunk's guard while it changes the chunk.
`docs/replicas.md` explains the protocol as a whole.
"""
