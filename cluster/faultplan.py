"""Faults as data: when, at which target, what, and for how long.

    plan = [
        Fault(At(10.0), Kill(), Replica("/a", chunk=3, number=2), seconds=5.0),
        Fault(OnMessage("Chunkserver/Apply", kind=Kind.REPLY, nth=3), PowerCut(), TheReceiver(), seconds=20.0),
        Fault(OnDisk(verb="sync", path="log*", node="master"), OperationFails()),
        Fault(At(30.0), Partition(TheMaster()), RandomServer(), seconds=8.0),
    ]
    faults = FaultRunner(cluster, plan)     # fault_runner.py
    faults.begin()
    ...
    await faults.heal_all()

A plan can be drawn by a seed, printed, shortened and run again: it is made of frozen values whose `repr` is their own
source text. Targets are resolved when a fault begins: "replica 2 of /a[3]" is another server in another run. Times are
virtual seconds since `begin`. `seconds` of None lasts until `heal_all`. Damage to stored bytes has no end.
"""

from dataclasses import dataclass
from typing import Literal

from runtime.faults.disk import DiskFault, FaultOfPath
from runtime.faults.links import Kind, LinkFaults

# When.


@dataclass(frozen=True, slots=True)
class At:
    """At a virtual time, in seconds since the plan began."""

    seconds: float

    def __str__(self) -> str:
        return f"at {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class OnMessage:
    """When the n-th message is sent that fits. Texts are patterns as of a shell: "Chunkserver/*"."""

    method: str = "*"
    kind: Kind | None = None
    source: str = "*"
    target: str = "*"
    nth: int = 1

    def __str__(self) -> str:
        kind = "message" if self.kind is None else self.kind.value
        return f"at {kind} {self.nth} of {self.method} from {self.source} to {self.target}"


@dataclass(frozen=True, slots=True)
class OnDisk:
    """When the n-th operation of a disk begins that fits. Texts are patterns as of a shell; for the verbs see
    `runtime.faults.disk.Operation`."""

    verb: str = "*"
    path: str = "*"
    node: str = "*"
    nth: int = 1

    def __str__(self) -> str:
        return f"at disk operation {self.nth} of {self.verb} {self.path} on {self.node}"


When = At | OnMessage | OnDisk

# At whom.


