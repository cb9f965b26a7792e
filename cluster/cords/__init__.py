"""CORDS on ourselves: one fault in one block of one node, for every block there is.

The problem. A system that keeps three copies is said to survive the loss of any one. Ganesan et al. ("Redundancy Does
Not Imply Fault Tolerance", FAST 2017) took eight such systems, let a single block of a single node rot or fail, and
found lost data, wrong answers and clusters that stood still in all of them: copies help only if somebody notices that
one is bad, asks another, and does not take the damage for something else. Random tests seldom come upon such a block
at the moment at which it matters. So do it systematically.

The idea, as in their framework CORDS. A cluster works for a while, without any fault, and is ended: its disks are the
image with which every run begins. The disk of each kind of node is walked, so that every block of every structure is
known. Then each block gets each fault (zeros, garbage, an error of reading, an error of writing, no space) under each
workload (read, write, record append, changes of names, a restart), in a small run of its own in the simulated world.
Somebody who sees everything judges: what did the node do, and what came of it for everybody?

    terms.py        workloads, faults, local behaviours and global effects: the paper's words
    structures.py   which files a node has; one that no row claims is an error
    image.py        the disks that every run begins with
    striking.py     one fault in one block, and who comes upon it
    work.py         the workloads                      ledger.py     what was acknowledged and answered meanwhile
    run.py          one run                            observing.py  what is seen of it
    classify.py     from that to the paper's words: pure functions
    explained.py    why some cells are not "correct", each by name
    tablet/         the same for one tablet in a folder
    subjects.py     both, for those who run cells
    matrix.py       all runs, grouped                  picture.py    as a picture

The bar. No cell has silent corruption, or has lost what was acknowledged; those are never explained. Whatever else is
not "correct" is explained by name, and a test fails for a cell that is not, and for an explanation that explains
nothing.

A run is the same as one without a fault, event for event, until somebody comes upon the block. So one sound run for
each node and workload, with a list of what its disk was asked for, tells which cells need no run of their own.

What we simplify. A fault belongs to a place in a file of one name, as in CORDS: a file that is written anew under
another name is sound. The faults of names (a folder that cannot be listed, a rename that fails) are left to the
swarm. Each cell is one run with one seed: the swarm is for the others.
"""
