"""How a lock service and its clients are set up.

The defaults are Chubby's (2.4, 2.8): leases of 12 seconds, 45 seconds of grace, a lock-delay of at most a minute. A
cluster on a desk, which wants a new master within two seconds, takes less: see `cluster/roles.py`.

>>> LockServiceSettings.from_dict({"cluster": "desk", "lease_seconds": 1}).lease_seconds
1.0
>>> round(LockServiceSettings().share_for_clients, 3)
0.818
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.settings import MEBIBYTE, SettingsCheck, settings_from

WHOSE = "the lock service's"
LEASE_SECONDS = 12.0
GRACE_SECONDS = 45.0
LOCK_DELAY_SECONDS = 60.0
CLOCK_DRIFT = 0.1
MOST_CONTENTS_BYTES = 256 * 1024  # of one file (Chubby 4.5)


@dataclass(frozen=True, slots=True)
class LockServiceSettings:
    """Times are seconds, sizes are bytes."""

    cluster: str = "tabletop"
    control_address: str = "127.0.0.1:0"
    lease_seconds: float = LEASE_SECONDS  # how far each KeepAlive extends a session
    grace_seconds: float = GRACE_SECONDS  # how much longer a session may be out of touch before it is over
    lock_delay_seconds: float = LOCK_DELAY_SECONDS  # how long the locks of a lost session are withheld, at most
    clock_drift: float = CLOCK_DRIFT  # by what part a clock may be faster or slower than true time
    log_bytes: int = MEBIBYTE  # a log that is longer is begun again, with the state

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values that can never work."""
        check = SettingsCheck(self, WHOSE)
        check.more_than_0("lease_seconds")
        check.at_least(0, "grace_seconds", "lock_delay_seconds")
        check.that(0 <= self.clock_drift < 0.5, "clock_drift", "at least 0 and less than a half")
        check.at_least(1024, "log_bytes")

    @property
    def session_seconds(self) -> float:
        """For how long the service keeps a session of which it hears nothing."""
        return self.lease_seconds + self.grace_seconds

    @property
    def share_for_clients(self) -> float:
        """What part of a time span that the service's clock has measured has passed at least, by a client's clock."""
        return (1 - self.clock_drift) / (1 + self.clock_drift)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object of the settings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LockServiceSettings":
        """The settings that `to_dict` wrote. Raises InvalidRequest for an unknown field or a value of a wrong type."""
        return settings_from(cls, values, WHOSE)


@dataclass(frozen=True, slots=True)
class LockClientSettings:
    """How long a client of the lock service tries. Seconds."""

    call_seconds: float = 1.0  # for one try of a call that the service answers at once
    patience_seconds: float = 10.0  # for a call with all its tries
    first_pause_seconds: float = 0.02
    longest_pause_seconds: float = 0.5

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values that can never work."""
        check = SettingsCheck(self, "the lock client's")
        check.more_than_0("call_seconds", "patience_seconds", "first_pause_seconds", "longest_pause_seconds")