@dataclass(frozen=True, slots=True)
class Node:
    """A node by name: "cs2", "client1"."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class TheMaster:
    """The master."""

    def __str__(self) -> str:
        return "the master"


@dataclass(frozen=True, slots=True)
class AllServers:
    """The master and every chunkserver."""

    def __str__(self) -> str:
        return "all servers"


@dataclass(frozen=True, slots=True)
class RandomServer:
    """A chunkserver that the tape chooses, by default among those that run."""

    running: bool = True

    def __str__(self) -> str:
        return "a random chunkserver"


@dataclass(frozen=True, slots=True)
class Replica:
    """The server with a replica of a chunk, the `number`-th of them, counted from 1. The chunk counts from 0."""

    path: str
    chunk: int
    number: int

    def __str__(self) -> str:
        return f"replica {self.number} of {self.path}[{self.chunk}]"


@dataclass(frozen=True, slots=True)
class ThePrimary:
    """The server with the lease of a chunk."""

    path: str
    chunk: int

    def __str__(self) -> str:
        return f"the primary of {self.path}[{self.chunk}]"


@dataclass(frozen=True, slots=True)
class TheSender:
    """Who sent the message, or owns the disk, that set the fault off."""

    def __str__(self) -> str:
        return "the sender"


@dataclass(frozen=True, slots=True)
class TheReceiver:
    """Who is to receive the message that set the fault off."""

    def __str__(self) -> str:
        return "the receiver"


@dataclass(frozen=True, slots=True)
class Group:
    """Several targets at once."""

    members: tuple["Target", ...]

    def __str__(self) -> str:
        return " and ".join(str(member) for member in self.members)


@dataclass(frozen=True, slots=True)
class InRack:
    """All nodes that stand in one rack."""

    rack: str
    data_centre: str = ""

    def __str__(self) -> str:
        return f"rack {self.rack}{f' of {self.data_centre}' if self.data_centre else ''}"


@dataclass(frozen=True, slots=True)
class OutsideRack:
    """All nodes that do not stand in one rack, clients and the master among them."""

    rack: str
    data_centre: str = ""

    def __str__(self) -> str:
        return f"all outside of rack {self.rack}{f' of {self.data_centre}' if self.data_centre else ''}"


@dataclass(frozen=True, slots=True)
class TheTabletMaster:
    """Of several tablet masters the one that acts."""

    def __str__(self) -> str:
        return "the tablet master"


@dataclass(frozen=True, slots=True)
class BusiestTabletServer:
    """The tablet server that reads and writes the most rows a second."""

    def __str__(self) -> str:
        return "the busiest tablet server"


@dataclass(frozen=True, slots=True)
class ServerOfRow:
    """The tablet server that serves a row."""

    table: str
    row: str

    def __str__(self) -> str:
        return f"the server of row {self.row} of {self.table}"


@dataclass(frozen=True, slots=True)
class ServerOfTablet:
    """The tablet server that serves a tablet."""

    tablet: str

    def __str__(self) -> str:
        return f"the server of tablet {self.tablet}"


@dataclass(frozen=True, slots=True)
class LogOf:
    """The chunkserver that is primary of the chunk to which a tablet server's log is written; if there is none, the
    first that holds it."""

    server: str

    def __str__(self) -> str:
        return f"the log of {self.server}"


OfTables = TheTabletMaster | BusiestTabletServer | ServerOfRow | ServerOfTablet | LogOf
"""See tablet_targets.py."""
Target = (
    OfTables
    | Node
    | TheMaster
    | AllServers
    | RandomServer
    | Replica
    | ThePrimary
    | TheSender
    | TheReceiver
    | InRack
    | OutsideRack
    | Group
)

# What. First what ends processes: each holds its nodes down for as long as it lasts, then they are started again.


@dataclass(frozen=True, slots=True)
class Kill:
    """The process ends at once; its machine goes on, and nothing that was written is lost."""


@dataclass(frozen=True, slots=True)
class PowerCut:
    """The machine loses power, and with it what was not synced: some of it, as chance has it, or all (`loses_all`)."""

    loses_all: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """The server is told to stop, and stops in good order."""


@dataclass(frozen=True, slots=True)
class EmptyDisk:
    """The process is killed, and an empty disk takes the place of the old one."""


@dataclass(frozen=True, slots=True)
class WrongFolder:
    """The process is killed and started on an empty folder; the old folder is back when the fault ends. No client
    reaches it meanwhile: what it would be told would be gone with that folder."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The process stands still."""


# The network and the clocks.


@dataclass(frozen=True, slots=True)
class Partition:
    """Nothing passes between the target and the other; with `one_way` nothing from the target to the other."""

    other: Target
    one_way: bool = False


@dataclass(frozen=True, slots=True)
class Isolate:
    """Nothing passes between the target and anybody else. `hears` and `speaks` leave one direction open."""

    hears: bool = False
    speaks: bool = False


@dataclass(frozen=True, slots=True)
class BadLink:
    """Delay, jitter, loss, duplication or corruption on the way from the target to the other (None: to everybody), and
    unless `one_way` on the way back. With `kind` only messages of this kind: `Kind.REPLY` with `one_way` makes the
    target's answers late, and leaves its questions alone."""

    faults: LinkFaults
    other: Target | None = None
    one_way: bool = False
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class StreamsReset:
    """The streams of calls between the target and the other (None: everybody) break, though both live: once. With
    `one_sided` callers alone notice, and servers serve on."""

    other: Target | None = None
    one_sided: bool = False


@dataclass(frozen=True, slots=True)
class SlowNode:
    """Whatever the target sends or receives takes so much longer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ClockDrift:
    """The target's clock gains so many seconds a second; below 0 it loses."""

    drift: float


