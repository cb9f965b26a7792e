"""The judges of one history: registers, locks, ephemeral files, lock-delays.

Every answer about a file or lock shows a generation, and generations come from one counter. So no search is needed for
an order that explains the answers: the generations are the order, and it must agree with time.
"""

from collections.abc import Iterable, Sequence

from cluster.swarm.history import Answer
from cluster.swarm.locks.history import FIRST_VALUE, History, Operation
from cluster.swarm.locks.mischief import LOCK, WORST_DRIFT
from cluster.swarm.locks.plan import Kind
from cluster.swarm.verdicts import Verdict
from lockservice.events import LockFreed, LockTaken, SessionClosed, SessionLost
from runtime.events import NodeStarted, Record

Records = Sequence[tuple[float, Record]]


def judge_history(history: History) -> list[Verdict]:
    """What the answers to clients alone prove wrong."""
    verdicts: list[Verdict] = []
    for path in sorted({one.path for one in history.operations}):
        about = [one for one in history.operations if one.path == path]
        if any(one.is_write or one.kind is Kind.READ for one in about):
            verdicts += _judge_register(about)
        elif any(one.kind is Kind.ACQUIRE for one in about):
            verdicts += _judge_acquisitions(about)
        else:
            verdicts += _judge_ephemeral(about)
    verdicts += _judge_sequencers(history)
    return verdicts


def _verdict(judge: str, text: str, *operations: Operation) -> Verdict:
    return Verdict(judge, text, tuple(one.number for one in operations))


# Registers: compare-and-set is linearizable.


def _judge_register(about: Sequence[Operation]) -> Iterable[Verdict]:
    by_number = {one.number: one for one in about if one.is_write}
    values: dict[int, int] = {}  # by generation
    for one in about:
        if one.answer is not Answer.VALUE:
            continue
        value = one.number if one.is_write else one.value
        if values.setdefault(one.generation, value) != value:
            yield _verdict("registers", f"{one.told()}: generation {one.generation} was {values[one.generation]}", one)
        source = by_number.get(value)
        if value != FIRST_VALUE and (source is None or source.answer is Answer.REFUSED):
            yield _verdict("registers", f"{one.told()}: {value} was never written", one)
        elif source is not None and source.invoked > one.responded:
            yield _verdict("registers", f"{one.told()}: {value} is not written yet", one)
    generations = {value: generation for generation, value in values.items()}
    for one in about:
        generation = generations.get(one.number, 0) if one.is_write else 0
        if one.kind is Kind.COMPARE and generation:
            between = [other for other in values if one.expected < other < generation]
            if between:
                yield _verdict("registers", f"{one.told()}: and yet there was {between[0]} between", one)
        if one.kind is Kind.COMPARE and one.error == "Conflict":
            others = (other for other in about if other.is_write and other is not one)
            if not any(_may_follow(other, one, generations) for other in others):
                yield _verdict("registers", f"{one.told()}: and yet nobody else wrote", one)
    yield from _judge_order(about)


def _may_follow(other: Operation, compare: Operation, generations: dict[int, int]) -> bool:
    """Whether another write may be why a compare-and-set found another generation."""
    if other.answer is Answer.REFUSED or other.invoked > compare.responded:
        return False
    return generations.get(other.number, compare.expected + 1) > compare.expected


def _judge_order(about: Sequence[Operation]) -> Iterable[Verdict]:
    """What is answered before something else begins comes before it."""
    known = [one for one in about if one.answer is Answer.VALUE and one.generation]
    for one in known:
        for other in known:
            if one.responded >= other.invoked:
                continue
            if other.generation < one.generation or (other.is_write and other.generation == one.generation):
                text = f"{other.told()}, which began after the end of {one.told()}"
                yield _verdict("registers", text, one, other)


# Locks: generations rise, and a sequencer that was passed is refused.


def _judge_acquisitions(about: Sequence[Operation]) -> Iterable[Verdict]:
    acquired = _acquired(about)
    for one in acquired:
        for other in acquired:
            is_later = one.responded < other.invoked
            if is_later and other.generation < one.generation:
                yield _verdict("generations", f"{other.told()} after {one.told()}", one, other)
            if one.session < other.session and one.generation == other.generation:
                yield _verdict("generations", f"{other.told()} as {one.told()}", one, other)


def _acquired(about: Iterable[Operation]) -> list[Operation]:
    return [one for one in about if one.kind is Kind.ACQUIRE and one.answer is Answer.VALUE]


def _judge_sequencers(history: History) -> Iterable[Verdict]:
    acquired = _acquired(history.operations)
    for one in history.operations:
        if not one.lock:
            continue
        newer = [
            other
            for other in acquired
            if other.path == one.lock and other.generation > one.expected and other.responded < one.invoked
        ]
        says_yes = one.answer is Answer.VALUE and (one.kind is Kind.FENCED or one.value == 1)
        if says_yes and newer:
            yield _verdict("sequencers", f"{one.told()} after {newer[0].told()}", newer[0], one)
        says_no = one.error == "Superseded" if one.kind is Kind.FENCED else one.answer is Answer.VALUE and not one.value
        if says_no and one.was_held:
            yield _verdict("sequencers", f"{one.told()}, though its holder's session has not expired", one)


# Ephemeral files: they are there as long as their session is.


def _judge_ephemeral(about: Sequence[Operation]) -> Iterable[Verdict]:
    by_number = {one.number: one for one in about if one.kind is Kind.SHOW}
    shown: Operation | None = None
    for one in about:
        if one.kind is Kind.SHOW:
            shown = one if one.answer is Answer.VALUE else shown
        elif one.kind is Kind.HIDE and one.answer is not Answer.REFUSED:
            shown = None
        elif one.kind is Kind.LOOK:
            is_there = shown is not None and shown.session == one.session
            if is_there and one.error == "NotFound" and one.was_held:
                yield _verdict("ephemeral files", f"{one.told()}, though its session has not expired", one)
            source = by_number.get(one.value)
            if one.answer is Answer.VALUE and (source is None or source.answer is Answer.REFUSED):
                yield _verdict("ephemeral files", f"{one.told()}: {one.value} was never written", one)


# Lock-delays: what a lost session held is withheld.


def judge_delays(records: Records) -> list[Verdict]:
    """By true time, from what the service has recorded. Where it was restarted meanwhile, records may be missing."""
    verdicts: list[Verdict] = []
    held: dict[str, LockTaken] = {}
    withheld: dict[str, tuple[float, LockTaken]] = {}
    for moment, record in records:
        event = record.event
        if record.node != LOCK:
            continue
        match event:
            case NodeStarted():
                held.clear()
            case LockTaken():
                until, before = withheld.pop(event.path, (0.0, event))
                if moment < until:
                    text = (
                        f"{event.path} was given away at {moment:.3f} s, {until - moment:.3f} s too early: the session"
                    )
                    verdicts.append(Verdict("lock-delay", f"{text} {before.session} that held it was lost"))
                held[event.path] = event
            case LockFreed():
                held.pop(event.path, None)
            case SessionClosed() | SessionLost():
                for path in [path for path, taken in held.items() if taken.session == event.session]:
                    taken = held.pop(path)
                    if isinstance(event, SessionLost):
                        withheld[path] = moment + taken.delay_seconds / (1 + WORST_DRIFT), taken
    return verdicts
