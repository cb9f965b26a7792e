"""The files of tablets in GFS: the engine runs on them as it does on a local folder (BT 4, 5.3).

The problem. A tablet server may die at any moment, and another one must find the tablet's log and SSTables. On a local
disk they would be gone with the machine. In GFS they are on three machines, and none of them is the tablet server's.

The idea. The engine asks its `Storage` for little: create, append, sync, read at an offset, rename, list. All of it is
a call or two of the GFS client, and what GFS cannot do (cut a file, hold a lock) the engine can do without: a log that
ends in a doubt is followed by another segment, and owners are kept apart by tokens and by names.

    errors.py     what the file system said, in the words that the engine knows: definite stays definite
    files.py      one file: SSTables are written behind, a log's record is on every replica when `append` returns
    folders.py    a tablet's folder as a `Storage`, and the folder of folders
    closing.py    taking the log of a server that was given up out of its hands, before anybody reads it

Fencing. A server that was taken for dead may be paused, and write when it wakes up. Its *log* is taken away from it:
each file is moved to another folder, and GFS ends the leases of a file that is renamed (GFS 3.1). What it was told to
be written before that is read by the new owner; what comes later is refused, and the refusal is definite. So nobody
need look at a claim after each sync, as on a local folder (`docs/decisions/0030`). Its *manifests* are fenced by a
token that rises from owner to owner: the number of the next one is taken.

Invariants: (1) bytes that `append` to a log, or `sync` of another file, has returned for are on every replica; (2)
after `close_log` has returned, nothing is ever written to the files of that log; (3) an error is definite only if
nothing of what was asked for has happened.

What we simplify. A folder has no lock. Nothing is cached here: blocks are the engine's business.
"""
