"""Faults in plain English, for the answer to a command, for lists and for timelines.

>>> from cluster.faultplan import Isolate, Node
>>> sentence_of(Isolate(), ["cs3"], [])
'nothing passes between cs3 and anybody else'
"""

from cluster.faultplan import (
    BadLink,
    ClockDrift,
    DiskTrouble,
    EmptyDisk,
    Isolate,
    Kill,
    LogTrouble,
    Partition,
    Pause,
    PowerCut,
    ReplicaTrouble,
    SlowNode,
    Stop,
    StreamsReset,
    WallOffset,
    What,
    WrongFolder,
)
from runtime.faults import disk
from runtime.faults.links import Kind, LinkFaults

_KINDS = {Kind.REQUEST: "requests", Kind.REPLY: "replies", Kind.STREAM: "streamed messages", Kind.BULK: "bulk bytes"}


def sentence_of(what: What, nodes: list[str], others: list[str], details: str = "") -> str:
    """What was done, in one sentence without its full stop. `others` are the nodes at the other end of a link; of
    faults of files and of stored bytes `details` say which."""
    here = listed(nodes)
    match what:
        case Kill():
            return f"killed {here}{details}"
        case PowerCut(loses_all):
            return f"cut the power of {here}" + ("; all that was not synced is lost" if loses_all else "")
        case Stop():
            return f"stopped {here} in good order"
        case EmptyDisk():
            return f"killed {here} and emptied the disk"
        case WrongFolder():
            return f"killed {here} and started it on an empty folder"
        case Pause():
            return f"paused {here}"
        case Partition(one_way=True):
            return f"nothing that {here} sends reaches {listed(others)}"
        case Partition():
            if len(nodes) == len(others) == 1:
                return f"nothing passes between {here} and {listed(others)}"
            return f"nothing passes between {here} on one side and {listed(others)} on the other"
        case Isolate() | BadLink() | SlowNode() | StreamsReset():
            return _of_links(what, here, others)
        case ClockDrift(drift):
            return f"the clock of {here} gains {drift:g} seconds a second"
        case WallOffset(seconds):
            return f"the wall clock of {here} is ahead by {seconds:g} s"
        case DiskTrouble(fault):
            return _of_disk(fault, here, details or _file(fault))
        case ReplicaTrouble(fault, path, chunk):
            return _of_disk(fault, here, details or f"the replica of chunk {chunk} of {path}")
        case LogTrouble(fault, server):
            return _of_disk(fault, here, details or f"the log of {server}")
    return details or f"{what!r} at {here}"


def listed(names: list[str]) -> str:
    """Several things as people list them.

    >>> listed(["cs1"]), listed(["cs1", "cs2", "cs3"])
    ('cs1', 'cs1, cs2 and cs3')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "nobody"


def seconds_of(value: float) -> str:
    """A span of time as people write it.

    >>> seconds_of(0.3), seconds_of(2.0), seconds_of(90.0)
    ('300 ms', '2 s', '90 s')
    """
    return f"{value * 1000:g} ms" if 0 < value < 1 else f"{value:g} s"


def _of_links(what: Isolate | BadLink | SlowNode | StreamsReset, here: str, others: list[str]) -> str:
    match what:
        case Isolate(hears=True, speaks=True):
            return f"{here} hears and is heard as before"
        case Isolate(hears=True):
            return f"nothing that {here} sends reaches anybody; it hears the others"
        case Isolate(speaks=True):
            return f"{here} hears nothing; what it sends arrives"
        case Isolate():
            return f"nothing passes between {here} and anybody else"
        case SlowNode(seconds):
            return f"whatever {here} sends or receives takes {seconds_of(seconds)} longer"
        case StreamsReset(other, one_sided):
            peers = "everybody" if other is None else listed(others)
            return f"broke the streams of calls between {here} and {peers}" + (
                "; callers alone notice" if one_sided else ""
            )
        case BadLink(faults, other, one_way, kind):
            peers = "anybody" if other is None else listed(others)
            way = f"from {here} to {peers}" if one_way else f"between {here} and {peers}"
            return f"{'messages' if kind is None else _KINDS[kind]} {way} {_link(faults)}"


def _link(faults: LinkFaults) -> str:
    parts = []
    if faults.delay:
        parts.append(f"are {seconds_of(faults.delay)} late")
    if faults.jitter:
        parts.append(f"overtake one another, by up to {seconds_of(faults.jitter)}")
    if faults.loss:
        parts.append(f"are lost with a chance of {faults.loss:.3g}")
    if faults.duplication:
        parts.append(f"arrive twice with a chance of {faults.duplication:.3g}")
    if faults.corruption:
        parts.append(f"have a flipped bit with a chance of {faults.corruption:.3g}, where they are bulk bytes")
    return listed(parts) if parts else "arrive as they should"


def _file(fault: disk.DiskFault) -> str:
    if not isinstance(fault, disk.FaultOfPath):
        return ""
    return f"files that begin with {fault.path}" if fault.path else "all files"


def _of_disk(fault: disk.DiskFault, here: str, files: str) -> str:
    match fault:
        case disk.ReadError():
            return f"reads of {files} on {here} fail with EIO"
        case disk.WriteError():
            return f"writes of {files} on {here} fail with EIO"
        case disk.SyncError():
            return f"syncs of {files} on {here} fail with EIO"
        case disk.OpenError():
            return f"opening {files} on {here} fails with EIO"
        case disk.ListError():
            return f"looking for {files} on {here} fails with EIO"
        case disk.LyingSync():
            return f"syncs of {files} on {here} succeed and do nothing"
        case disk.ShortWrites():
            return f"writes of {files} on {here} that fail leave a part behind"
        case disk.FullDisk(None):
            return f"the disk of {here} is full"
        case disk.FullDisk(taken):
            return f"{taken} bytes of the disk of {here} are taken by somebody else"
        case disk.SlowDisk(per_operation, per_sync, speed):
            parts = [f"every operation takes {seconds_of(per_operation)} longer"] if per_operation else []
            parts += [f"every sync takes {seconds_of(per_sync)} longer"] if per_sync else []
            parts += [f"it moves {speed:,.0f} bytes a second at most"] if speed else []
            return f"the disk of {here} is slow: {listed(parts)}"
        case disk.DroppedWrites():
            return f"writes of {files} on {here} succeed and land nowhere"
        case disk.MisdirectedWrites(shift=shift):
            return f"writes of {files} on {here} land {shift} bytes further on"
    return f"{fault!r} at {here}"
