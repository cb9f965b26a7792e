"""How a chunkserver is set up. Its name is its node's name.

>>> ChunkserverSettings.from_dict({"cluster": "desk", "durability": "fsync"}).durability
'fsync'
>>> ChunkserverSettings.from_dict({"durabilty": "fsync"})
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: the chunkserver's settings have no field 'durabilty'; did you mean 'durability'?
"""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.errors import InvalidRequest, shown

DURABILITIES = ("replicated", "fsync")
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChunkserverSettings:
    """Sizes are bytes, times are seconds. The paper gives none of these numbers."""

    cluster: str = "tabletop"
    master_address: str = "127.0.0.1:7000"
    control_address: str = "127.0.0.1:0"
    bulk_address: str = "127.0.0.1:0"
    rack: str = ""
    # "replicated": an answer means that every replica's operating system has it, so that it survives every process's
    # death. "fsync": it is on every replica's disk.
    durability: str = "replicated"

    push_buffer_bytes: int = 48 * MEBIBYTE
    # Pushed data that nobody asked to write for so long is dropped (GFS 3.1 step 3: "or aged out").
    push_age_seconds: float = 60.0
    # How long a push waits for room in the buffer before it is refused.
    push_patience_seconds: float = 4.0
    # How long a chunkserver waits for the next one in the chain to say that it has the data.
    push_seconds: float = 8.0

    # How long a primary waits for a secondary, and a secondary for a mutation that comes before one that it has.
    apply_seconds: float = 5.0
    predecessor_seconds: float = 2.0

    # Space on the disk that is never filled with chunks.
    reserve_bytes: int = 16 * MEBIBYTE
    # Chunks whose files are kept open.
    open_chunks: int = 128

    # Idle verification (GFS 5.2). 0 switches it off.
    scrub_bytes_per_second: int = 8 * MEBIBYTE
    # A pause for as long as clients keep the server busy.
    scrub_pause_seconds: float = 1.0

    # Until the master has said otherwise.
    heartbeat_seconds: float = 1.0
    # How long the master may take to answer.
    call_seconds: float = 5.0
    # Chunks mentioned in each heartbeat, in turn, for garbage collection (GFS 4.4).
    sample_chunks: int = 256

    def __post_init__(self) -> None:
        if self.durability not in DURABILITIES:
            _refuse("durability", shown(self.durability), " or ".join(repr(name) for name in DURABILITIES))
        for name in (
            "push_buffer_bytes",
            "push_age_seconds",
            "push_patience_seconds",
            "push_seconds",
            "apply_seconds",
            "predecessor_seconds",
            "open_chunks",
            "scrub_pause_seconds",
            "heartbeat_seconds",
            "call_seconds",
            "sample_chunks",
        ):
            if getattr(self, name) <= 0:
                _refuse(name, getattr(self, name), "more than 0")
        for name in ("reserve_bytes", "scrub_bytes_per_second"):
            if getattr(self, name) < 0:
                _refuse(name, getattr(self, name), "0 or more")

    @property
    def syncs(self) -> bool:
        """Whether an answer waits for the disk."""
        return self.durability == "fsync"

    def to_dict(self) -> dict[str, Any]:
        """A JSON object of the settings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ChunkserverSettings":
        """The settings that `to_dict` wrote. Raises InvalidRequest for an unknown field or a value of a wrong type."""
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in types:
                near = difflib.get_close_matches(name, types, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(types)}"
                raise InvalidRequest(f"the chunkserver's settings have no field {shown(name)}{hint}")
            expected = types[name]
            if expected is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not isinstance(value, expected if isinstance(expected, type) else object) or isinstance(value, bool):
                wanted = getattr(expected, "__name__", str(expected))
                _refuse(name, f"{value!r} ({type(value).__name__})", wanted)
            checked[name] = value
        return cls(**checked)


def _refuse(name: str, found: object, expected: str) -> None:
    raise InvalidRequest(f"the chunkserver's setting {name} is {found}, expected {expected}")
