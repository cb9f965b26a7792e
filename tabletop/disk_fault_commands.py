"""`tabletop fault eio`, `full`, `slow-disk` and their like: what happens to disks."""

import enum
from typing import Annotated

import typer

from cluster.aims import aim, stored
from cluster.faultplan import (
    DiskTrouble,
    EmptyDisk,
    LogOf,
    LogTrouble,
    Replica,
    ReplicaTrouble,
    Target,
    ThePrimary,
    What,
)
from cluster.settings import parse_bytes
from runtime.errors import InvalidRequest
from runtime.faults.disk import (
    FaultOfPath,
    FullDisk,
    ListError,
    LyingSync,
    OpenError,
    ReadError,
    SlowDisk,
    SyncError,
    WriteError,
)
from tabletop.fault_answers import AfterOption, AimArgument, EveryOption, ForOption, impose
from tabletop.options import DESK, ClusterOption, span_seconds

FileOption = Annotated[
    str, typer.Option("--file", metavar="PREFIX", help="Only files below the node's data/ that begin so, such as log/.")
]


class On(enum.Enum):
    """Which operations fail."""

    READ = "read"
    WRITE = "write"
    SYNC = "sync"
    OPEN = "open"
    LIST = "list"


_ERRORS: dict[On, type[FaultOfPath]] = {
    On.READ: ReadError,
    On.WRITE: WriteError,
    On.SYNC: SyncError,
    On.OPEN: OpenError,
    On.LIST: ListError,
}


def eio(
    target: AimArgument,
    on: Annotated[On, typer.Option("--on", help="Which operations fail.")] = On.READ,
    file: FileOption = "",
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Have operations of a disk fail with EIO: of the files of one replica, of some files, or of all.

    \b
        tabletop fault eio "replica 2 of chunk 3 of /a" --on read
        tabletop fault eio master --on sync --file log/
        tabletop fault eio "the log of ts1" --on write
    """
    where = aim(target)
    impose(cluster, _of_files(_ERRORS[on](path=file), where, file), where, lasting, after, every)


def full(
    target: AimArgument,
    take: Annotated[str, typer.Option("--take", metavar="BYTES", help="Only so much of what is free.")] = "",
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Fill a disk: nothing may grow on it (ENOSPC)."""
    fault = FullDisk(parse_bytes(take) if take else None)
    impose(cluster, DiskTrouble(fault), aim(target), lasting, after, every)


def slow_disk(
    target: AimArgument,
    operation: Annotated[str, typer.Option("--operation", metavar="SPAN", help="Added to each operation.")] = "",
    sync: Annotated[str, typer.Option("--sync", metavar="SPAN", help="Added to each sync.")] = "",
    rate: Annotated[str, typer.Option("--rate", metavar="BYTES", help="A second, at most.")] = "",
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Make a disk slow. Default: 20 ms for each operation, as a platter takes that has to seek."""
    if not (operation or sync or rate):
        operation = "20ms"
    fault = SlowDisk(
        span_seconds(operation) if operation else 0.0,
        span_seconds(sync) if sync else 0.0,
        float(parse_bytes(rate)) if rate else 0.0,
    )
    impose(cluster, DiskTrouble(fault), aim(target), lasting, after, every)


def lying_fsync(
    target: AimArgument,
    file: FileOption = "",
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Have syncs succeed and do nothing. What was written since is lost when the node is killed the next time.

    The kernel keeps what a killed process has written, so this fault puts the old bytes back when the node is killed
    (`tabletop fault kill`): as if the plug had been pulled. After a stop in good order nothing is lost.
    """
    where = aim(target)
    impose(cluster, _of_files(LyingSync(path=file), where, file), where, lasting, after, every)


def empty(
    target: AimArgument,
    lasting: ForOption = "",
    after: AfterOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Kill a node and put an empty disk in the place of its own. `fault heal` starts it again, on the empty disk."""
    impose(cluster, EmptyDisk(), aim(target), lasting, after)


def torn(
    what: Annotated[str, typer.Argument(metavar="BYTES", help="Such as 'replica 2 of chunk 3 of /a, block 1'.")],
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Make a stored block or header end in zeros, as if its writing had been cut off (block 0 if none is named)."""
    damage, where = stored(what, torn=True)
    impose(cluster, damage, where, "", after, every)


def _of_files(fault: FaultOfPath, target: Target, file: str) -> What:
    """The fault in the files of one replica, if one is aimed at, or else in those that were named."""
    if not isinstance(target, Replica | ThePrimary | LogOf):
        return DiskTrouble(fault)
    if file:
        raise InvalidRequest("--file is for a node; a replica has its own files")
    if isinstance(target, LogOf):
        return LogTrouble(fault, target.server)
    return ReplicaTrouble(fault, target.path, target.chunk)
