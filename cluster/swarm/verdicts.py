"""The judges: from what was seen in one run to sentences about what was wrong."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.swarm import linearizability
from cluster.swarm.appends import earlier_than_their_forerunners, overlaps
from cluster.swarm.contents import FileHistory, judge_length, judge_read
from cluster.swarm.copies import creator_of, named
from cluster.swarm.goals import judge_goals
from cluster.swarm.history import Answer, History, Kind, Operation
from cluster.swarm.listed_snapshots import judge_lists
from cluster.swarm.names import PASSING, State
from cluster.swarm.safe_masters import judge_kept_safe_mode
from cluster.swarm.steps import Facts, file_histories, length_read, possible_files, read_of, steps_of


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that is wrong: which judge found it, in words, and the operations that it is about."""

    judge: str
    text: str
    operations: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judges of one history found. `is_undecided`: the search for an order of the namespace was given up."""

    verdicts: list[Verdict]
    is_undecided: bool = False
    tried: int = 0


def judge_history(history: History, facts: Facts) -> Judgement:
    """All that can be judged from what clients saw."""
    files = file_histories(history, facts)
    verdicts = list(_judge_definite_failures(history))
    verdicts += _judge_handles(history, files, facts)
    verdicts += _judge_lengths(history, files)
    verdicts += _judge_told_offsets(history)
    verdicts += [
        Verdict("appends", text, operations)
        for file in files.values()
        for text, operations in overlaps(file.appends, facts.chunk_bytes)
    ]
    verdicts += [
        Verdict("appends", text, operations)
        for file in files.values()
        for text, operations in earlier_than_their_forerunners(file.appends, facts.chunk_bytes)
    ]
    verdicts += [
        Verdict("goals", text, (number,)) for text, number in judge_goals(history, facts.replicas, facts.copies)
    ]
    verdicts += [Verdict("snapshots", text, operations) for text, operations in judge_lists(history)]
    verdicts += [Verdict("safe mode", text, operations) for text, operations in judge_kept_safe_mode(history)]
    possible: dict[int, frozenset[int]] = {}
    for operation in history.operations:
        if operation.kind is Kind.READ_FILE and operation.answer is Answer.VALUE:
            found = possible_files(operation, files, history, facts)
            if found:
                possible[operation.number] = found
            else:
                verdicts.append(_unexplained_read(operation, files, history, facts))
    explained = linearizability.explain(steps_of(history, possible, facts))
    if explained.failed is not None:
        step = explained.failed
        examples = "; or ".join(_shown(state) for state in explained.states)
        text = f"no order of the changes explains: {step.text}. Before it there could be {examples}"
        verdicts.append(Verdict("namespace", text, (step.operation,)))
    return Judgement(verdicts, explained.is_undecided, explained.tried)


def _judge_definite_failures(history: History) -> Iterable[Verdict]:
    for operation in history.operations:
        is_create = operation.kind is Kind.CREATE or (operation.kind is Kind.OPEN and operation.mode in ("xb", "wb"))
        if is_create and operation.answer is Answer.REFUSED and operation.created:
            text = f"{operation.told()}: but the master has created the file"
            yield Verdict("definite failure", text, (operation.number,))
        if operation.admitted > (operation.answer is not Answer.REFUSED):
            text = f"{operation.told()}: but the master has admitted a replica {operation.admitted} times for it"
            yield Verdict("definite failure", text, (operation.number,))


def _judge_told_offsets(history: History) -> Iterable[Verdict]:
    """A client that is told where its record is may rely on each replica at once (GFS 3.3)."""
    for operation in history.operations:
        if operation.lacking:
            text = f"{operation.told()}: but it is not there on {', '.join(operation.lacking)}"
            yield Verdict("appends", text, (operation.number,))


def _judge_handles(history: History, files: dict[int, FileHistory], facts: Facts) -> Iterable[Verdict]:
    for operation in history.operations:
        if operation.kind is Kind.READ and operation.answer is Answer.VALUE and operation.file in files:
            complaint = judge_read(files[operation.file], read_of(operation, facts))
            if complaint:
                yield Verdict("contents", f"{operation.told()}: {complaint}", (operation.number,))


def _judge_lengths(history: History, files: dict[int, FileHistory]) -> Iterable[Verdict]:
    for operation in history.operations:
        if operation.answer is not Answer.VALUE:
            continue
        if operation.kind is Kind.OPEN and operation.mode == "ab" and operation.file in files and not operation.created:
            complaint = judge_length(files[operation.file], length_read(operation), operation.offset)
            if complaint:
                yield Verdict("lengths", f"{operation.told()}: {complaint}", (operation.number,))
        for seen in operation.seen if operation.kind in (Kind.STAT, Kind.LIST) else ():
            # What a file holds under its passing name may still be taken back.
            if seen.file in files and seen.is_exact and not seen.is_directory and PASSING not in seen.path:
                complaint = judge_length(files[seen.file], length_read(operation), seen.length)
                if complaint:
                    yield Verdict("lengths", f"{operation.told()}: {seen.path}: {complaint}", (operation.number,))


def _unexplained_read(operation: Operation, files: dict[int, FileHistory], history: History, facts: Facts) -> Verdict:
    """The complaint about the file that the read most probably was about: the last one that got this path."""
    read = read_of(operation, facts)
    of_path = [
        file
        for number, file in files.items()
        if history.operation(creator_of(number)).path == operation.path
        and history.operation(creator_of(number)).invoked < operation.responded
    ]
    complaints = [judge_read(file, read) for file in (of_path or list(files.values()))]
    why = complaints[-1] if complaints else "there never was such a file"
    return Verdict("contents", f"{operation.told()}: no file explains what was read; {why}", (operation.number,))


def _shown(state: State) -> str:
    entries = [
        f"{path}{'/' if not entry else f' (file {named(entry)})'}" for path, entry in sorted(state) if path != "/"
    ]
    return "{" + ", ".join(entries) + "}"
