"""One tree of errors for every room.

An error says whether it is *definite*, so that the operation did not happen and never will, or *indefinite*, so that
it may have happened (the reply was lost, or some replicas applied it). A caller may repeat after a definite error
without thought; after an indefinite one it must know that the operation is idempotent, or look.

Errors cross the wire: a servicer raises one, `rpc.py` sends its class name, definiteness, message and servers along
with the gRPC status code of `STATUS_CODES`, and the caller's stub raises the same class again. What a program decides
by is in the class and its attributes; the message is for people.

>>> error_from_wire("NotFound", "no file /a", definite=True)
NotFound('no file /a')
>>> error_from_wire("NotFound", "no file /a", definite=True).definite
True

A message names the object, what was found, what was expected, and what to do next.
"""

import re
from collections.abc import Callable

import grpc


class TabletopError(Exception):
    """The root. `definite` is the class's default and may be set for one instance. `servers` names those that failed.
    `is_answer`: another node has raised it and sent it here, so that this node at least did answer.

    >>> Unavailable("cs1 does not answer").definite
    False
    >>> Unavailable("cs1 refused the connection", definite=True).definite
    True
    >>> MutationFailed("cs3 did not apply the write", servers=("cs3",)).servers
    ('cs3',)
    """

    default_definite: bool = True

    def __init__(self, message: str, *, definite: bool | None = None, servers: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.definite = self.default_definite if definite is None else definite
        self.servers = servers
        self.is_answer = False

    def __reduce__(self) -> tuple[Callable[..., "TabletopError"], tuple[str, str, bool, tuple[str, ...]]]:
        return _restore, (type(self).__name__, self.message, self.definite, self.servers)


class InvalidRequest(TabletopError):
    """The request can never succeed as it is: a malformed path, a size out of range."""


class NotFound(TabletopError):
    """The named file, chunk, table or node does not exist."""


class AlreadyExists(TabletopError):
    """The name is taken."""


class NotADirectory(TabletopError):
    """A file stands where a directory is needed."""


class IsADirectory(TabletopError):
    """A directory stands where a file is needed."""


class DirectoryNotEmpty(TabletopError):
    """The directory has entries, and the request did not ask for them too."""


class Unauthenticated(TabletopError):
    """The cluster's token is missing or wrong."""


class NoSpace(TabletopError):
    """A disk, a quota or a buffer is full; nothing was changed."""


class TooFewServers(TabletopError):
    """Fewer usable chunkservers than the request needs."""


class InSafeMode(TabletopError):
    """The master is in safe mode: an operator has entered it, and nothing about names may change until one leaves."""


class Conflict(TabletopError):
    """The state is not what the request supposes: it is locked, busy, or was changed by someone else."""


class NotPrimary(TabletopError):
    """The server holds no lease for this chunk (any more); ask the master who does (GFS 3.1)."""


class NotServed(TabletopError):
    """The server does not serve this tablet (any more), or must not at this moment: ask the METADATA table who does
    (BT 5.1)."""


class StaleVersion(TabletopError):
    """The replica's version is not the one asked for (GFS 4.5)."""


class Superseded(TabletopError):
    """The order comes from a master whose epoch has passed; a newer one is in charge."""


class ForeignNamespace(TabletopError):
    """The two sides belong to different namespaces: another cluster's master or chunkserver."""


class DataNotBuffered(TabletopError):
    """The pushed data is no longer, or not yet, in the LRU buffer: push it again (GFS 3.1 step 3)."""


class Corrupted(TabletopError):
    """Stored bytes do not match their checksum, or a file is not in its format."""


class IncompatibleFormat(TabletopError):
    """A file or folder was written by another version, or by another program."""


class DiskFailure(TabletopError):
    """The disk refused a read or a write (EIO, a read-only file system, no permission)."""

    default_definite = False


class MutationFailed(TabletopError):
    """Some replicas may have applied the mutation: the region is inconsistent (GFS 2.7.1, Table 1). Retry it."""

    default_definite = False


class Unavailable(TabletopError):
    """The node does not answer. Definite only where the request certainly never left."""

    default_definite = False


class NotActing(Unavailable):
    """This master is a shadow, or is not sure that it acts: ask the acting one. `servers` names its address, if it is
    known here."""

    default_definite = True


class TimedOut(TabletopError):
    """No answer within the deadline."""

    default_definite = False


class InternalError(TabletopError):
    """A bug of ours on the other side; its traceback is in that node's log."""

    default_definite = False


def _tree(root: type[TabletopError]) -> dict[str, type[TabletopError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


STATUS_CODES: dict[type[TabletopError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    NotADirectory: grpc.StatusCode.FAILED_PRECONDITION,
    IsADirectory: grpc.StatusCode.FAILED_PRECONDITION,
    DirectoryNotEmpty: grpc.StatusCode.FAILED_PRECONDITION,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    NoSpace: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooFewServers: grpc.StatusCode.FAILED_PRECONDITION,
    InSafeMode: grpc.StatusCode.FAILED_PRECONDITION,
    Conflict: grpc.StatusCode.ABORTED,
    NotPrimary: grpc.StatusCode.FAILED_PRECONDITION,
    NotServed: grpc.StatusCode.FAILED_PRECONDITION,
    StaleVersion: grpc.StatusCode.FAILED_PRECONDITION,
    Superseded: grpc.StatusCode.FAILED_PRECONDITION,
    ForeignNamespace: grpc.StatusCode.FAILED_PRECONDITION,
    DataNotBuffered: grpc.StatusCode.FAILED_PRECONDITION,
    Corrupted: grpc.StatusCode.DATA_LOSS,
    IncompatibleFormat: grpc.StatusCode.FAILED_PRECONDITION,
    DiskFailure: grpc.StatusCode.INTERNAL,
    MutationFailed: grpc.StatusCode.ABORTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    NotActing: grpc.StatusCode.UNAVAILABLE,
    TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    InternalError: grpc.StatusCode.INTERNAL,
}

_CODES_ALONE: dict[grpc.StatusCode, type[TabletopError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: NoSpace,
}


def status_code(error: TabletopError) -> grpc.StatusCode:
    """The gRPC code of an error, its nearest ancestor's where the class has none of its own."""
    for kind in type(error).__mro__:
        if issubclass(kind, TabletopError) and kind in STATUS_CODES:
            return STATUS_CODES[kind]
    return grpc.StatusCode.UNKNOWN


def error_from_wire(kind: str, message: str, *, definite: bool, servers: tuple[str, ...] = ()) -> TabletopError:
    """The error that the other side raised; a kind from the future becomes a plain TabletopError."""
    return _tree(TabletopError).get(kind, TabletopError)(message, definite=definite, servers=servers)


def error_from_status(code: grpc.StatusCode, message: str) -> TabletopError:
    """An error for a bare gRPC status, made by the transport rather than by one of our servicers."""
    return _CODES_ALONE.get(code, InternalError)(message)


def advised(message: str, advice: str) -> str:
    """A message with a piece of advice, unless it has one already: one command to type next is enough.

    >>> advised("no answer", "see `tabletop status`")
    'no answer; see `tabletop status`'
    >>> advised("no live replica; see `tabletop status`", "see `tabletop status`")
    'no live replica; see `tabletop status`'
    """
    return message if "`tabletop " in message else f"{message}; {advice}"


_CALL = re.compile(r"^[A-Z][A-Za-z]+ at \S+:\d+: ")


def without_call(message: str) -> str:
    """What the transport says of a call that got no answer, without the call: whom it was to, the reader is told.

    >>> without_call("AdvanceChunks at 127.0.0.1:8000: no answer in time")
    'no answer in time'
    >>> without_call("chunk 0x2 at version 3: it is damaged")
    'chunk 0x2 at version 3: it is damaged'
    """
    return _CALL.sub("", message)


def shown(value: str, limit: int = 200) -> str:
    """A value for a message: quoted, escaped, and shortened so that a 5,000-character name stays readable.

    >>> shown("/a b")
    "'/a b'"
    >>> shown("x" * 100, limit=10)
    "'xxxxxxxxxx…' (100 characters)"
    """
    return repr(value) if len(value) <= limit else f"{value[:limit] + '…'!r} ({len(value)} characters)"


def _restore(kind: str, message: str, definite: bool, servers: tuple[str, ...]) -> TabletopError:
    return error_from_wire(kind, message, definite=definite, servers=servers)
