"""Torture: real processes are killed, paused and damaged for minutes, while clients remember what they were promised.

The problem. The simulated world is a model: of the kernel, of TCP, of gRPC, of Python's own event loop. What it models
wrongly, no simulated test finds. The idea: the same promises are tried on real processes. Several clients change files
of their own and remember every acknowledged change; a second task ends, freezes and restarts nodes and flips bits in
stored blocks. Each read is judged when it is answered. In the end all faults are healed, and every file is compared
byte for byte, every replica with its fellows.

    payload.py    bytes that say which operation wrote them     contents.py   what a file may hold
    names.py      which file may be under which name            history.py    what happened, and what was found wrong
    workload.py   one client                                    trouble.py    the faults
    records.py    the file to which all clients append records
    files.py      the clients together                          run.py        all of it in order
    judging.py    the end                                       resting.py    what every run must come to in the end
    tables/       the same with tables: rows in place of files, and tablet servers among the victims

Rules of the faults:

1. No disk is lost, and there is no power cut: a killed process leaves its page cache, so no acknowledged byte may be
   lost in either durability.
2. Bits rot in at most one replica of a chunk at a time, only while that chunk is at its goal, and no chunkserver is
   taken out before the damage was replaced. Otherwise the damaged replica could become the only current one.

What we simplify. A file belongs to one client, so its changes have one order; only one file takes records of all. The
seed decides what is asked for and which faults strike in which order; what happens at the same moment is up to the
operating system.
"""
