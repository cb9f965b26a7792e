"""The tablet engine: Bigtable's unit of storage, a log-structured merge tree that can be read in an afternoon.

A tablet maps (row, column, timestamp) to bytes, for a contiguous range of rows (BT 2, 4). Disks and replicated file
systems are good at appending and bad at changing; so a tablet never changes anything. A write is appended to a log and
kept in a sorted table in memory; when that is full it is written out as an immutable file, and such files are merged
now and then so that there are not too many. A read looks at all of them as if they were one. Everything else here
follows from making that quick, and from making it safe to die at any moment.

The floors, from the bottom up. A floor may import those before it, and nothing else; `serving` and `maintenance` do not
know one another. A test sees to that.

    world/         what an engine is given: storage, options; its files' names; the events that it reports
    model/         cells, mutations, and the row fragment that both become; families and their rules (BT 2)
    sstable/       the immutable file: format, writer, reader, Bloom filters, block cache (BT 4, 6)
    log/           what was promised, and how it is read back (5.3)
    tree/          memtable, merging, manifest, scan cache; an open tablet's state, and all that changes it (5.3)
    serving/       opening, reading, writing (5.3)
    maintenance/   which files to merge, the merging, and what to do about files that cannot be read (5.4)
    engine.py      the asynchronous face, with figures.py; cloning.py copies a tablet, taking_over.py brings along what
                   the log of its former server holds (6)

The core path is world, model, sstable, log, tree, serving: read them in this order, each `__init__.py` first.

Five lines to begin with:

>>> import tempfile, tablet.engine
>>> with tablet.engine.open(tempfile.mkdtemp()) as table:
...     table.create_family("page")
...     table.put("com.example/a", "page:title", "A")
...     table.put("com.example/b", "page:title", "B")
...     [(row.key, row.value("page:title")) for row in table.scan(prefix="com.example/")]
[(b'com.example/a', b'A'), (b'com.example/b', b'B')]

A tablet has a log of its own, or shares that of its server (`log/server_log.py`).

What we simplify. Block compression is one fast pass, without the paper's long common strings. The manifest is a
file where the paper has a METADATA row. A row must fit into memory, and there are no scripts within the server.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablet.embedded.folder import Folder
    from tablet.embedded.table import EmbeddedTablet
    from tablet.engine.world.options import Options


def open(folder: "Folder", options: "Options | None" = None) -> "EmbeddedTablet":
    """The tablet in a folder of this machine, for a program without an event loop; begins one in an empty folder.

    This is the one arrow that points up: `tablet.engine.open` is the name that programs know. Raises Conflict if the
    folder is open already, IncompatibleFormat, Corrupted, DiskFailure.
    """
    from tablet.embedded.table import EmbeddedTablet

    return EmbeddedTablet(folder, options)
