"""What every server stands on.

The problem. A distributed system is hard to teach because it cannot be repeated: the bug that a student saw depends on
the network, the scheduler and the disk of that second. The idea of this room is that a server never touches the
operating system. It asks its *world* for the time, for a connection, for a file, for a random number; and there are
two worlds. In the real one a node is a process and its bytes lie in files. In the simulated one a thousand nodes live
in one process, time jumps from event to event, and everything that can happen is decided by one seed.

    world.py       the interfaces: Clock, Disk, File, Network, ByteStream, World
    errors.py      one tree of errors, each definite or indefinite, and its table to gRPC codes
    events.py      typed events with cause ids and Lamport clocks
    guard.py       what stands before every servicer: token, bugs, words for a call without an answer
    carried/       unary calls as envelopes in one stream for each pair of peers
    rpc.py         channels and servers as generated code sees them: carried calls, and plain gRPC
    outbox.py      questions that come while calls are under way share the next one
    bulk.py        the headers and payloads of the bulk protocol (GFS 3.2)
    bulk_pool.py   connections for bulk bytes, kept for the next transfer
    locks.py       a read-write lock, first come, first served
    record_log.py  framed, checksummed records in a file: the master's operation log stands on it
    tasks.py       work that is done to its end though its caller is cancelled
    rewriting.py   bytes of an earlier process, written again because its sync may have failed
    settings.py    how settings are read, and refused by name
    faults/        what can be wrong with a network or a disk, for both worlds
    real/          the world of processes, sockets and files; real/experiments/ breaks them on purpose
    simulated/     the world of virtual time
    wire/          stubs generated from proto/

What we simplify. Both papers assume a data centre's own services for naming and monitoring. Here a node learns the
master's address from its configuration.
"""

import os

# Both are read when `grpc` is first imported, which no module of ours does before this one.
# The C core of gRPC reports every closed connection on standard error, which belongs to our own messages.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Its handlers of forks do not help grpc.aio, and crash the child while a stream is open; `gfs` refuses forked children.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
