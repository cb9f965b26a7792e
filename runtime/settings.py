"""How settings are read and refused, the same for every kind of node.

The problem. A node's settings come from a file that a person may have written. A misspelt name that is ignored, or a
size given as text, shows itself hours later as something else. The idea: each room has a frozen dataclass of its own
settings, whose `__post_init__` refuses values that can never work; here are the words in which it does that, and the
way from a JSON object to the dataclass. A refusal names the setting, what was found and what was expected.

>>> @dataclasses.dataclass(frozen=True)
... class Example:
...     lease_seconds: float = 60.0
...     def __post_init__(self) -> None:
...         SettingsCheck(self, "an example's").more_than_0("lease_seconds")
>>> settings_from(Example, {"lease_seconds": 5}, "an example's")
Example(lease_seconds=5.0)
>>> settings_from(Example, {"lease_second": 5}, "an example's")
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: an example's settings have no field 'lease_second'; did you mean 'lease_seconds'?
>>> Example(0)
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: an example's setting lease_seconds is 0, expected more than 0
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from runtime.errors import InvalidRequest, shown

KIBIBYTE = 1024
MEBIBYTE = 1024 * 1024

# The paper's numbers, and where it names none, ours: what master, chunkservers and clusters are set up with by default.
CHUNK_BYTES = 64 * MEBIBYTE  # GFS 2.5
CHUNK_BYTES_BELOW = 2**32  # the chunk files have 32 bits for a length
MOST_CHUNKS = 1 << 20  # of one file: what lies beyond is a mistaken position, and is refused before a gap is filled
RECORD_SHARE = 4  # a record that is appended takes at most this part of a chunk: little is padded then (GFS 3.3)
REPLICAS = 3  # GFS 2.3
LEASE_SECONDS = 60.0  # GFS 3.1
HEARTBEAT_SECONDS = 1.0
TRASH_SECONDS = 3 * 24 * 3600.0  # GFS 4.4
RESERVE_BYTES = 16 * MEBIBYTE  # a server with less free space takes nothing new

# What the answer to a write means. "replicated": every replica has it in its page cache. "fsync": on its disk.
DURABILITIES = ("replicated", "fsync")

SettingsT = TypeVar("SettingsT")


def settings_from(kind: type[SettingsT], values: Mapping[str, Any], whose: str) -> SettingsT:
    """The settings of a dataclass from a JSON object, such as `dataclasses.asdict` gives; `whose` is for refusals.

    Raises InvalidRequest for an unknown field or a value of a wrong type, and what the class itself refuses.
    """
    types = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in types:
            near = difflib.get_close_matches(name, types, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(types)}"
            raise InvalidRequest(f"{whose} settings have no field {shown(name)}{hint}")
        expected = types[name]
        assert isinstance(expected, type), f"{kind.__name__}.{name} has no plain type"
        if expected is float and type(value) is int:
            value = float(value)
        if type(value) is not expected:  # A bool is an int to isinstance.
            raise InvalidRequest(
                f"{whose} setting {name} is {value!r} ({type(value).__name__}), expected {expected.__name__}"
            )
        checked[name] = value
    return kind(**checked)


class SettingsCheck:
    """Refuses settings that can never work. `whose` is how a refusal begins: "the master's"."""

    def __init__(self, settings: object, whose: str) -> None:
        self._settings = settings
        self._whose = whose

    def that(self, holds: bool, name: str, expected: str) -> None:
        """Raise InvalidRequest, with the setting's value and what was expected, unless `holds`."""
        if not holds:
            value = getattr(self._settings, name)
            found = shown(value) if isinstance(value, str) else value
            raise InvalidRequest(f"{self._whose} setting {name} is {found}, expected {expected}")

    def more_than_0(self, *names: str) -> None:
        """Each of them is above 0."""
        for name in names:
            self.that(getattr(self._settings, name) > 0, name, "more than 0")

    def at_least(self, least: int, *names: str) -> None:
        """None of them is below `least`."""
        for name in names:
            self.that(getattr(self._settings, name) >= least, name, f"{least} or more")

    def one_of(self, choices: tuple[str, ...], name: str) -> None:
        """It is one of the words."""
        self.that(getattr(self._settings, name) in choices, name, " or ".join(repr(choice) for choice in choices))
