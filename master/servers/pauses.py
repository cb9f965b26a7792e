"""How long to wait before something that failed is tried again.

The problem. A clone that fails raises a version each time, and writes to the log. If a chunk cannot be helped, because
its servers are gone or its blocks are whole nowhere, trying every two seconds for ever is a waste; waiting long after
the first failure delays what a moment would have mended. The idea: the pause of a thing doubles with each failure in a
row, up to a limit. A success ends that, and so does a change of the situation: whoever asks says what the situation is.

>>> pauses = Pauses(first=2.0, longest=30.0)
>>> for now in (0.0, 2.0, 6.0):
...     pauses.failed(7, "cs1 alone", now)
>>> pauses.left(7, "cs1 alone", 7.0), pauses.left(7, "cs1 and cs2", 7.0), pauses.left(8, "", 7.0)
(7.0, 1.0, 0.0)
>>> pauses.failures(7, "cs1 alone"), pauses.failures(7, "cs1 and cs2")
(3, 0)
"""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Pause:
    """After a failure: when it was, how long to wait, what the situation was, and how often in a row it has failed in
    that one."""

    began: float
    seconds: float
    situation: Hashable
    failures: int


class Pauses:
    """Growing pauses by number."""

    def __init__(self, *, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._pauses: dict[int, _Pause] = {}

    def __len__(self) -> int:
        return len(self._pauses)

    def failed(self, key: int, situation: Hashable, now: float, *, grows: bool = True) -> None:
        """It has failed: wait; if it `grows`, twice as long as the last time, unless something has changed."""
        before = self._pauses.get(key)
        seconds = self._first
        if grows and before is not None and before.situation == situation:
            seconds = min(self._longest, 2 * before.seconds)
        self._pauses[key] = _Pause(now, seconds, situation, self.failures(key, situation) + 1)

    def failures(self, key: int, situation: Hashable) -> int:
        """How often in a row it has failed, if the situation is the same still."""
        pause = self._pauses.get(key)
        return pause.failures if pause is not None and pause.situation == situation else 0

    def succeeded(self, key: int) -> None:
        """It has come about."""
        self._pauses.pop(key, None)

    def left(self, key: int, situation: Hashable, now: float) -> float:
        """Seconds to wait yet; 0 if there is nothing to wait for."""
        pause = self._pauses.get(key)
        if pause is None:
            return 0.0
        seconds = pause.seconds if pause.situation == situation else self._first
        return max(0.0, pause.began + seconds - now)

    def is_known(self, key: int) -> bool:
        """Whether it has failed since it last succeeded."""
        return key in self._pauses

    def forget_old(self, now: float) -> None:
        """Forget failures after which nobody has tried again for long."""
        self._pauses = {
            key: pause for key, pause in self._pauses.items() if now < pause.began + pause.seconds + 2 * self._longest
        }
