"""The file system's client library: what applications link (GFS 2.3).

The problem. A file of this system is cut into chunks of 64 MB, each stored on several chunkservers that may be slow,
damaged, stale or gone. An application wants to open, read and write, and to be told the truth when something failed.

The idea. The client does the work that the paper gives it, so that the master stays out of the way of the data:

    names          are asked of the master, and nothing else is                                   (2.4)   master_link.py
                   of several masters, of the one that acts; if none acts, a shadow answers   (5.1.3) masters.py
    a read         turns an offset into a chunk and an offset in it, takes the replicas from
                   a cache, and goes to the nearest one, then to the next                         (2.4)   reading.py
    a write        is cut at chunk boundaries; the data is pushed along the chain of replicas,
                   then the primary is told to write it; failed tries are repeated             (3.1, 3.2)  writing.py
    a record       is pushed like a write, and the primary says where it goes                       (3.3)   appending.py
    a whole file   is written under a passing name and renamed, so that nobody sees half of it    (2.7.2)  file.py

Its floors, from the bottom up; each has an essay of its own:

    settings.py       every number that the paper leaves open      distance.py      which replica is near
    patience.py       how long to try                              events.py        what went wrong and was made good
    names/            clusters, masters, what they said before     reading/         ranges, lengths, read-ahead
    writing/          pushes, mutations, write-behind, records     file.py          an open file
    client.py         the asynchronous client                      operators.py     trash, policies, servers that leave
    health.py         how well each file is stored                 records/         told from padding and copies
    parallel.py       many small files at once                     synchronous.py   the same for plain programs

    import gfs
    fs = gfs.connect()
    with fs.open("/a", "wb") as file:
        file.write(b"hello")

Errors are those of `runtime.errors`: each says whether it is *definite* (it did not happen and never will) or not. A
change of the namespace carries an id, so that a repetition of a request is not taken for another one: what the master
refuses is definite, and only silence leaves a doubt. An open file is the file that was opened, and not whatever is
under its path later.

What we simplify. No truncation, no links, no permissions beyond the cluster's token, and files are opened in binary
mode only: wrap them in `io.TextIOWrapper` for text. Distance is guessed from addresses, as in the paper.
"""

from dataclasses import replace
from functools import partial

from gfs.client import Client
from gfs.file import File
from gfs.names.locate import find_contact, master_gone
from gfs.parallel import in_parallel
from gfs.reading.lengths import FileStatus
from gfs.settings import ClientSettings
from gfs.synchronous import FileSystem, RawFile
from runtime.errors import (
    AlreadyExists,
    Conflict,
    Corrupted,
    DirectoryNotEmpty,
    InvalidRequest,
    IsADirectory,
    MutationFailed,
    NoSpace,
    NotADirectory,
    NotFound,
    TabletopError,
    TimedOut,
    TooFewServers,
    Unauthenticated,
    Unavailable,
)

__all__ = [
    "AlreadyExists",
    "Client",
    "ClientSettings",
    "Conflict",
    "Corrupted",
    "DirectoryNotEmpty",
    "File",
    "FileStatus",
    "FileSystem",
    "InvalidRequest",
    "IsADirectory",
    "MutationFailed",
    "NoSpace",
    "NotADirectory",
    "NotFound",
    "RawFile",
    "TabletopError",
    "TimedOut",
    "TooFewServers",
    "Unauthenticated",
    "Unavailable",
    "connect",
    "in_parallel",
]


def connect(
    cluster: str | None = None,
    *,
    master: str | None = None,
    token: str | None = None,
    state: str | None = None,
    settings: ClientSettings | None = None,
    patience_seconds: float | None = None,
) -> FileSystem:
    """The file system of a cluster.

    Without arguments: this machine's cluster of the name in TABLETOP_CLUSTER, else "desk". `state` is the folder that
    holds the clusters' folders, if it is not the usual one (see `gfs.locate`). With both `master` ("host:port") and
    `token`, nothing is looked up. Raises NotFound, Unauthenticated, Unavailable, IncompatibleFormat.

    If servers do not answer, an operation goes on trying for 30 seconds, and a write for 120, for it may have to wait
    for the end of a lease (GFS 3.1); `patience_seconds` bounds both. If the cluster was looked up on this machine, and
    its master's process is gone, an operation ends some 10 seconds after that was seen, with Unavailable and the
    command that starts it again; `settings` has all these numbers. Of a master on another machine, or one that was
    given by its address, nobody can tell whether it is gone or only slow: then the whole patience is waited.
    """
    gone = None
    if master is None or token is None:
        contact = find_contact(cluster, home=state)
        if master in (None, contact.master):
            gone = partial(master_gone, contact)
        cluster, master, token = contact.cluster, master or contact.master, token or contact.token
    if settings is None:
        # On one desk, the servers that are on this machine are the near ones.
        settings = ClientSettings(own_host="127.0.0.1")
    if patience_seconds is not None:
        settings = replace(
            settings,
            patience_seconds=min(patience_seconds, settings.patience_seconds),
            write_patience_seconds=min(patience_seconds, settings.write_patience_seconds),
        )
    return FileSystem(master, token, cluster=cluster or "", settings=settings, master_gone=gone)
