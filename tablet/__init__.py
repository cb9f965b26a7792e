"""The tablet: Bigtable's unit of storage, as an engine, as a library for programs, and its tools.

    engine/     the engine by itself: a log-structured merge tree over a small storage interface (BT 4, 5.3, 5.4, 6)
    embedded/   the same for a program or a notebook: a folder, no event loop, no threads
    tools/      looking at a tablet from outside: the tree, a file part by part, every byte
    server/     the tablets of one server: one log, shared files, splits and merges (BT 5.2)

`embedded`, `tools` and `server` stand beside one another, on the engine. The master and the client of a Bigtable get
rooms of their own beside them.
"""
