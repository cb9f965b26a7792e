"""The world of processes, sockets and files.

    clock.py       the operating system's clock
    disk.py        a folder
    spreading.py   folders that lie apart on the disk
    aside.py       slow calls of the system in threads
    network.py     grpc.aio for control, TCP for bulk bytes
    carrier.py     streams of carried calls over grpc.aio
    reflection.py  what services a node has, for those who ask: on request
    event_file.py  the file its events go to, and back from it
    platter.py     stored bytes, for who damages them on purpose
    world.py       one process's world
    experiments/   the same for a node whose network and disk can be broken on purpose

Reads and writes of files go straight to the page cache and are done inline: a thread would cost more than it saves.
Only a sync, which may take long, leaves the loop.
"""
