"""What the maintenance of chunks records, beside what is in `master/events.py`."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class CopiedAsItIs(Event):
    """The disks with the replicas that are left take no new version; nobody can be writing the chunk."""

    sentence: ClassVar[str] = "has chunk {handle:#x} copied at its version, for {servers} cannot write down another one"
    handle: int
    servers: tuple[str, ...]
