"""A real node whose network and disk can be broken on purpose, without root and without containers.

The problem. A partition of real machines is made with firewalls, a full disk with a small partition, a read error with
a kernel module: nothing that a student may do on a shared machine. The idea: a node's own network and disk are asked
first. In a cluster that was started for experiments a node's world is an `ExperimentalWorld`: the same channels,
streams and files, each with a thin layer that looks into a table of imposed faults (runtime/faults/table.py) and
delays, drops, refuses or damages. Servers notice nothing. The nodes of every other cluster do not even import it.

    world.py      the world, put together
    links.py      unary calls: envelopes that are lost, late, doubled, or overtake one another
    streams.py    bulk streams: late, stalled, with flipped bits
    network.py    one node's network out of these, and calls with streams
    disk.py       files that fail, fill up, tire, or lie about their syncs
    unsynced.py   what a lying sync has not written, and how it gets lost
    switch.py     the service that tells a node to look at the table anew

Who carries out what. A message between two nodes of the cluster is judged by the one that sends it, in both directions
of a connection; a message from a client, which is no node, is judged by the node that receives it. So each message is
judged once, and one-way faults are one-way.

What we simplify. Connections are made and broken through a partition: who dies behind one is noticed at once, as its
machine would not be. A stream of calls through which nothing passes for STALL_SECONDS breaks at its sender, as in the
simulated world. A disk's reads and writes by other programs are not touched.
"""
