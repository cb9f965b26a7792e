"""What a report says of a replica, and which replicas of a chunk agree (GFS 4.4, 4.5).

Two pure decisions. `judge_report` gives a replica that its server mentions the state that follows from versions alone.
`plan_members` compares the answers of several replicas to one raise, and says which of them go on together.

A report may be older than it looks: it was sent before a version was raised, and arrives after that. Within one life of
a server versions never fall, so a report below what the master has heard of the same replica already is an outdated
one, and not judged; only a registration, which says everything, is believed whatever it says.

>>> facts = {"version": 3, "attempted": 3, "is_member": True, "is_registration": False}
>>> judge_report(Reported(3), was=ReplicaState.ABSENT, **facts)
<ReplicaState.CURRENT: 'current'>
>>> judge_report(Reported(2), was=ReplicaState.ABSENT, **facts)
<ReplicaState.STALE: 'stale'>
>>> judge_report(Reported(2), was=ReplicaState.CURRENT, **facts)
<ReplicaState.CURRENT: 'current'>
>>> judge_report(Reported(1), was=ReplicaState.ABSENT, **{**facts, "version": None})
<ReplicaState.ORPHAN: 'orphan'>

Why a replica whose version is above the confirmed one counts: a number between the confirmed and the attempted version
was sent in a raise that failed, to replicas of the confirmed version; no client was ever told of it, so nothing was
written under it. One that is no member, a copy whose end nobody heard of, is compared as before. Only an operator's
wish to admit a stale replica gives a number to one that lacks something: if that failed, it is stale as before, though
its server takes it for whole. A version above every number that this master ever used is from a future that its log has
lost: as in the paper, the higher version is taken to be up-to-date (4.5), but only after a comparison.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from master.chunks.replicas import ReplicaState


@dataclass(frozen=True, slots=True)
class Reported:
    """What a server says of one replica."""

    version: int
    is_unsure: bool = False
    is_damaged: bool = False


def judge_report(
    report: Reported,
    *,
    version: int | None,
    attempted: int,
    is_member: bool,
    was: ReplicaState,
    is_registration: bool,
    condemned_through: int = 0,
    is_of_admission: bool = False,
) -> ReplicaState:
    """The state that a reported replica has from now on. `version` is the confirmed one, None for an unknown chunk.

    `condemned_through`: the version up to which a condemned replica is to be removed; its server keeps a newer one.
    `is_of_admission`: the reported version is the number of an admission that failed."""
    if was is ReplicaState.FORMING:
        return was
    if was is ReplicaState.CONDEMNED and not is_registration and report.version <= condemned_through:
        return was
    if version is None:
        return ReplicaState.ORPHAN
    counted = (ReplicaState.CURRENT, ReplicaState.CORRUPT, ReplicaState.SURPLUS)
    if is_of_admission and not is_member:
        return ReplicaState.STALE
    if report.version < version:
        is_outdated = was in counted and not is_registration
        return was if is_outdated else ReplicaState.STALE
    if report.is_unsure:
        return ReplicaState.UNSURE
    if report.is_damaged:
        return ReplicaState.CORRUPT
    if was in counted and not is_registration:
        return was
    if not is_member or report.version > attempted or was is ReplicaState.STALE:
        return ReplicaState.UNSURE
    return ReplicaState.CURRENT


class Progress(NamedTuple):
    """How far a replica has come: it has every acknowledged mutation under lower versions, and those under this one up
    to this serial number of its primary (GFS 3.1)."""

    version: int
    serial: int


NO_PROGRESS = Progress(0, 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one replica holds after it took a new version. Equal lengths and digests mean equal bytes. `progress` is how
    far it has come, `durable_progress` how far with what was certainly on stable storage."""

    server: str
    length: int
    digest: int
    is_unsure: bool = False
    doubtful_blocks: int = 0
    is_damaged: bool = False
    progress: Progress = NO_PROGRESS
    durable_progress: Progress = NO_PROGRESS


def plan_members(answers: Sequence[Answer]) -> tuple[str, ...]:
    """The replicas that go on together: all that hold the same bytes as the reference, in the given order.

    A sure replica of the confirmed version has every acknowledged byte, so any sure one may be the reference: the
    largest group of equal ones is, and of equal groups the longest. A damaged one is not, as long as a sound one is
    there: what it has more was never acknowledged, and perhaps nobody has it whole. If none is sure, every replica has
    lost power, and the last seconds of bytes may be gone: see `_best_of_unsure`.

    >>> plan_members([Answer("cs1", 10, 77), Answer("cs2", 10, 77), Answer("cs3", 20, 99)])
    ('cs1', 'cs2')
    >>> plan_members([Answer("cs1", 10, 77), Answer("cs2", 20, 99, True), Answer("cs3", 20, 99, True)])
    ('cs1',)
    >>> plan_members([Answer("cs1", 10, 77, is_damaged=True), Answer("cs2", 0, 0)])
    ('cs2',)
    >>> plan_members([Answer("cs1", 10, 77, True, 1), Answer("cs2", 8, 55, True)])
    ('cs2',)
    >>> synced, lost = Progress(3, 8), Progress(3, 7)
    >>> two = [Answer(name, 10, 55, True, 0, False, lost, lost) for name in ("cs1", "cs2")]
    >>> plan_members([*two, Answer("cs3", 10, 77, True, 0, False, synced, synced)])
    ('cs3',)
    """
    sure = [answer for answer in answers if not answer.is_unsure]
    voters = sure or list(answers)
    if not voters:
        return ()
    counts: dict[tuple[int, int], int] = {}
    for answer in voters:
        counts[answer.length, answer.digest] = counts.get((answer.length, answer.digest), 0) + 1
    if sure:
        sound = [answer for answer in sure if not answer.is_damaged] or sure
        reference = max(sound, key=lambda answer: (counts[answer.length, answer.digest], answer.length))
    else:
        reference = _best_of_unsure(voters, counts)
    agreed = (reference.length, reference.digest)
    return tuple(answer.server for answer in answers if (answer.length, answer.digest) == agreed)


def _best_of_unsure(answers: Sequence[Answer], counts: Mapping[tuple[int, int], int]) -> Answer:
    """The reference among replicas that have all lost power.

    What one of them had made durable may have been acknowledged long before its power failed, so that it must not be
    lost. One that has not come so far is no candidate, however whole it is and however many are like it. What came
    after that may be lost. There a whole replica is better than one with bytes that nobody can vouch for: fewest
    doubtful blocks, then furthest, then longest (the rest of an unfinished mutation), then most alike."""
    promised = max(answer.durable_progress for answer in answers)
    candidates = [answer for answer in answers if max(answer.progress, answer.durable_progress) >= promised]
    return min(
        candidates,
        key=lambda answer: (
            answer.doubtful_blocks,
            -answer.progress.version,
            -answer.progress.serial,
            -answer.length,
            -counts[answer.length, answer.digest],
        ),
    )
