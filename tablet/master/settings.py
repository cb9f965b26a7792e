"""How a tablet master is set up. Times are seconds; the paper names none of them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.settings import SettingsCheck, settings_from

WHOSE = "the tablet master's"


@dataclass(frozen=True, slots=True)
class TabletMasterSettings:
    """One tablet master."""

    cluster: str = "tabletop"
    control_address: str = "127.0.0.1:0"
    master_address: str = "127.0.0.1:7000"  # of the file system
    lock_service: str = "127.0.0.1:7100"
    round_seconds: float = 0.5
    call_seconds: float = 1.0  # a server that does not answer in this time is asked again in the next round
    # One try to have a tablet loaded or unloaded, or a log sorted. A server that is still at it when it is asked again
    # goes on: so this is how long a message that was lost costs, and not how long the work may take.
    order_seconds: float = 10.0
    patience_seconds: float = 2.0  # for one question to METADATA: who else could have it served again?
    table_seconds: float = 30.0  # until the tablets of a new table are served
    moves_at_once: int = 2  # to make servers even: few tablets are without a server for a moment then; 0: none
    uneven_tablets: int = 2  # a server that has so many more than another one is relieved
    # Neighbours that have less than this together are merged without an order; 0: none are. Much less than the tablet
    # servers' `split_bytes`, or what was merged is split again.
    merge_bytes: int = 0
    sweep_seconds: float = 20.0  # how often it looks for files that no tablet refers to
    rest_seconds: float = 10.0  # a tablet that has just come to a server stays there for so long
    snapshot_seconds: float = 30.0  # until each server has acquired its tablets for a snapshot, or it is aborted

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values that can never work."""
        check = SettingsCheck(self, WHOSE)
        check.more_than_0("round_seconds", "call_seconds", "order_seconds", "patience_seconds")
        check.more_than_0("table_seconds", "snapshot_seconds", "sweep_seconds")
        check.at_least(0, "moves_at_once", "merge_bytes", "rest_seconds")
        check.at_least(2, "uneven_tablets")

    def to_dict(self) -> dict[str, Any]:
        """A JSON object of the settings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TabletMasterSettings":
        """The settings that `to_dict` wrote. Raises InvalidRequest for an unknown field or a value of a wrong type."""
        return settings_from(cls, values, WHOSE)
