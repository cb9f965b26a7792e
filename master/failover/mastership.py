"""Who may act as the master, and under which epoch: what a master needs of a lock service (GFS 5.1.3).

The problem. When the acting master dies, one of its shadows takes over; never may two act, and never may one act that
lacks a change which was answered. A lock alone gives the first. The second needs to be known, too: who is *in sync*?

The idea. Beside the lock there is a small file, the *charter*, which only the holder of the lock may change, and only
by compare-and-set: who acts, under which epoch, and which masters are in sync with it. A change of the names is
answered when all of these have it on stable storage, so that each of them could take over without a loss. One that does
not answer is first taken out of the charter, then nobody waits for it any more. Whoever takes over first writes itself
into the charter: from then on the one before cannot take anybody out of it, so it waits in vain for the new one's
acknowledgement, whatever its clock says, and can answer no change any more.

    holder    the master that acts, or did
    epoch     of its tenure; raised by each that takes over
    in_sync   the masters, the holder among them, that have every answered change
    agreed    the last epoch whose beginning all of them have in their logs
    namespace the one that was founded; 0 until then

`agreed` and `namespace` are for a master whose disk was exchanged: its name is in the charter, and it has nothing.

>>> charter = Charter("master", epoch=3, in_sync=("master", "master2"), agreed=3, namespace=7)
>>> why_not(charter, "master3", namespace=7, last_epoch=3)
'it is not in sync with master; master, master2 are'
>>> why_not(charter, "master2", namespace=7, last_epoch=2)
'its log ends in epoch 2, and epoch 3 was agreed upon: its disk has lost something'
>>> why_not(charter, "master2", namespace=7, last_epoch=3)
''
"""

import asyncio
import json
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from runtime.errors import Corrupted


@dataclass(frozen=True, slots=True)
class Charter:
    """What the file says."""

    holder: str
    epoch: int
    in_sync: tuple[str, ...]
    agreed: int = 0
    namespace: int = 0

    def encoded(self) -> bytes:
        """The file's content.

        >>> Charter.decoded(Charter("master", 1, ("master",)).encoded())
        Charter(holder='master', epoch=1, in_sync=('master',), agreed=0, namespace=0)
        """
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decoded(cls, content: bytes) -> "Charter":
        """What `encoded` wrote. Raises Corrupted."""
        try:
            values = json.loads(content)
            names = tuple(str(name) for name in values["in_sync"])
            numbers = (int(values["epoch"]), names, int(values["agreed"]), int(values["namespace"]))
            return cls(str(values["holder"]), *numbers)
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupted(f"the charter of the masters is malformed ({error}): {content[:200]!r}") from error


class Claim(Protocol):
    """The lock, held. `lost` is set, by a conservative clock, before anybody else can get it; then `is_certain` is
    false for good."""

    lost: asyncio.Event

    @property
    def is_certain(self) -> bool:
        """Whether nobody else can hold the lock at this moment."""

    async def read(self) -> tuple[Charter | None, int]:
        """The charter and its generation; None and 0 if there is none yet. Raises Unavailable, TimedOut, Superseded."""

    async def write(self, charter: Charter, generation: int) -> int:
        """Replace the charter of this generation (0: make the first); returns the new generation.

        Raises Conflict (another generation), Superseded (the lock is not held any more), Unavailable and TimedOut
        (indefinite: it may be written)."""

    async def release(self) -> None:
        """Give the lock back. Raises nothing: if the service cannot be reached, it notices by itself."""


class Mastership(Protocol):
    """The way to the lock and the charter."""

    async def read(self) -> Charter | None:
        """The charter, as anybody may see it. Raises Unavailable, TimedOut."""

    async def claim(self, wait_seconds: float) -> Claim | None:
        """Take the lock; None if another held it for all of that time. Raises Unavailable, TimedOut."""

    async def close(self) -> None:
        """Let go of everything."""


def why_not(charter: Charter | None, name: str, *, namespace: int, last_epoch: int) -> str:
    """Why this master must not take over; "" if it may. `namespace` and `last_epoch` are of its log."""
    if charter is None:
        if namespace:
            return "its log belongs to a namespace, and the lock service knows of none: restore the service's folder"
        return ""
    if name not in charter.in_sync:
        return f"it is not in sync with {charter.holder}; {', '.join(charter.in_sync)} are"
    if charter.namespace and charter.namespace != namespace:
        return f"its log belongs to namespace {namespace:016x}, the charter to {charter.namespace:016x}"
    if last_epoch < charter.agreed:
        return (
            f"its log ends in epoch {last_epoch}, and epoch {charter.agreed} was agreed upon: its disk has lost "
            "something"
        )
    return ""


def taken_over(charter: Charter | None, name: str) -> Charter:
    """The charter of the next tenure. All who were in sync stay: they have every answered change, and nothing new is
    answered without them.

    >>> taken_over(Charter("master", 3, ("master", "master2"), agreed=3, namespace=7), "master2")
    Charter(holder='master2', epoch=4, in_sync=('master', 'master2'), agreed=3, namespace=7)
    >>> taken_over(None, "master3").in_sync
    ('master3',)
    """
    if charter is None:
        return Charter(name, 1, (name,))
    return replace(charter, holder=name, epoch=charter.epoch + 1)
