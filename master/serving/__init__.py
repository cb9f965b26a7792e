"""Serving: what clients, chunkservers and operators ask of the master.

once.py             doing each named request once
creating.py         new files, many in a call                                        4.1
trash.py            what operators ask about deletions, and policies                 4.3, 4.4
snapshots.py        what snapshots there are of a file or a tree                     3.4
status.py           what the master knows, for people
measures.py         figures for metrics                                              5.3
service.py          the gRPC servicers
"""
