"""The world of virtual time: a thousand nodes in one process, decided by one seed.

    tape.py      where every choice comes from
    loop.py      an asyncio event loop whose clock jumps to the next timer; lives of nodes
    fabric.py    hops between nodes, and what can happen to them
    rpc.py       gRPC channels and servers, under which generated stubs run unmodified
    streams.py   bulk byte streams that share bandwidth
    disk.py      files that lose what was not synced
    network.py   one node's network
    world.py     the simulation as a whole: nodes, faults, events

The faults that are permitted, in this world:

    kill             nothing of the process runs any more; its machine closes its connections and refuses new ones
    power cut        a kill that nobody is told of: silence until the restart; unsynced sectors are lost, kept or torn,
                     unsynced names lost
    pause, resume    the process stands still, its machine accepts what comes
    partition        two-way, one-way, or one node from all others; bulk streams survive a short one, as TCP does
    links            delay, jitter (and so reordering), loss, duplication, each one-way; a slow node
    clock            runs fast or slow, shows a wrong wall time
    disk             bit rot at a path and offset; errors below a path or at an offset of it; full, slow, or erased;
                     syncs that say they were done and were not

What is not simulated. Memory that flips, and nodes that lie. Calls take latency and no bandwidth; work takes no time
but what `breathe` and `in_background` charge by convention, and that stops the task that does it, not its whole node.
What asyncio itself times (`asyncio.timeout`) follows the true time and not the node's clock.
"""
