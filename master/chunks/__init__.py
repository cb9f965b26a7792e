"""Chunks: the tables that say what the master thinks of each of them (GFS 2.6.2, 3.1, 3.4, 4.5).

    sharing.py          which files share a chunk, since a snapshot                      3.4
    chunk_table.py      handle to version, members, goal, length                         2.6.2, 4.5
    replicas.py         THE table of replica states, and their legal transitions         3.1, 4.3 to 4.5
    judging.py          what a report says of a replica; which replicas are alike        4.4, 4.5
    leases.py           who is primary for a chunk, until when                           3.1

Pure data: `now` is an argument, nothing waits. `master/protocol/` holds the conversations that change these tables.
"""
