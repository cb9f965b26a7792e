"""The world of virtual time: a thousand nodes in one process, decided by one seed.

    tape.py      where every choice comes from
    loop.py      an asyncio event loop whose clock jumps to the next timer; lives of nodes
    fabric.py    hops between nodes, and what can happen to them
    rpc.py       gRPC channels and servers, under which generated stubs run unmodified
    streams.py   bulk byte streams that share bandwidth
    disk.py      files that lose what was not synced
    network.py   one node's network
    world.py     the simulation as a whole: nodes, faults, events

The faults that are permitted, in this world: kill, stop and restart; pause and resume; power cut (unsynced sectors
lost, kept or torn; unsynced names lost); partition, one-way partition, isolation; delay, jitter (and so reordering),
loss and duplication on any one-way link; a slow node; a clock that drifts or shows a wrong wall time; bit rot at a
path and offset; read, write and sync errors below a path; a full disk; a slow disk; an erased disk.

What is not simulated. Memory that flips, nodes that lie, and an `fsync` that says it synced and did not.
"""
