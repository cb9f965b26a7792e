"""The data model: (row, column, timestamp) to bytes (BT 2), and the one form that it takes everywhere.

    checks.py       what stands for bytes and timestamps, and the limits
    operations.py   what a mutation of a row can do
    fragments.py    the row fragment: what a log record, a memtable row and a stored row have in common
    mutations.py    from operations to a fragment; what deletion markers hide
    rows.py         what a read gives
    chunks.py       sorted runs of encoded rows, for bulk work
    schema.py       column families, version policies, locality groups
    filters.py      what a read wants to see

Invariant: a fragment laid over an older one gives a fragment (`tree/merge.py`); nobody needs a sequence number per
cell.
"""
