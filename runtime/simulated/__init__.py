"""The world of virtual time: a thousand nodes in one process, decided by one seed.

    tape.py      where every choice comes from
    loop.py      an asyncio event loop whose clock jumps to the next timer; lives of nodes
    fabric.py    hops between nodes, and what can happen to them
    messages.py  what a hook sees of a message, and may do to it
    traffic.py   all messages of a simulation, as a watcher sees them
    carrier.py   streams of carried calls: the ends are those of runtime/carried
    rpc.py       plain gRPC (rpc_server.py): calls that stream, and those of strangers
    streams.py   bulk byte streams that share bandwidth
    cards.py     network cards, and what comes of several streams that want one (distances.py: racks, data centres)
    disk.py      files that lose what was not synced (disk_file.py, disk_image.py)
    page_cache.py, shared_pages.py    for large simulations: what needs no platter; equal pages kept once
    network.py   one node's network
    world.py     the simulation as a whole: nodes, faults, events

The faults that are permitted, in this world:

    kill             nothing of the process runs any more; its machine closes its connections and refuses new ones
    power cut        a kill that nobody is told of: silence until the restart; unsynced sectors are lost, kept or torn,
                     unsynced names lost
    reset            the streams of calls between two nodes break, though both live
    pause, resume    the process stands still, its machine accepts what comes
    partition        two-way, one-way, or one node from all others; bulk streams survive a short one, as TCP does
    links            delay, jitter (and so reordering), loss, duplication, flipped bits of bulk streams, each one-way; a
                     slow node; whatever a hook decides about a single message
    clock            runs fast or slow, shows a wrong wall time
    disk             bit rot and torn bytes at a path and offset; errors below a path or at an offset of it, also of
                     opening and listing; full, slow, or erased; syncs that say they were done and were not, or forget
                     what they failed to write; writes that land nowhere or elsewhere

What is not simulated. Memory that flips, and nodes that lie. Calls take latency and no bandwidth; work takes no time
but what `breathe` and `in_background` charge by convention, and that stops the task that does it, not its whole node.
What asyncio itself times (`asyncio.timeout`) follows the true time and not the node's clock.
"""
