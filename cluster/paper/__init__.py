"""The measurements of the GFS paper, made again: the same servers, on a simulation of the paper's machines (GFS 6).

The problem. "Our code is a GFS" is a claim; the paper has numbers that it can be held against. But nobody has its
machines: nineteen of them on two switches of 100 Mbps, or hundreds in a data centre. The idea: the servers'
code is run unmodified in the simulated world, where a network card carries 12.5 MB/s because it is told to. What comes
out is what our code makes of the paper's hardware.

    printed.py       what the paper says, as data
    machines.py      what the paper ran on, as a simulation
    throughput.py    6.1, Figure 3: reads, writes and record appends, by 1 to 16 clients
    comparing.py     ours beside the paper's, and whether it is within its bar: pure
    drawing.py       the figure, as SVG
    metadata.py      6.2.1, Table 2: bytes of metadata at the master and at chunkservers
    recovery.py      6.2.5: one chunkserver of 227 dies, then two at once
    drawing_recovery.py   how many chunks were below their goal, as SVG

    tabletop paper gfs-figure-3
    tabletop paper gfs-table-2
    tabletop paper gfs-recovery

Honesty. A free number may be chosen by the paper's measurement at *one* client, where there is no contention: what the
software of a client and its servers costs for each operation. All that happens with more clients has to come out of
the model: cards and a link that are shared, replicas that lie on the same server, disks. docs/paper-figures.md has the
results, and says what is simplified.
"""
