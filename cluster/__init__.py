"""A whole cluster as one object, in both worlds.

The problem. Tests, demonstrations and exercises start clusters, break them and judge them. They should not care whether
the nodes are processes on this machine or objects in a simulation. The idea: one interface, `Cluster`, and two makers
of it. What is told over the interface is told in both worlds.

    interface.py    the interface: nodes, status, client, faults; waiting for a condition
    settings.py     what a cluster is set up with, and what can never work
    roles.py        from the cluster's settings to each node's           servers.py    and to a server on any world
    real.py         a cluster of processes        folder.py     its files
                                                  processes.py  its processes
                                                  program.py    one node as a program
    simulated.py    a cluster in a simulation
    faults.py       faults that need to know how servers store things
    checkers.py     what a cluster is judged with
    fault_log.py    what people did to a real cluster on purpose
    torture/        minutes of faults on real processes, and a judgement
    cords/          one fault in one block of one node, for every block, and what comes of it
    swarm/          random work under random faults in simulations, and judges
    scenarios/      fault drills as programs over a cluster, judged by what they recorded; sweeps
    timeline/       a run as a picture: a page for a browser, or a file for other tools

What we simplify. All processes run on this machine, under one account. A cluster is set up once: its settings and its
number of chunkservers do not change afterwards.
"""
