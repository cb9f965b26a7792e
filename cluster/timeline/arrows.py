"""Who caused what, where nobody saw the messages: in a real cluster.

Two records of different nodes are joined where one certainly answers the other: the primary that received version 7 of
a lease, and the master that granted it. Which of the two comes first their Lamport clocks say. The records of one cause
(one client's write, say) are joined one after the other in the order of their clocks: the work is the same, and no
message need have gone exactly this way.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cluster.timeline.bars import Timed
from cluster.timeline.model import Arrow, ArrowKind
from cluster.timeline.subjects import subjects_of

Key = tuple[object, ...]


def _named(*names: str) -> Callable[[Timed], Key]:
    """A key made of fields; "node" is who recorded it."""

    def key(one: Timed) -> Key:
        event: Any = one.record.event
        return tuple(one.record.node if name == "node" else getattr(event, name) for name in names)

    return key


# Two kinds that belong together, in whatever order, and what must be alike; as a message what passed between them.
_PAIRS: tuple[tuple[str, Callable[[Timed], Key], str, Callable[[Timed], Key], str], ...] = (
    (
        "LeaseReceived",
        _named("handle", "version", "node"),
        "LeaseGranted",
        _named("handle", "version", "primary"),
        "a lease is taken, and counts",
    ),
    ("LeaseEnded", _named("handle", "node"), "LeaseRevoked", _named("handle", "primary"), "a lease ends"),
    ("CloneStarted", _named("handle", "destination"), "ChunkCloned", _named("handle", "node"), "copy this chunk"),
    ("ChunkCloned", _named("handle", "node"), "CloneFinished", _named("handle", "destination"), "it is copied"),
    (
        "CorruptionFound",
        _named("handle", "block", "node"),
        "CorruptionReported",
        _named("handle", "block", "server"),
        "a block is damaged",
    ),
    ("ChunkserverRegistered", _named("server"), "Registered", _named("node"), "you are registered"),
    ("RemovalOrdered", _named("server", "count"), "ChunksDeleted", _named("node", "count"), "remove replicas"),
    ("BlocksMended", _named("handle", "node"), "ReplicaMended", _named("handle", "server"), "blocks are mended"),
)


def inferred_arrows(timed: Sequence[Timed]) -> list[tuple[int, int, Arrow]]:
    """Arrows between records, with the places of both in `timed`, which is in an order that respects cause."""
    answers = list(_answers(timed))
    joined = {(one, other): True for one, other, _ in answers}
    same_work = [found for found in _same_work(timed) if found[:2] not in joined]
    return sorted([*answers, *same_work], key=lambda found: (found[2].sent, found[0], found[1]))


def _answers(timed: Sequence[Timed]) -> Iterator[tuple[int, int, Arrow]]:
    waiting: dict[tuple[int, str, Key], int] = {}
    by_kind: dict[str, list[tuple[int, str, Callable[[Timed], Key], str]]] = {}
    for number, (one, key_of_one, other, key_of_other, _) in enumerate(_PAIRS):
        by_kind.setdefault(one, []).append((number, one, key_of_one, other))
        by_kind.setdefault(other, []).append((number, other, key_of_other, one))
    for place, found in enumerate(timed):
        for number, kind, key_of, partner in by_kind.get(found.kind, ()):
            key = key_of(found)
            before = waiting.pop((number, partner, key), None)
            if before is not None and timed[before].record.lamport < found.record.lamport:
                yield before, place, _arrow(timed[before], found, ArrowKind.ANSWERS, _PAIRS[number][4])
            else:
                waiting[number, kind, key] = place


def _same_work(timed: Sequence[Timed]) -> Iterator[tuple[int, int, Arrow]]:
    latest: dict[str, int] = {}
    for place, found in enumerate(timed):
        cause = found.record.cause
        if not cause:
            continue
        before = latest.get(cause)
        latest[cause] = place
        if before is not None:
            earlier = timed[before]
            if earlier.lane != found.lane and earlier.record.lamport < found.record.lamport:
                yield before, place, _arrow(earlier, found, ArrowKind.SAME_WORK, f"the same work: {cause}")


def _arrow(one: Timed, other: Timed, kind: ArrowKind, text: str) -> Arrow:
    about = (*subjects_of(one.record.event), *subjects_of(other.record.event))
    return Arrow(one.time, other.time, one.lane, other.lane, kind, text, "", False, tuple(dict.fromkeys(about)))
