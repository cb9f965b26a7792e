"""What can be wrong with a network or a disk, as data: the same words in both worlds.

The problem. An exercise that is told in the simulated world and in the real one must mean the same by "delayed" and by
"full". The idea: the kinds of faults, how several of them combine, and how one of them ends are defined once, below
both worlds. Each world carries them out in its own way: the simulation in its fabric and its disks, the real world in
a thin layer around a node's own network and disk (runtime/real/experiments), which is there only in clusters that were
started for experiments.

    undo.py     faults are counted: the end of one ends no other
    links.py    what can be wrong with a way from one node to another, and the kinds of messages
    disk.py     what can be wrong with a disk, and what a hook sees of its work
"""
