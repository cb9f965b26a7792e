"""Names: asking the master, and remembering what it said (GFS 2.4, 2.7).

arguments.py          what callers may pass
identity.py           who a client is, and how its requests are numbered
locate.py             where the master of a cluster is
master_link.py        calls to the master, repeated until they are answered
location_cache.py     where chunks are, for a while                                         2.7.1
"""
