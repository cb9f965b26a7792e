"""How long a client of tables tries, and how much it asks for at once. The paper names none of these numbers."""

from dataclasses import dataclass

from runtime.settings import SettingsCheck


@dataclass(frozen=True, slots=True)
class TableClientSettings:
    """Seconds, rows and bytes."""

    call_seconds: float = 5.0  # one try
    patience_seconds: float = 60.0  # the whole of one operation: enough for a dead server's log to be sorted
    first_pause_seconds: float = 0.05
    longest_pause_seconds: float = 1.0
    prefetched: int = 8  # METADATA rows that are read at once: the next tablets are often wanted too (BT 5.1)
    scan_rows: int = 500  # of one answer
    mutations_a_call: int = 1000
    call_bytes: int = 4 * 1024 * 1024  # of the mutations of one call, unless one row has more
    calls_in_flight: int = 4  # of one batch, to each server

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values that can never work."""
        check = SettingsCheck(self, "a table client's")
        check.more_than_0("call_seconds", "patience_seconds", "first_pause_seconds", "longest_pause_seconds")
        check.at_least(1, "prefetched", "scan_rows", "mutations_a_call", "call_bytes", "calls_in_flight")
