"""Chunkservers: which there are, who is alive, and the calls to them (GFS 2.4, 2.6.2, 4.4).

servers.py          which chunkservers there are, and which are alive                2.4, 4.4
attention.py        for how long the master has been listening                       2.6.2
safe_mode.py        when copies and removals are not ordered                         2.6.2
pauses.py           how long to wait before something that failed is tried again
deadlines.py        how long each server may take to do what needs its disk
chunkservers.py     the calls to chunkservers, many chunks in one
"""
