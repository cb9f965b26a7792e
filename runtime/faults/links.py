"""What can be wrong with the way from one node to another, and which messages it is about: the same in both worlds.

`LinkFaults` combine: of two that lie on one way, delays and jitters add up, and chances are those of independent
events. A delay is for every message; a jitter is drawn for each, so that messages overtake one another.
"""

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """What part of a conversation a message is."""

    REQUEST = "request"  # begins a call, with its only message if the request is not streamed
    REPLY = "reply"  # ends a call, with its only message if the answer is not streamed
    STREAM = "stream"  # one part of a streamed request or answer
    BULK = "bulk"  # one segment of a bulk stream


@dataclass(frozen=True, slots=True)
class LinkFaults:
    """What is wrong with the way from one node to another. Seconds and probabilities."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0

    def and_also(self, other: "LinkFaults") -> "LinkFaults":
        """Both at once.

        >>> LinkFaults(delay=1.0, loss=0.5).and_also(LinkFaults(delay=0.5, loss=0.5))
        LinkFaults(delay=1.5, jitter=0.0, loss=0.75, duplication=0.0, corruption=0.0)
        """
        return LinkFaults(
            self.delay + other.delay,
            self.jitter + other.jitter,
            _either(self.loss, other.loss),
            _either(self.duplication, other.duplication),
            _either(self.corruption, other.corruption),
        )


SOUND = LinkFaults()


def _either(one: float, other: float) -> float:
    return 1.0 - (1.0 - one) * (1.0 - other) if one and other else one or other
