"""How a tablet server is set up. Sizes are bytes, times seconds; the paper names neither memtable nor log sizes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.settings import MEBIBYTE, SettingsCheck, settings_from
from tablet.engine.world.options import Options

WHOSE = "a tablet server's"


@dataclass(frozen=True, slots=True)
class TabletServerSettings:
    """One tablet server."""

    cluster: str = "tabletop"
    control_address: str = "127.0.0.1:0"
    master_address: str = "127.0.0.1:7000"  # of the file system
    lock_service: str = "127.0.0.1:7100"
    memtable_bytes: int = 16 * MEBIBYTE  # of one tablet
    memory_bytes: int = 64 * MEBIBYTE  # for the memtables of all tablets
    cache_bytes: int = 64 * MEBIBYTE  # for blocks of all tablets
    segment_bytes: int = 16 * MEBIBYTE  # at this size a segment of the log is full
    segment_limit: int = 8  # if there are more, the tablet that pins the oldest is flushed
    split_bytes: int = 128 * MEBIBYTE  # a tablet whose SSTables are larger is split (BT 5: 100-200 MB); 0: never
    house_seconds: float = 1.0  # how often it looks for tablets to be split

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values that can never work."""
        check = SettingsCheck(self, WHOSE)
        check.at_least(1024, "memtable_bytes", "segment_bytes")
        check.at_least(0, "cache_bytes", "split_bytes")
        check.at_least(2, "segment_limit")
        check.at_least(self.memtable_bytes, "memory_bytes")
        check.more_than_0("house_seconds")

    def options(self) -> Options:
        """Those of each tablet's engine. GFS has made durable what it has acknowledged: `sync` costs nothing."""
        return Options(
            sync="fsync",
            memtable_bytes=self.memtable_bytes,
            block_cache_bytes=self.cache_bytes,
            whole_blocks=True,
            create=False,
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON object of the settings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TabletServerSettings":
        """The settings that `to_dict` wrote. Raises InvalidRequest for an unknown field or a value of a wrong type."""
        return settings_from(cls, values, WHOSE)
