"""What a tablet server tells of itself to whoever watches it: `tabletop status`, aims of faults, metrics."""

from collections import deque

from runtime.wire import tables_pb2 as wire
from tablet.hosting.life import Life

WINDOW_SECONDS = 10.0
NO_SESSION = "none"


class Pace:
    """How many things a second were counted lately. Times in seconds of one clock.

    >>> pace = Pace()
    >>> pace.note(0.0, 0); pace.note(5.0, 100)
    >>> pace.per_second(10.0, 300), pace.per_second(14.0, 300), Pace().per_second(1.0, 5)
    (30.0, 22.22222222222222, 0.0)
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, count: int) -> None:
        """So many were counted up to now."""
        self._samples.append((now, count))

    def per_second(self, now: float, count: int) -> float:
        """From the oldest sample of the last seconds to now."""
        while len(self._samples) > 1 and self._samples[0][0] < now - WINDOW_SECONDS:
            self._samples.popleft()
        if not self._samples or now <= self._samples[0][0]:
            return 0.0
        since, before = self._samples[0]
        return (count - before) / (now - since)


def figures_of(node: str, life: Life | None, rows_per_second: float, seconds: float) -> wire.TabletServerFigures:
    """Take stock of the present life; `seconds`: how long it has lasted."""
    if life is None or life.reason:
        return wire.TabletServerFigures(node=node, session=NO_SESSION)
    return wire.TabletServerFigures(
        node=node,
        life=life.name,
        session=life.session.state.value,
        life_seconds=seconds,
        rows_per_second=rows_per_second,
        memtable_bytes=life.budget.memtables.used_bytes,
        memtable_limit_bytes=life.budget.memtables.limit_bytes,
        log_bytes=life.log.file_bytes,
        log_segments=len(life.log.segments),
        loading=list(life.loading),
        tablets=[
            wire.TabletFigures(
                tablet=name,
                token=life.places[name].token,
                memtable_bytes=engine.state.memory_bytes(),
                file_bytes=sum(table.charged_bytes for table in engine.state.manifest.references()),
            )
            for name, engine in life.engines.items()
            if not engine.state.superseded
        ],
    )
