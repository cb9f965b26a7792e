"""Mutation: one order of writes on all replicas (GFS 3.1, 3.3).

authority.py          whether an order is to be obeyed
push_buffer.py        pushed data that waits for its mutation: LRU by bytes                 3.1
tries.py              what clients have tried to write: each try once, or never             3.1
leases.py             leases that this server holds, as primary                             3.1
serial_order.py       whose turn it is                                                      3.1
appending.py          where a record goes, and when a chunk is padded                       3.3
mutations.py          writing and appending, as primary and as secondary                    3.1, 3.3
advancing.py          what the master orders about versions and leases                      3.1, 4.5
"""
