"""What the clients of one run asked for, when, and what they were told.

Times are *true* virtual seconds: the operator's clock, never a node's own, which a fault may set wrong. An operation
that was never answered, because its client was killed, has no response time and stays open to the end of the history.

Written bytes say where they come from. Every write fills its range with a pseudo-random stream that its operation's
number decides, and which holds no zero byte; so a reader can tell for each range which write it sees, and a zero is a
hole or a loss.

>>> stamp(7, 0, 4) == stamp(7, 0, 8)[:4] != stamp(8, 0, 4)
True
>>> stamp(7, 2, 4) == stamp(7, 0, 8)[2:6]
True
"""

import enum
import hashlib
import math
from dataclasses import dataclass, field
from functools import lru_cache

_NO_ZEROS = bytes([1, *range(1, 256)])


@lru_cache(maxsize=64)
def _stream(number: int, size: int) -> bytes:
    return hashlib.shake_128(f"operation {number}".encode()).digest(size).translate(_NO_ZEROS)


def stamp(number: int, begin: int, count: int) -> bytes:
    """Bytes `begin` to `begin + count` of what operation `number` writes."""
    size = 4096
    while size < begin + count:
        size *= 4
    return _stream(number, size)[begin : begin + count]


class Kind(enum.Enum):
    """What a client can ask for."""

    CREATE = "create"
    WRITE_FILE = "write_file"
    OPEN = "open"
    WRITE = "write"  # at an offset, through an open file
    APPEND = "append"  # at the open file's position
    RECORD_APPEND = "record_append"  # to an open file, where the file system says (GFS 3.3)
    READ = "read"  # a range, through an open file
    NEXT_CHUNK = "have the next chunk made of"  # and write nothing to it, as who dies then
    CLOSE = "close"
    ABANDON = "abandon"
    READ_FILE = "read_file"
    STAT = "stat"
    LIST = "list"
    RENAME = "rename"
    DELETE = "delete"
    MAKE_DIRECTORY = "make_directory"
    SET_REPLICATION = "set_replication"
    SNAPSHOT = "snapshot"  # of a file or a tree (GFS 3.4)
    LIST_SNAPSHOTS = "list the snapshots of"
    COMPARE = "compare"  # an operator has the replicas of a file's first chunks read
    RESTORE = "restore"  # what was deleted, from the trash
    EMPTY_TRASH = "empty_trash"
    SET_POLICY = "set_policy"  # how long deleted files of a directory are kept
    ENTER_SAFE_MODE = "enter_safe_mode"
    LEAVE_SAFE_MODE = "leave_safe_mode"
    FSCK = "fsck"  # an operator has all files checked
    ADMIT = "admit"  # an operator lets a chunk go on with a replica that was put aside
    DRAIN = "drain"  # an operator wants a chunkserver to leave; with `replace`, to stay after all
    ADD_SERVER = "add_server"


