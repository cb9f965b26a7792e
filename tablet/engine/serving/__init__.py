"""Serving: how a tablet is opened, read and written (BT 5.3).

opening.py          manifest, indexes, replay
reading.py          point reads over a view
scanning.py         scans in both directions, over several ranges
admission.py        what a mutation must be, and the time it is given
row_locks.py        one mutation of a row at a time
writing.py          log, then memtable, in the log's order; the gate at which writes wait while the log changes
atomic_changes.py   read, decide, write, as one step
"""
