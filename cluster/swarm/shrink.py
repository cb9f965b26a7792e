"""Making a failing plan smaller while the same judge still finds something.

Delta debugging (Zeller and Hildebrandt 2002): leave out halves, then quarters, then single items, as long as the rest
still fails. First faults, because each one that goes makes the story much shorter; then whole clients and operations;
then faults again; then streams of the tape, whose choices all become the plain ones. Bounded by wall time: whatever was
reached by then is the answer.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

SHRINK_SECONDS = 120.0
_STREAMS = ("loop order", "network latency", "network faults")


class Shrinker:
    """Shrinks one plan that `judge` has found something wrong with. `run` runs a plan of this kind and judges it."""

    def __init__(
        self,
        plan: Any,
        judge: str,
        run: Callable[[Any], Any],
        *,
        seconds: float = SHRINK_SECONDS,
        say: Callable[[str], None] = print,
    ) -> None:
        self.plan = plan
        self._run = run
        self.judge = judge
        self.tries = 0
        self._deadline = time.monotonic() + seconds
        self._say = say

    def shrink(self) -> Any:
        """The smallest plan that was found in time."""
        before: Any = None
        while before != self.plan and not self._is_over():
            before = self.plan
            self._minimise_faults()
            self._drop_clients()
            self._minimise_operations()
            self._say(
                f"{self.tries} tries: {len(self.plan.operations)} operations, {len(self.plan.faults)} faults are left"
            )
        self._make_plain()
        self._end_earlier()
        return self.plan

    def _fails(self, plan: Any) -> bool:
        if self._is_over():
            return False
        self.tries += 1
        return any(verdict.judge == self.judge for verdict in self._run(plan).verdicts)

    def _is_over(self) -> bool:
        return time.monotonic() > self._deadline

    def _keep_if_fails(self, **changes: object) -> bool:
        plan = dataclasses.replace(self.plan, **changes)
        if plan != self.plan and self._fails(plan):
            self.plan = plan
            return True
        return False

    def _minimise_faults(self) -> None:
        minimise(self.plan.faults, lambda faults: self._keep_if_fails(faults=tuple(faults)))

    def _minimise_operations(self) -> None:
        minimise(self.plan.operations, lambda some: self._keep_if_fails(operations=tuple(some)))

    def _drop_clients(self) -> None:
        for client in self.plan.clients():
            self._keep_if_fails(operations=tuple(one for one in self.plan.operations if one.client != client))

    def _make_plain(self) -> None:
        if self._keep_if_fails(plain_streams=("*",)):
            return
        for stream in _STREAMS:
            self._keep_if_fails(plain_streams=(*self.plan.plain_streams, stream))

    def _end_earlier(self) -> None:
        setup = self.plan.setup
        for part in (0.25, 0.5, 0.75):
            shorter = dataclasses.replace(setup, trouble_seconds=setup.trouble_seconds * part)
            if self._keep_if_fails(setup=shorter):
                return


def minimise(items: Sequence[T], still_fails: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Leave out as many items as possible. `still_fails` runs the rest, and keeps it if it fails.

    >>> minimise([1, 2, 3, 4, 5, 6, 7, 8], lambda rest: 3 in rest and 6 in rest)
    [3, 6]
    """
    parts = 2
    while items:
        size = max(1, len(items) // parts)
        for begin in range(0, len(items), size):
            rest = [*items[:begin], *items[begin + size :]]
            if still_fails(rest):
                items, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(items), parts * 2)
    return items
