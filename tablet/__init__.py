"""The tablet: Bigtable's unit of storage, a log-structured merge tree that can be read in an afternoon.

A tablet maps (row, column, timestamp) to bytes, for a contiguous range of rows (BT 2, 4). Disks and replicated file
systems are good at appending and bad at changing; so a tablet never changes anything. A write is appended to a log and
kept in a sorted table in memory; when that is full it is written out as an immutable file, and such files are merged
now and then so that there are not too many. A read looks at all of them as if they were one. Everything else in this
room follows from making that quick, and from making it safe to die at any moment.

Read in this order:

    cells.py           the row fragment: one form for a mutation, a memtable row, a stored row (BT 2)
    schema.py          column families, which versions are garbage, locality groups (BT 2, 6)
    merge.py           fragments laid over one another; chunks of rows merged in bulk (5.3)
    memtable.py        recent writes, sorted, copied on write (5.3, 6)
    commit_log.py      what was promised, and how it is read back (5.3)
    sstable_format.py  the file, constant by constant (4)
    sstable_writer.py  chunks in, a file out        sstable_reader.py  one binary search, one block
    bloom.py           "certainly not here" (6)     caches.py          scan cache and block cache (6)
    sources.py         anything that gives sorted rows, and the cursor that merges them
    filters.py         what a read wants to see     reading.py         point reads and scans (5.3)
    compaction.py      which files to merge: pure plans; and the merging, in slices (5.4)
    quarantine.py      files that could not be read, which compactions leave alone
    manifest.py        which files make up the tablet: one truth at each moment
    state.py           an open tablet's files and memory, and all that changes them: mark and sweep (6)
    admission.py       what a mutation must be      writing.py         row lock, log, memtable
    housekeeping.py    flushes and compactions, in the background
    opening.py         manifest, indexes, replay    snapshots.py       clones
    engine.py          the asynchronous face        embedded.py        the synchronous one
    arguments.py       what programs hand to that   pace.py            and who does its background work
    storage.py         the little that is asked of the file system: a folder, or GFS
    inspection.py      the tree from outside         dumping.py         a file part by part
    verification.py    every byte of every file

Five lines to begin with:

>>> import tempfile, tablet.engine
>>> with tablet.engine.open(tempfile.mkdtemp()) as table:
...     table.create_family("page")
...     table.put("com.example/a", "page:title", "A")
...     table.put("com.example/b", "page:title", "B")
...     [(row.key, row.value("page:title")) for row in table.scan(prefix="com.example/")]
[(b'com.example/a', b'A'), (b'com.example/b', b'B')]

What we simplify. One log per tablet here, where the paper's servers share one among their tablets; the record has room
for the tablet's name. Block compression is one fast pass, without the paper's long common strings. The manifest is a
file where the paper has a METADATA row. A row must fit into memory, and there are no scripts within the server.
"""
