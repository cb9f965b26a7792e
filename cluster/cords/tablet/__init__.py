"""One fault in one block of a tablet's folder: the matrix of the tablet engine.

A tablet in a folder has one copy of everything. So what a block held may be gone for good, and no reader can be given
it. What remains to be asked is what the paper asks of each of its systems: is the damage noticed, or is a wrong answer
given? Is anything lost that lies elsewhere? Can the tablet still be opened, read and written?

    image.py   the folder with which every run begins, and where the parts of its SSTables lie
    ledger.py  what was acknowledged, and the comparison with what is answered
    work.py    the workloads: put, get, scan, compaction; reopening is one by itself
    run.py     one run

The bar. No wrong answer, no acknowledged row that is gone without a word, and no end without an answer. The rows of a
damaged block are refused, with the file and the offset; every other row is served, also those beside them. `get` counts
as failed for the rows of the struck block alone: a row of another block that is refused makes the tablet "unavailable".

Two tablets are struck. The first one was killed, and each of its writes had been synced before it was acknowledged. The
second one does not sync, and was closed in good order: what it had acknowledged is durable as well.
"""
