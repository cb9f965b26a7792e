"""The tree: memtables over SSTables, and the state of an open tablet (BT 5.3, 6).

    merge.py        fragments laid over one another; chunks of rows merged in bulk
    sorted_rows.py  row keys in order, which grow
    memtable.py     recent writes, sorted, copied on write
    sources.py      anything that gives sorted rows, and the cursor that merges them
    nearest.py      the few rows that a scan takes first
    backwards.py    the same, from the last row to the first
    scan_cache.py   what all SSTables together say about a row
    manifest.py     which files make up the tablet: one truth at each moment
    view.py         what a reader sees
    state.py        an open tablet's files and memory, and all that changes them: switch, mark and sweep

Everything is ordered by age, and only neighbours in age are merged. A change makes a new view in one step; readers of
the old one keep it.
"""
