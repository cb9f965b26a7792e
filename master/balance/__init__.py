"""Balance: where replicas go, which are to leave, and what is to be copied (GFS 2.5, 4.2, 4.3).

    racks.py               racks and data centres: which sets of servers are safe        4.2
    placement.py           where new replicas go: the policy as a plug, and the paper's  4.2
    hashing.py             another policy: consistent hashing                            4.2
    placement_policies.py  both by name
    standing.py            how many replicas are wanted, and which are to leave          4.3
    heat.py                which chunks are read too much for their copies               2.5
    replication.py         what to clone, and where                                      4.3

Pure plans over a picture of the cluster. `master/protocol/moving.py` draws the picture, `master/maintenance/` carries
the plans out.
"""
