"""The tablets of one server: many of them, on one log, in one folder, sharing files after splits (BT 5.2, 5.3, 6).

The problem. A tablet grows, and has to become two; two that have shrunk should be one. Copying their files would take
minutes in which they serve nobody. And a crash must find either the tablets before or those after, never both, never
neither.

The idea. SSTables are immutable, so tablets may share them: each tablet of a split refers to the files of the tablet
before, clipped to its own rows (`reshaping.py` makes such manifests, as pure functions). One small file, the
*catalogue*, says which tablets are alive (`catalogue.py`). A split or a merge prepares the new tablets aside, in
folders that nobody names, and then switches the catalogue, in one step (`tablets.py`). A file is removed when no live
tablet refers to it, whoever wrote it (`sweeping.py`).

    ROOT/catalogue-000007      which tablets are alive
    ROOT/log/                  the log that they share
    ROOT/users-000003/         a tablet: its manifest, the SSTables that it wrote, which others may refer to

Invariants: (1) the live tablets of a table have no row in common; (2) a split or a merge leaves the rows that they hold
together as they are; (3) a tablet's name is never given twice; (4) a live tablet refers only to files that are there.

What we simplify. The catalogue stands for the METADATA table, and is one server's. Both sides of a split stay with the
server. Tablets with different snapshots are not merged. Writes to a tablet that is being split or merged are refused
for the moment that it takes; who wrote asks again.
"""