class Answer(enum.Enum):
    """How an operation ended."""

    VALUE = "answered"
    REFUSED = "refused"  # a definite error: it did not happen and never will
    DOUBTFUL = "in doubt"  # an indefinite error: it may have happened, or may yet
    NEVER = "never answered"  # its client died, or it was given up after an absurdly long time


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry as `stat` or `list` showed it. `file` is the number of the operation that created it, 0 if unknown."""

    path: str
    is_directory: bool
    file: int = 0
    length: int = 0
    is_exact: bool = True
    goal: int = 0


@dataclass(slots=True)
class Operation:
    """One call of one client. Which fields mean something depends on `kind`."""

    number: int
    client: str
    kind: Kind
    path: str = ""
    target: str = ""
    mode: str = ""
    recursive: bool = False
    immediately: bool = False
    replace: bool = False  # rename with replace, write with overwrite
    parents: bool = False
    offset: int = 0
    count: int = 0  # bytes to write, or to read; replicas that a file is to have
    goal_before: int = 0  # what SET_REPLICATION was answered
    handle: int = 0  # the number of the operation that opened the file
    invoked: float = 0.0
    responded: float = math.inf
    answer: Answer = Answer.NEVER
    error: str = ""  # the name of the error's class
    message: str = ""
    file: int = 0  # the file that the operation created, opened, wrote or read: its creator's number; 0 if unknown
    created: bool = False  # the master recorded that this operation created a file
    chunk: int = 0  # whose replica ADMIT is about
    server: str = ""  # where it is
    force: bool = False  # whether what only others hold may be given up for it
    admitted: int = 0  # how often the master recorded that this operation admitted a replica
    restored: tuple[tuple[str, int], ...] = ()  # what RESTORE brought back: paths below its target, creators
    findings: tuple[str, ...] = ()  # what was wrong about the verdicts of FSCK
    lacking: tuple[str, ...] = ()  # servers whose replica lacked a record when its client was told where it is
    data: bytes = b""  # what was read; or written, if that is not the stamp of the operation
    seen: tuple[Seen, ...] = ()
    listed: tuple[tuple[str, str], ...] = ()  # by LIST_SNAPSHOTS: sources and where the snapshots are
    is_given_up: bool = False  # its caller cancelled it: in doubt
    is_taken: bool = False  # the file had taken all bytes to write, though perhaps not yet sent them
    is_final: bool = False  # asked by the judge after everything was healed

    @property
    def writes(self) -> bool:
        """Whether it puts bytes into a file."""
        return self.kind in (Kind.WRITE_FILE, Kind.WRITE, Kind.APPEND)

    @property
    def is_open_ended(self) -> bool:
        """Whether its effect may come at any time from its invocation on, or never."""
        return self.answer in (Answer.DOUBTFUL, Answer.NEVER)

    def told(self) -> str:
        """The operation in words."""
        return f"{self.client}: {self.call()} [{self.number}] {self.outcome()}"

    def call(self) -> str:
        """What was asked for."""
        match self.kind:
            case Kind.WRITE | Kind.APPEND:
                return f"{self.kind.value} {self.count} bytes at {self.offset} of {self._file()}"
            case Kind.RECORD_APPEND:
                return f"append a record with {self.count} bytes to {self._file()}"
            case Kind.READ:
                return f"read {self.count} bytes at {self.offset} of {self._file()}"
            case Kind.CLOSE | Kind.ABANDON:
                return f"{self.kind.value} {self._file()}"
            case Kind.OPEN:
                return f"open {self.path} as {self.mode!r}{' to replace it' if self.replace else ''}"
            case Kind.WRITE_FILE:
                return f"write {self.path}, {self.count} bytes{', over what is there' if self.replace else ''}"
            case Kind.RENAME:
                return f"rename {self.path} to {self.target}{', replacing it' if self.replace else ''}"
            case Kind.DELETE:
                how = [
                    word
                    for word, is_set in (("with all in it", self.recursive), ("at once", self.immediately))
                    if is_set
                ]
                return f"delete {self.path}{''.join(f', {word}' for word in how)}"
            case Kind.MAKE_DIRECTORY:
                return f"make directory {self.path}{' with its parents' if self.parents else ''}"
            case Kind.RESTORE:
                return f"restore {self.path}{f' to {self.target}' if self.target else ''}"
            case Kind.SET_POLICY:
                kept = "as above it" if self.count < 0 else f"for {self.count} s"
                return f"keep what is deleted in {self.path} {kept}"
            case Kind.SET_REPLICATION:
                return f"set {self.path} to {self.count} replicas"
            case Kind.SNAPSHOT:
                return f"take a snapshot of {self.path} as {self.target}"
            case Kind.LIST:
                return f"list {self.path}{' and all below' if self.recursive else ''}"
            case Kind.ADMIT:
                return f"admit {self.server}'s replica of chunk {self.chunk:#x}{' by force' if self.force else ''}"
            case Kind.DRAIN:
                return f"{'keep' if self.replace else 'drain'} {self.target}"
            case _:
                return f"{self.kind.value} {self.path}"

    def outcome(self) -> str:
        """What was answered."""
        if self.answer is Answer.NEVER:
            return "-> no answer"
        if self.answer is not Answer.VALUE:
            return f"-> {self.error} ({'definite' if self.answer is Answer.REFUSED else 'in doubt'}): {self.message}"
        if self.kind in (Kind.READ, Kind.READ_FILE):
            return f"-> {len(self.data)} bytes"
        if self.kind is Kind.RECORD_APPEND:
            return f"-> at {self.offset}"
        if self.kind is Kind.SET_REPLICATION:
            return f"-> it had {self.goal_before}"
        if self.kind is Kind.STAT and self.seen:
            return "-> a directory" if self.seen[0].is_directory else f"-> {self.seen[0].length} bytes"
        if self.kind is Kind.LIST:
            return f"-> {', '.join(entry.path for entry in self.seen) or 'nothing'}"
        if self.kind is Kind.OPEN and self.mode == "ab":
            return f"-> at {self.offset}"
        return "-> done"

    def _file(self) -> str:
        return f"{self.path} (opened by [{self.handle}])"


@dataclass(slots=True)
class History:
    """All operations of one run, in order of invocation."""

    operations: list[Operation] = field(default_factory=list)

    def new(self, client: str, kind: Kind, now: float, **facts: object) -> Operation:
        """An operation that begins now."""
        operation = Operation(len(self.operations) + 1, client, kind, invoked=now, **facts)  # type: ignore[arg-type]
        self.operations.append(operation)
        return operation

    def operation(self, number: int) -> Operation:
        """By number."""
        return self.operations[number - 1]
