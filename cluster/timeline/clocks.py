"""Vector clocks: for each moment, how many moments of each lane are known where it happens (Fidge, Mattern 1988).

A lane counts its own moments. A message carries what its sender knew when it left, and whoever it comes to knows that
too from then on. Messages themselves count nothing, so that a log of the moments alone has no gaps.

>>> steps = [Step(0, moment=0), Step(0, message=1), Step(1, message=1), Step(1, moment=1)]
>>> list(vector_clocks(steps, lanes=2))
[(0, (1, 0)), (1, (1, 1))]
"""

from collections.abc import Iterable, Iterator

from cluster.timeline.model import Step


def vector_clocks(steps: Iterable[Step], lanes: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The places of all moments, in the order of the steps, with their clocks. The first step of a message is its
    sending."""
    known = [[0] * lanes for _ in range(lanes)]
    carried: dict[int, tuple[int, ...]] = {}
    for step in steps:
        own = known[step.lane]
        if step.moment >= 0:
            own[step.lane] += 1
            yield step.moment, tuple(own)
        elif step.message in carried:
            for lane, count in enumerate(carried[step.message]):
                own[lane] = max(own[lane], count)
        else:
            carried[step.message] = tuple(own)
