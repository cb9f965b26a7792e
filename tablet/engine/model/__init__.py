"""The data model: (row, column, timestamp) to bytes (BT 2), and the one form that it takes everywhere.

    checks.py       what stands for bytes and timestamps, and the limits
    operations.py   what a mutation of a row can do
    fragments.py    the row fragment: what a log record, a memtable row and a stored row have in common
    labelled.py     an entry to which a filter has given a label
    mutations.py    from operations to a fragment; what deletion markers hide
    rows.py         what a read gives
    chunks.py       sorted runs of encoded rows, for bulk work
    schema.py       column families, version policies, locality groups
    schema_message.py   a schema as a message, for the manifest
    filters.py      what a read wants to see: the usual conditions
    filter_tree.py  filters that are put together from parts, as Cloud Bigtable's
    filter_steps.py such a tree as a function
    filter_program.py   what of a tree can be pushed down into the reading
    expressions.py  RE2 byte expressions
    ranges.py       sets of rows

Invariant: a fragment laid over an older one gives a fragment (`tree/merge.py`); nobody needs a sequence number per
cell.
"""
