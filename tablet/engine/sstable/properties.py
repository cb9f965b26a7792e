"""What an SSTable says about itself: in the file, and once more in the manifest.

So a plan, a report and the choice of files for a read need no other file than the manifest.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TableProperties:
    """What an SSTable says about itself. Timestamps in microseconds, 0 where there are no cells; sequences are those
    of the log records whose mutations it holds; `broad_markers` counts deletions of rows and of families."""

    group: str
    rows: int
    cells: int
    markers: int
    broad_markers: int
    first_row: bytes
    last_row: bytes
    oldest_timestamp: int
    newest_timestamp: int
    first_sequence: int
    last_sequence: int
    blocks: int
    row_bytes: int
    data_bytes: int
    bloom_keys: str
    bloom_entries: int
    bloom_bytes: int
    bloom_policy: str
    false_positive_rate: float
    compression: str

    def to_json(self) -> dict[str, Any]:
        """For the file, and for the manifest; row keys as Latin-1 text."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "first_row": self.first_row.decode("latin-1"), "last_row": self.last_row.decode("latin-1")}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "TableProperties":
        """The reverse. Raises KeyError, TypeError or ValueError for something else."""
        for name, value in fields.items():
            expected = _OTHER_TYPES.get(name, (int,))
            if type(value) not in expected:
                raise TypeError(f"{name} is {value!r}, expected {expected[0].__name__}")
        rows = {name: fields[name].encode("latin-1") for name in ("first_row", "last_row")}
        return cls(**{**fields, **rows})


_TEXTS = ("group", "first_row", "last_row", "bloom_keys", "bloom_policy", "compression")
_OTHER_TYPES: dict[str, tuple[type, ...]] = {**dict.fromkeys(_TEXTS, (str,)), "false_positive_rate": (float, int)}
"""What properties are in JSON, if no whole number."""
