"""What the master records of itself. Sentences are for people; fields are for programs."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class LogReplayed(Event):
    """The persistent state was recovered."""

    sentence: ClassVar[str] = "recovered {files} files and {chunks} chunks from {records} log records; {note}"
    records: int
    files: int
    chunks: int
    note: str


@dataclass(frozen=True, slots=True)
class LogFailed(Event):
    """The operation log refused a record: nothing was changed."""

    sentence: ClassVar[str] = "the operation log refused a record: {problem}"
    problem: str


@dataclass(frozen=True, slots=True)
class ReserveChanged(Event):
    """The disk is full, and the log got some of what is kept back for it; or there is room again, and it is whole."""

    sentence: ClassVar[str] = "keeps back {left} bytes of its disk for starts and deletions"
    left: int


@dataclass(frozen=True, slots=True)
class LogMovedOn(Event):
    """The disk does not let the end of the newest log be written: another one follows it, with a checkpoint."""

    sentence: ClassVar[str] = "goes on in another log file from record {sequence} on: {problem}"
    sequence: int
    problem: str


@dataclass(frozen=True, slots=True)
class CheckpointStarted(Event):
    """The log was switched, and the state before that is being written."""

    sentence: ClassVar[str] = "began checkpoint {sequence}"
    sequence: int


@dataclass(frozen=True, slots=True)
class CheckpointFinished(Event):
    """The checkpoint is complete; older logs are removed."""

    sentence: ClassVar[str] = "finished checkpoint {sequence} of {size} bytes"
    sequence: int
    size: int


@dataclass(frozen=True, slots=True)
class CheckpointFailed(Event):
    """The checkpoint could not be written; the logs it would have replaced are kept."""

    sentence: ClassVar[str] = "gave up a checkpoint: {problem}"
    problem: str


@dataclass(frozen=True, slots=True)
class FileCreated(Event):
    """A client created a file. `file_id` names it whatever becomes of its path."""

    sentence: ClassVar[str] = "created {path} with replication goal {goal}"
    path: str
    goal: int
    file_id: int = 0


@dataclass(frozen=True, slots=True)
class FileDeleted(Event):
    """A client deleted a file or a tree; it can be read under its hidden name until it is reclaimed."""

    sentence: ClassVar[str] = "deleted {path} ({files} files); kept as {hidden}"
    path: str
    hidden: str
    files: int


@dataclass(frozen=True, slots=True)
class FileReplaced(Event):
    """A file made way for another one that was renamed to its path."""

    sentence: ClassVar[str] = "{path} makes way for another file; kept as {hidden}"
    path: str
    hidden: str


@dataclass(frozen=True, slots=True)
class SafeModeEntered(Event):
    """An operator keeps names and replicas as they are."""

    sentence: ClassVar[str] = "entered safe mode: no name changes, and nothing is copied or removed"


@dataclass(frozen=True, slots=True)
class SafeModeLeft(Event):
    """The master copies and removes again, after its start or because an operator says so."""

    sentence: ClassVar[str] = "left safe mode: {reason}"
    reason: str
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class PolicyChanged(Event):
    """A directory says something else for all that is below it."""

    sentence: ClassVar[str] = "{path} says for all below it: {said}"
    path: str
    said: str


@dataclass(frozen=True, slots=True)
class ReplicationSet(Event):
    """A client gave a file another replication goal; its chunks follow in the background."""

    sentence: ClassVar[str] = "set the replication goal of {path} to {goal}, it was {before}"
    path: str
    goal: int
    before: int


@dataclass(frozen=True, slots=True)
class FileReclaimed(Event):
    """An entry is gone for good, and its chunks are orphans."""

    sentence: ClassVar[str] = "reclaimed {path} and {chunks} chunks"
    path: str
    chunks: int


@dataclass(frozen=True, slots=True)
class EntryRenamed(Event):
    """A client renamed a file or directory."""

    sentence: ClassVar[str] = "renamed {source} to {target}"
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class SnapshotPrepared(Event):
    """Nobody writes to any file of the source any more: what it holds now is what the snapshot will hold. In the order
    of their paths its files will have the ids from `first_file_id` on."""

    sentence: ClassVar[str] = "nobody writes to {source} ({files} files) any more; {target} will be its snapshot"
    source: str
    target: str
    files: int
    first_file_id: int


@dataclass(frozen=True, slots=True)
class SnapshotTaken(Event):
    """A file or a tree exists a second time, and shares its chunks with the first."""

    sentence: ClassVar[str] = "took a snapshot of {source} as {target} ({files} files); nothing was copied"
    source: str
    target: str
    files: int


@dataclass(frozen=True, slots=True)
class ChunkCopied(Event):
    """A file that shared a chunk has one of its own, copied on the servers where the old one is."""

    sentence: ClassVar[str] = "gave {path} chunk {handle:#x} as its number {index}, a copy of {frozen:#x} on {servers}"
    handle: int
    frozen: int
    path: str
    index: int
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChunkCreated(Event):
    """A chunk became part of a file."""

    sentence: ClassVar[str] = "created chunk {handle:#x}, number {index} of {path}, on {servers}"
    handle: int
    path: str
    index: int
    servers: tuple[str, ...]
    file_id: int = 0


@dataclass(frozen=True, slots=True)
class LeaseGranted(Event):
    """A replica became primary."""

    sentence: ClassVar[str] = "granted {primary} the lease on chunk {handle:#x}, version {version}, with {secondaries}"
    handle: int
    version: int
    primary: str
    secondaries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeaseRevoked(Event):
    """A lease ended before its time."""

    sentence: ClassVar[str] = "ended the lease of {primary} on chunk {handle:#x}: {reason}"
    handle: int
    primary: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaLost(Event):
    """A replica no longer counts."""

    sentence: ClassVar[str] = "lost the replica of chunk {handle:#x} on {server}: {reason}"
    handle: int
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaFound(Event):
    """A replica counts again, or its higher version was adopted."""

    sentence: ClassVar[str] = "found chunk {handle:#x} at version {version} on {server}"
    handle: int
    server: str
    version: int


@dataclass(frozen=True, slots=True)
class ReplicaJudged(Event):
    """A replica that does not count has another state."""

    sentence: ClassVar[str] = "the replica of chunk {handle:#x} on {server} is {state}: {reason}"
    handle: int
    server: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class VersionRaised(Event):
    """Some replicas go on together under a new version."""

    sentence: ClassVar[str] = "chunk {handle:#x} goes on as version {version} on {members}: {reason}"
    handle: int
    version: int
    members: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicasCompared(Event):
    """Replicas whose servers had lost power were compared with the others."""

    sentence: ClassVar[str] = "compared the replicas of chunk {handle:#x} on {compared}; alike are {alike}"
    handle: int
    compared: tuple[str, ...]
    alike: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LengthSettled(Event):
    """Nobody can write the chunk any more, so that its length is exact."""

    sentence: ClassVar[str] = "chunk {handle:#x} has exactly {length} bytes"
    handle: int
    length: int


@dataclass(frozen=True, slots=True)
class LeaseAdopted(Event):
    """A primary told of a lease that an earlier run of the master had granted."""

    sentence: ClassVar[str] = "{primary} holds the lease on chunk {handle:#x}, version {version}, from before"
    handle: int
    version: int
    primary: str


@dataclass(frozen=True, slots=True)
class RemovalOrdered(Event):
    """A server was told to remove replicas that nobody needs."""

    sentence: ClassVar[str] = "told {server} to remove {count} replicas"
    server: str
    count: int


@dataclass(frozen=True, slots=True)
class LoneReplicaHeldBack(Event):
    """A chunk does not go on with so few replicas yet, as another server could have one."""

    sentence: ClassVar[str] = "does not let chunk {handle:#x} go on with {servers} alone yet"
    handle: int
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemovalDecided(Event):
    """Enough verified replicas exist, so that the others may go."""

    sentence: ClassVar[str] = "{count} replicas of chunk {handle:#x} may go: {kept} have just verified theirs"
    handle: int
    count: int
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportOutdated(Event):
    """A report was under way for so long that a later one had been heard."""

    sentence: ClassVar[str] = "passed over report {sequence} of {server}: a later one had come before it"
    server: str
    sequence: int


@dataclass(frozen=True, slots=True)
class ReplicaReportOutdated(Event):
    """What was said of a replica was true before its version rose, and is not judged."""

    sentence: ClassVar[str] = "passed over what {server} said of chunk {handle:#x}: version {version} is past"
    handle: int
    server: str
    version: int


@dataclass(frozen=True, slots=True)
class StrangerRefused(Event):
    """A chunkserver of another namespace wanted to register."""

    sentence: ClassVar[str] = "refused {server}: its chunks belong to namespace {found:016x}, not {expected:016x}"
    server: str
    found: int
    expected: int


@dataclass(frozen=True, slots=True)
class RequestRepeated(Event):
    """A client asked again for something that was done already, and got the first answer."""

    sentence: ClassVar[str] = "answered request {number} of client {client:016x} once more"
    client: int
    number: int


@dataclass(frozen=True, slots=True)
class ReplicaAdmitted(Event):
    """An operator let a chunk go on with a replica that had been put aside."""

    sentence: ClassVar[str] = "chunk {handle:#x} goes on with the replica on {server}, as an operator wished"
    handle: int
    server: str


@dataclass(frozen=True, slots=True)
class MasterPaused(Event):
    """The master itself stood still: its chunkservers have to report before they are judged."""

    sentence: ClassVar[str] = "stood still for {seconds:.1f} s, and waits for reports before it judges anybody"
    seconds: float


@dataclass(frozen=True, slots=True)
class MasterFailed(Event):
    """This run of the master must end."""

    sentence: ClassVar[str] = "must end: {reason}"
    reason: str


@dataclass(frozen=True, slots=True)
class CorruptionReported(Event):
    """A chunkserver found a block that does not match its checksum."""

    sentence: ClassVar[str] = "{server} found block {block} of chunk {handle:#x} corrupt: {found}"
    handle: int
    server: str
    block: int
    found: str


@dataclass(frozen=True, slots=True)
class ChunkserverRegistered(Event):
    """A chunkserver reported for work with all it holds."""

    sentence: ClassVar[str] = "{server} registered with {chunks} chunks"
    server: str
    chunks: int


@dataclass(frozen=True, slots=True)
class ChunkserverSuspected(Event):
    """A chunkserver missed heartbeats or did not answer a call."""

    sentence: ClassVar[str] = "suspects {server}: {reason}"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkserverDied(Event):
    """A chunkserver was silent for too long, and its replicas count as lost."""

    sentence: ClassVar[str] = (
        "gave {server} up after {silence_seconds:.1f} s of silence; {chunks} chunks lost a replica"
    )
    server: str
    silence_seconds: float
    chunks: int


@dataclass(frozen=True, slots=True)
class CloneStarted(Event):
    """A chunk is being copied."""

    sentence: ClassVar[str] = "cloning chunk {handle:#x} from {source} to {destination}"
    handle: int
    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class CloneFinished(Event):
    """The copy counts as a replica."""

    sentence: ClassVar[str] = "cloned chunk {handle:#x} to {destination}; it has {replicas} of {goal} replicas"
    handle: int
    destination: str
    replicas: int
    goal: int


@dataclass(frozen=True, slots=True)
class CloneFailed(Event):
    """The copy did not come about; it will be planned again."""

    sentence: ClassVar[str] = "could not clone chunk {handle:#x} to {destination}: {problem}"
    handle: int
    destination: str
    problem: str


@dataclass(frozen=True, slots=True)
class ReplicaMended(Event):
    """A server took blocks that were damaged or doubtful in its replica from other servers."""

    sentence: ClassVar[str] = "had chunk {handle:#x} mended on {server}: {mended} blocks, and {left} are whole nowhere"
    handle: int
    server: str
    mended: int
    left: int


@dataclass(frozen=True, slots=True)
class MendingFailed(Event):
    """A server could not mend its replica."""

    sentence: ClassVar[str] = "could not have chunk {handle:#x} mended on {server}: {problem}"
    handle: int
    server: str
    problem: str


# Several masters


@dataclass(frozen=True, slots=True)
class MasterTookOver(Event):
    """This master acts from here on. The one before, if it lives, is not obeyed any more."""

    sentence: ClassVar[str] = "acts as the master, under epoch {epoch}, from record {sequence} on; before: {before}"
    epoch: int
    sequence: int
    before: str


@dataclass(frozen=True, slots=True)
class MasterStoodDown(Event):
    """This master does not act any more, and becomes a shadow."""

    sentence: ClassVar[str] = "acts no more as the master of epoch {epoch}: {reason}"
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class ShadowInSync(Event):
    """A shadow has every record: from here on nothing is answered without it, and it may take over."""

    sentence: ClassVar[str] = "{shadow} is in sync from record {sequence} on"
    shadow: str
    sequence: int


@dataclass(frozen=True, slots=True)
class ShadowOutOfSync(Event):
    """A shadow is not waited for any more, and must not take over before it has caught up."""

    sentence: ClassVar[str] = "goes on without {shadow}: {reason}"
    shadow: str
    reason: str


@dataclass(frozen=True, slots=True)
class ShadowFollows(Event):
    """A shadow receives the log of an acting master."""

    sentence: ClassVar[str] = "follows {acting} (epoch {epoch}) from record {sequence} on"
    acting: str
    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class LogCut(Event):
    """The log had records that the acting master's log does not have: they were never answered."""

    sentence: ClassVar[str] = "cut off {dropped} records after record {kept_through}: nobody was told of them"
    kept_through: int
    dropped: int


