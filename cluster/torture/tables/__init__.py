"""The torture of tables: the same faults, and tablet servers, tablet masters and the lock service are struck, too.

Four clients put, write, count, append, delete, read and scan rows that they share, change them under conditions, and
split, merge and compact tablets, through `tablet.client`. What is asked for, noted and judged is the swarm's
(`cluster/swarm/tables`): for each row there must be an order of all operations on it that explains every answer. So
that this can be found out, a row is worked on for a while only; then others take its place, all over the key space. Old
rows are still scanned.

    workload.py    one client                trouble.py    the faults that strike the nodes of tables
    judging.py     the end

In the end, when everything is healed: every tablet is served, METADATA has each row in one tablet, every row is read,
one scan of the whole table has each row once and in order, and the histories of the rows are judged. No log of a dead
server is left. The table is deleted, and then nothing of it is left in the file system.

What we simplify. Stored bytes of the replicas are not compared: where a write of a log has failed, replicas may differ
(GFS Table 1), and nobody reads there.
"""
