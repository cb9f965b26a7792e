"""What an SSTable says about itself: in the file, and once more in the manifest.

So a plan, a report and the choice of files for a read need no other file than the manifest.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from runtime.errors import Corrupted
from runtime.wire import tablet_pb2


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

    def to_message(self) -> tablet_pb2.TableProperties:
        """For the file, and for the manifest."""
        return tablet_pb2.TableProperties(**{name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def decode(cls, data: bytes, name: str) -> "TableProperties":
        """Those in the bytes of a file. Raises Corrupted."""
        try:
            return cls.from_message(tablet_pb2.TableProperties.FromString(data))
        except DecodeError as error:
            raise Corrupted(f"{name}: its properties cannot be read ({error}); restore the file from a copy") from error

    @classmethod
    def from_message(cls, message: tablet_pb2.TableProperties) -> "TableProperties":
        """The reverse."""
        return cls(**{name: getattr(message, name) for name in cls.__slots__})
