"""What is seen of one run, by somebody who sees everything: the input of the classification."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """One run. Texts are for people; the classification looks at whether there are any.

    `changed`: the fault was there: bytes were others, or an access was refused. `reads`, `writes`, `read_first`: the
    accesses to the block (`striking.py`). `crashes` counts failed starts and ends of the struck node by itself, `is_up`
    whether it serves at the end. `events`: the kinds of records that tell of damage or its mending, by the struck node
    or by another about it. `below_goal` and `differing` are about replicas, at the end, on the disks.
    """

    changed: bool = False
    reads: int = 0
    writes: int = 0
    read_first: bool = False
    wrong: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    reads_go_on: bool = True
    writes_go_on: bool = True
    crashes: int = 0
    is_up: bool = True
    last_problem: str = ""
    events: frozenset[str] = frozenset()
    below_goal: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    virtual_seconds: float = 0.0
