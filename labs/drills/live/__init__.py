"""Drills on a cluster of real processes. What was done is in the cluster's own records, and in its file of faults.

common.py        settings, kinds of records, what several drills look up
writing.py       a primary dies; records are doubled; two primaries         GFS 3.1, 3.3
storing.py       rot; stale replicas; a cluster grows                       GFS 4.2, 4.3, 4.5, 5.2
naming.py        snapshots; the trash; masters fail over                    GFS 3.4, 4.4, 5.1.3
"""
