"""Who caused what, where nobody saw the messages: in a real cluster.

Two records of different nodes are joined where one certainly led to the other: the primary has taken version 7 of a
lease, and the master counts it as granted. The records of one cause (one client's write, say) are joined one after the
other in the order of their Lamport clocks: the work is the same, and no message need have gone exactly this way.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cluster.timeline.model import Arrow, ArrowKind
from cluster.timeline.subjects import subjects_of
from cluster.timeline.timed import Timed

Key = tuple[object, ...]
LONGEST_ANSWER = 60_000_000
"""Microseconds: what comes later is taken for the end of something else."""


def _named(*names: str) -> Callable[[Timed], Key]:
    """A key made of fields; "node" is who recorded it."""

    def key(one: Timed) -> Key:
        event: Any = one.record.event
        return tuple(one.record.node if name == "node" else getattr(event, name) for name in names)

    return key


# What leads to what, and what must be alike in both; as a message what passed between them.
_PAIRS: tuple[tuple[str, Callable[[Timed], Key], str, Callable[[Timed], Key], str], ...] = (
    (
        "LeaseReceived",
        _named("handle", "version", "node"),
        "LeaseGranted",
        _named("handle", "version", "primary"),
        "a lease is taken, and counts",
    ),
    ("LeaseEnded", _named("handle", "node"), "LeaseRevoked", _named("handle", "primary"), "a lease has ended"),
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
    (
        "TabletLoaded",
        _named("tablet", "token"),
        "TabletAssigned",
        _named("tablet", "token"),
        "a tablet is loaded, and METADATA says so",
    ),
    ("TabletMoved", _named("tablet"), "TabletUnloaded", _named("tablet"), "unload this tablet"),
    ("BlocksMended", _named("handle", "node"), "ReplicaMended", _named("handle", "server"), "blocks are mended"),
)


def inferred_arrows(timed: Sequence[Timed]) -> list[tuple[int, int, Arrow]]:
    """Arrows between records, with the places of both in `timed`, which is in an order that respects cause."""
    answers = list(_answers(timed))
    joined = {(one, other): True for one, other, _ in answers}
    same_work = [found for found in _same_work(timed) if found[:2] not in joined]
    return sorted([*answers, *same_work], key=lambda found: (found[2].sent, found[0], found[1]))


def _answers(timed: Sequence[Timed]) -> Iterator[tuple[int, int, Arrow]]:
    waiting: dict[tuple[int, Key], int] = {}
    begins: dict[str, list[tuple[int, Callable[[Timed], Key]]]] = {}
    ends: dict[str, list[tuple[int, Callable[[Timed], Key]]]] = {}
    for number, (one, key_of_one, other, key_of_other, _) in enumerate(_PAIRS):
        begins.setdefault(one, []).append((number, key_of_one))
        ends.setdefault(other, []).append((number, key_of_other))
    for place, found in sorted(enumerate(timed), key=lambda placed: placed[1].time):
        for number, key_of in ends.get(found.kind, ()):
            before = waiting.pop((number, key_of(found)), None)
            if before is not None and found.time - timed[before].time <= LONGEST_ANSWER:
                yield before, place, _arrow(timed[before], found, ArrowKind.ANSWERS, _PAIRS[number][4])
        for number, key_of in begins.get(found.kind, ()):
            waiting[number, key_of(found)] = place


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
    return Arrow(
        one.time, max(one.time, other.time), one.lane, other.lane, kind, text, "", False, tuple(dict.fromkeys(about))
    )
