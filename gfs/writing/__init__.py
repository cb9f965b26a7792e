"""Writing: from bytes to mutations on all replicas (GFS 3.1, 3.3).

writing.py            push along the chain, then write through the primary                  3.1, 3.2
appending.py          append a record, in the next chunk if it does not fit                 3.3
write_behind.py       small writes gathered into larger ones
"""