@dataclass(frozen=True, slots=True)
class CheckpointInstalled(Event):
    """A shadow that was too far behind got the whole state."""

    sentence: ClassVar[str] = "took the state before record {sequence} over from {acting}"
    sequence: int
    acting: str


@dataclass(frozen=True, slots=True)
class TakeoverRefused(Event):
    """The lock was free, and this master must not take it."""

    sentence: ClassVar[str] = "does not take over: {reason}"
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkHeated(Event):
    """A chunk is read more than its copies can bear, and gets more of them."""

    sentence: ClassVar[str] = "chunk {handle:#x} is read at {bytes_per_second} bytes a second, and gets {copies} copies"
    handle: int
    copies: int
    bytes_per_second: int


@dataclass(frozen=True, slots=True)
class ChunkCooled(Event):
    """A chunk is read less than it was, and loses copies that it had been given."""

    sentence: ClassVar[str] = (
        "chunk {handle:#x} is read at {bytes_per_second} bytes a second, and keeps {copies} copies"
    )
    handle: int
    copies: int
    bytes_per_second: int


@dataclass(frozen=True, slots=True)
class DrainBegun(Event):
    """An operator wants a chunkserver to leave: what it holds is copied elsewhere."""

    sentence: ClassVar[str] = "draining {server}"
    server: str


@dataclass(frozen=True, slots=True)
class DrainCancelled(Event):
    """A chunkserver stays after all."""

    sentence: ClassVar[str] = "{server} is not drained any more"
    server: str


@dataclass(frozen=True, slots=True)
class ChunkserverForgotten(Event):
    """A chunkserver on which nothing was left has gone for good."""

    sentence: ClassVar[str] = "forgot chunkserver {server}"
    server: str


@dataclass(frozen=True, slots=True)
class ReplicaCannotGrow(Event):
    """A client's bytes did not fit on the disk of a replica: it is moved."""

    sentence: ClassVar[str] = "the replica of chunk {handle:#x} on {server} cannot grow, its disk is full"
    handle: int
    server: str