@dataclass(frozen=True, slots=True)
class WallOffset:
    """The target's wall clock is ahead by so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MessageLost:
    """The message that set the fault off is lost; with a duration, each message that fits until its end."""


@dataclass(frozen=True, slots=True)
class MessageDelayed:
    """The same, but the messages are late by so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MessageDoubled:
    """The same, but each message arrives, and once more so many seconds later: a request that is not streamed."""

    seconds: float


# Disks.


@dataclass(frozen=True, slots=True)
class DiskTrouble:
    """Something of `runtime.faults.disk`: errors, a full or a slow disk, writes that go astray."""

    fault: DiskFault


@dataclass(frozen=True, slots=True)
class ReplicaTrouble:
    """The same, but only for the files of the target's replica of a chunk, which counts from 0. The fault's own path is
    not used."""

    fault: FaultOfPath
    path: str
    chunk: int


@dataclass(frozen=True, slots=True)
class LogTrouble:
    """The same for the target's replica of the chunk to which a tablet server's log is written when it strikes."""

    fault: FaultOfPath
    server: str


@dataclass(frozen=True, slots=True)
class OperationFails:
    """The disk operation that set the fault off fails; with a duration, each one that fits until its end."""


@dataclass(frozen=True, slots=True)
class RottenFile:
    """Bits flip in a file of the target, and flip back when the fault ends, as if a sound copy took its place. Of the
    files whose paths fit the pattern, in their order, the `number`-th, counted from 0, or the last; the last `spares`
    of them are left alone. `place` is the part of the file before the `count` bytes."""

    pattern: str
    number: int = 0
    place: float = 0.5
    count: int = 1
    spares: int = 0


@dataclass(frozen=True, slots=True)
class RottenEnd:
    """Bits flip for good in the last `count` bytes of a file of the target, the last in the order of the paths that fit
    the pattern. Only if the target is down: bytes after them would prove that they were there."""

    pattern: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class RottenBlock:
    """Bits flip in one block of the target's replica. Both count from 0."""

    path: str
    chunk: int
    block: int = 0


@dataclass(frozen=True, slots=True)
class RottenHeader:
    """Bits flip in one header slot of the target's replica: in the one of this number, in the one that was written last
    ("newest"), or in all of them (None)."""

    path: str
    chunk: int
    slot: int | Literal["newest"] | None = None


@dataclass(frozen=True, slots=True)
class RottenTable:
    """Bits flip in the stored checksum of one block of the target's replica."""

    path: str
    chunk: int
    block: int = 0


@dataclass(frozen=True, slots=True)
class TornHeader:
    """One header slot of the target's replica ends in zeros, as if its writing had been cut off."""

    path: str
    chunk: int
    slot: int = 0


@dataclass(frozen=True, slots=True)
class TornBlock:
    """One block of the target's replica ends in zeros, as if its writing had been cut off."""

    path: str
    chunk: int
    block: int = 0


@dataclass(frozen=True, slots=True)
class RottenRecord:
    """Bits flip in one record of the target's log, a master's or the lock service's. Records count from 1."""

    number: int


Ending = Kill | PowerCut | Stop | EmptyDisk | WrongFolder
Damage = RottenBlock | RottenHeader | RottenTable | TornHeader | TornBlock
"""Of the stored bytes of a replica."""
NoEnd = Damage | RottenRecord
"""Of stored bytes: it strikes once, and what ends it is a server's own work."""
OfTrigger = MessageLost | MessageDelayed | MessageDoubled | OperationFails
Lasting = (
    Pause
    | Partition
    | Isolate
    | BadLink
    | StreamsReset
    | SlowNode
    | ClockDrift
    | WallOffset
    | DiskTrouble
    | ReplicaTrouble
    | LogTrouble
    | RottenFile
    | RottenEnd
)
What = Ending | NoEnd | OfTrigger | Lasting


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan."""

    when: When
    what: What
    target: Target = TheSender()
    seconds: float | None = None

    def __str__(self) -> str:
        for_long = "" if self.seconds is None else f" for {self.seconds:g} s"
        return f"{self.when}: {self.what!r} at {self.target}{for_long}"
