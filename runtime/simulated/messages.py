"""What a test sees of a message on its way, and what it may do to it.

A hook is given to `Fabric.on_message` and asked about each message when it is sent, in the order of sending:

    def hook(message: Message) -> Verdict | None:
        if message.method == "Chunkserver/Apply" and message.kind is Kind.REPLY and message.target == "cs1":
            simulation.kill("cs2")      # the hook may kill, pause or cut the power of any node
            return Delay(2.0)           # or DROP, or Double(2.0), or None: let it go on
        return None

A sender that the hook kills dies before the message of a call has left; a segment of a bulk stream still leaves, since
it may already be in the machine's buffer.

Calls. A request and its reply are one message each, a streamed request or answer is one for each of its parts. All of
them name the method of the call. A reply that is an error has an empty body and names its status. A dropped message
of a call never arrives, and no later one of the same direction of that call does, as after a lost hop.

Bulk streams. Each segment is a message of the kind BULK. A stream is TCP: a dropped segment is sent again after a
while, and the hook is asked again for each attempt. A hook that drops all attempts stalls the stream until it breaks.

What is not a message here: the opening of a connection, acknowledgements, cancellations, resets.

A *watcher* (`Fabric.watcher`) changes nothing: it is told of each message that is sent, and whether it came to its
receiver's machine. See traffic.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from runtime.faults.links import Kind
from runtime.world import Buffer

BULK_METHOD = "bulk"


@dataclass(frozen=True, slots=True)
class Message:
    """One message at the moment of its sending. `number` counts all messages of the simulation from 1."""

    number: int
    method: str  # "Chunkserver/Apply": service and method without the package; "bulk" for a segment
    kind: Kind
    source: str  # names of nodes
    target: str
    body: Buffer  # serialised
    status: str = ""  # of a reply: "OK", "UNAVAILABLE", ...


class Drop:
    """The message is lost. Use the constant `DROP`."""


DROP = Drop()


@dataclass(frozen=True, slots=True)
class Delay:
    """The message arrives so many seconds later than it would. Others may overtake it, except on the same stream."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Double:
    """The message arrives, and once more so many seconds later. Only a request that is not streamed can do so."""

    seconds: float


Verdict = Drop | Delay | Double
MessageHook = Callable[[Message], Verdict | None]


@dataclass(frozen=True, slots=True)
class Fate:
    """What all hooks together do to a message that is not lost: nanoseconds by which it is late, and after which it
    arrives once more (None: it does not). `number`: the message's, for a watcher; 0 if nobody watches."""

    late: int = 0
    again: int | None = None
    number: int = 0


AS_SENT = Fate()


class Watcher(Protocol):
    """Who looks at all messages, and changes none."""

    def sent(self, message: Message) -> None:
        """A message is being sent."""

    def arrived(self, number: int) -> None:
        """A message came to the machine of its receiver, which lives; a message that is doubled comes twice."""

    def lost(self, number: int) -> None:
        """A message was dropped, or came to a link that is cut or to a process that has ended."""


@cache
def method_of(path: str) -> str:
    """The name of a method in messages.

    >>> method_of("/tabletop.Chunkserver/Apply")
    'Chunkserver/Apply'
    """
    service, _, method = path.lstrip("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{method}"
