"""Maintenance: what the master does without being asked (GFS 4.3, 4.4).

    garbage.py          which hidden and which abandoned names are due                   4.4
    abandoned.py        files whose writers have gone                                    4.4
    reclaiming.py       the scan of names: both of these are forgotten                   4.4
    repair.py           the looks at chunks: deaths, clones, removals                    4.3
    salvaging.py        copies from disks that take no more writes                       4.3, 5.2
    draining.py         servers that leave                                               4.3

Each round makes a plan from what is known, applies it, and looks anew in the next.
"""
