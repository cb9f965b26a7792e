"""The embedded tablet: one tablet in a folder, for a program, a test or a notebook.

The engine is written as coroutines, because servers are. A program that stores a row a microsecond must not pay for an
event loop, and a notebook has one running already. Files of the local disk never make anybody wait, so the engine's
coroutines run to their end at the first step, but for the pauses between two slices of background work.

    inline.py      the engine's world without an event loop, and how coroutines are driven
    folder.py      the folder, and what is refused before anything is created in it
    arguments.py   what programs hand in, checked
    guard.py       one thread, one process, one call at a time
    pace.py        background work in slices, which writes pay for
    table.py       `EmbeddedTablet`: all operations

`docs/decisions/` tells why it is so; `docs/tablet.md` shows its use.
"""
