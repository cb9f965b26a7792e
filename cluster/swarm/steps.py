"""From a history to what the judges look at: steps of the namespace, and writes and reads of each file.

One call of a client may be several steps at the master: a file written under a passing name is created, and renamed
when it is closed; a write that failed is followed by an attempt to remove what it left. Where a call failed half-way,
the records of the master (`created`) tell how far it came; all else is taken from what clients saw.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cluster.swarm import names
from cluster.swarm.appends import Append
from cluster.swarm.contents import FileHistory, Read, Write, judge_read
from cluster.swarm.copies import Copy, copy_of, creator_of
from cluster.swarm.history import Answer, History, Kind, Operation
from cluster.swarm.linearizability import Step
from cluster.swarm.losses import Losses
from cluster.swarm.names import REASONS, Action
from cluster.swarm.snapshots import inherit

# A change whose client gave up, or died, may still be under way for so long.
LATE_SECONDS = 60.0
# A client counts its 30 seconds by its own clock, which may be wrong by 5 %; then the read itself takes a while.
CLOCK_ERROR = 1.06
READ_SECONDS = 3.0
# Why an open file may be refused, of all reasons that have to do with names.
_OF_HANDLES = REASONS - {"InvalidRequest"} | {"Conflict"}
_FLUSHING = (Kind.WRITE, Kind.APPEND, Kind.READ, Kind.CLOSE)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run knows beside its history. `handles`: which chunks were which part of which file, the last one at the
    end; `replicas`: the goal of a new file; `copies`: the files that snapshots made."""

    chunk_bytes: int
    write_piece_bytes: int
    location_seconds: float
    handles: dict[tuple[int, int], tuple[int, ...]]
    losses: Losses
    replicas: int = 3
    copies: Sequence[Copy] = field(default_factory=tuple)


# The contents of files.


def file_histories(history: History, facts: Facts) -> dict[int, FileHistory]:
    """Every file that may have existed, with all writes to it."""
    files = {operation.number: FileHistory(operation.number) for operation in history.operations if _creates(operation)}
    copies = [*facts.copies, *_untold_copies(history, files, facts.copies)]
    files |= {copy.file: FileHistory(copy.file) for copy in copies}
    forced = [one for one in history.operations if one.kind is Kind.ADMIT and one.force and one.chunk]
    forced = [one for one in forced if one.answer is not Answer.REFUSED]
    for operation in history.operations:
        file = operation.number if operation.kind is Kind.WRITE_FILE else operation.file
        if operation.writes and operation.count and file in files:
            files[file].writes.extend(_writes(operation, file, history, facts, forced))
        elif operation.kind is Kind.RECORD_APPEND and file in files:
            files[file].chunk_bytes = facts.chunk_bytes
            files[file].appends.append(_append(operation, facts, forced))
    inherit(files, copies)
    return files


def _untold_copies(history: History, files: Iterable[int], told: Iterable[Copy]) -> list[Copy]:
    """Copies that there may be of files whose creation is in doubt: of those the master may have told nothing."""
    known = {copy.file for copy in told}
    doubtful = [history.operation(file) for file in files if history.operation(file).answer is not Answer.VALUE]
    return [
        Copy(copy, made.number, min(operation.responded, operation.invoked + LATE_SECONDS))
        for operation in history.operations
        if operation.kind is Kind.SNAPSHOT and operation.answer is not Answer.REFUSED
        for made in doubtful
        if made.invoked < operation.responded and (copy := copy_of(made.number, operation.number)) not in known
    ]


def _creates(operation: Operation) -> bool:
    if operation.kind in (Kind.CREATE, Kind.WRITE_FILE):
        return True
    return operation.kind is Kind.OPEN and operation.mode in ("wb", "xb", "ab")


def _settled(operation: Operation, history: History) -> tuple[Answer, float]:
    """What became of a write, and when it was known.

    A write whose caller gave up may still be under way, or be sent by a later call, until the next call on the same
    open file that returns: each of them flushes. That one acknowledges what the file had taken as a whole.
    """
    if not operation.is_given_up:
        return operation.answer, operation.responded
    for later in history.operations[operation.number :]:
        if later.handle == operation.handle and later.answer is Answer.VALUE and later.kind in _FLUSHING:
            return (Answer.VALUE if operation.is_taken else Answer.DOUBTFUL), later.responded
    return Answer.DOUBTFUL, math.inf


def _writes(
    operation: Operation, file: int, history: History, facts: Facts, forced: Sequence[Operation]
) -> Iterable[Write]:
    """The write, cut at the boundaries of chunks, because what a power cut may take is decided for each, and what an
    operator gives up who admits another replica by force."""
    begin, end = operation.offset, operation.offset + operation.count
    answer, responded = _settled(operation, history)
    is_acknowledged = answer is Answer.VALUE
    while begin < end:
        index = begin // facts.chunk_bytes
        until = min(end, (index + 1) * facts.chunk_bytes)
        lost = math.inf
        for handle in facts.handles.get((file, index), ()) if is_acknowledged else ():
            lost = min(lost, facts.losses.may_be_lost_from(handle, operation.invoked, responded))
            lost = min([lost, *(one.invoked for one in forced if _may_give_up(one, handle, operation))])
        yield Write(
            operation.number,
            operation.client,
            begin,
            until,
            operation.invoked,
            responded,
            answer,
            stamped_from=begin - operation.offset,
            may_be_lost_from=lost,
            data=operation.data,
        )
        begin = until


def _append(operation: Operation, facts: Facts, forced: Sequence[Operation]) -> Append:
    """A record is in one chunk; which one it was, is known if it was acknowledged."""
    lost = math.inf
    handles = facts.handles.get((operation.file, operation.offset // facts.chunk_bytes), ())
    for handle in handles if operation.answer is Answer.VALUE else ():
        lost = min(lost, facts.losses.may_be_lost_from(handle, operation.invoked, operation.responded))
        lost = min([lost, *(one.invoked for one in forced if _may_give_up(one, handle, operation))])
    return Append(
        operation.number,
        operation.client,
        operation.count,
        operation.offset,
        operation.invoked,
        operation.responded,
        operation.answer,
        may_be_lost_from=lost,
        payload=operation.data,
    )


def _may_give_up(forced: Operation, handle: int, write: Operation) -> bool:
    late = LATE_SECONDS if forced.is_open_ended else 0.0
    return forced.chunk == handle and write.invoked < forced.responded + late


def read_of(operation: Operation, facts: Facts) -> Read:
    """What a READ or READ_FILE saw."""
    is_range = operation.kind is Kind.READ
    stale = facts.location_seconds * CLOCK_ERROR + READ_SECONDS if is_range and not operation.is_final else 0.0
    return Read(
        operation.number,
        operation.client,
        operation.offset if is_range else 0,
        operation.data,
        operation.count if is_range else None,
        operation.invoked,
        operation.responded,
        stale,
    )


def length_read(operation: Operation) -> Read:
    """A look at a length, as a read of nothing."""
    return Read(operation.number, operation.client, 0, b"", 0, operation.invoked, operation.responded)


def possible_files(
    operation: Operation, files: dict[int, FileHistory], history: History, facts: Facts
) -> frozenset[int]:
    """The files whose contents explain what a READ_FILE returned, whatever path they had."""
    read = read_of(operation, facts)
    return frozenset(
        number
        for number, file in files.items()
        if history.operation(creator_of(number)).invoked < operation.responded and not judge_read(file, read)
    )


# The namespace.


def steps_of(history: History, possible: dict[int, frozenset[int]], facts: Facts) -> list[Step]:
    """All steps. `possible`: for each READ_FILE that was answered, which files it may have read."""
    closed = {operation.handle for operation in history.operations if operation.kind in (Kind.CLOSE, Kind.ABANDON)}
    found: list[Step] = []
    failed: set[int] = set()  # open files of which something was refused, or is in doubt
    for operation in history.operations:
        maker = _Maker(operation, history, facts)
        match operation.kind:
            case Kind.CREATE:
                maker.change(names.create(operation.path, operation.number), operation.path)
            case Kind.WRITE_FILE:
                maker.write_file()
            case Kind.OPEN:
                maker.open(is_closed=operation.number in closed)
            case Kind.WRITE | Kind.APPEND | Kind.RECORD_APPEND | Kind.READ:
                # Once a write has failed, an open file repeats its error: only the first refusal says something.
                if operation.handle and operation.handle not in failed:
                    maker.refused_by_handle(history.operation(operation.handle))
                if operation.answer is not Answer.VALUE:
                    failed.add(operation.handle)
            case Kind.CLOSE | Kind.ABANDON:
                maker.close(history.operation(operation.handle))
            case Kind.READ_FILE:
                maker.look(names.look(operation.path, files=possible.get(operation.number)))
            case Kind.STAT:
                maker.stat()
            case Kind.LIST:
                maker.list()
            case Kind.SET_REPLICATION:
                maker.look(
                    names.still(operation.path, operation.file) if operation.file else names.look(operation.path)
                )
            case Kind.RESTORE:
                maker.restore()
            case Kind.RENAME:
                act = names.rename(operation.path, operation.target, replace=operation.replace)
                maker.change(act, operation.path, operation.target)
            case Kind.SNAPSHOT:
                act = names.snapshot(operation.path, operation.target, operation.number)
                maker.change(act, operation.path, operation.target)
            case Kind.DELETE:
                if operation.error != "DirectoryNotEmpty":  # A file under a passing name may be in it.
                    maker.change(names.delete(operation.path, recursive=operation.recursive), operation.path)
            case Kind.MAKE_DIRECTORY:
                act = names.make_directory(operation.path, parents=operation.parents)
                # What is missing above it appears too, so that it touches what others do beside it.
                above = names.ancestors(operation.path)[1:] if operation.parents else ()
                maker.change(act, *above, operation.path)
        found.extend(maker.steps)
    return found


class _Maker:
    """Makes the steps of one operation."""

    def __init__(self, operation: Operation, history: History, facts: Facts) -> None:
        self.operation = operation
        self.steps: list[Step] = []
        self._history = history
        self._facts = facts

    def change(self, action: Action, *paths: str) -> None:
        """A call that is one step."""
        operation = self.operation
        if operation.answer is Answer.VALUE:
            self._must(action, *paths)
        elif operation.answer is Answer.REFUSED:
            self._refused(action, *paths)
        else:
            self._may(action, *paths)

    def look(self, action: Action) -> None:
        """A call that changes nothing: without an answer, it says nothing."""
        if self.operation.answer is Answer.VALUE:
            self._must(action, self.operation.path)
        elif self.operation.answer is Answer.REFUSED:
            self._refused(action, self.operation.path)

    def stat(self) -> None:
        operation = self.operation
        action = names.see(operation.path)
        if operation.answer is Answer.VALUE:
            (seen,) = operation.seen
            files = frozenset({seen.file}) if seen.file else None
            action = names.look(operation.path, is_directory=seen.is_directory, files=files)
        self.look(action)

    def list(self) -> None:
        operation = self.operation
        entries = [
            (seen.path, 0 if seen.is_directory else (seen.file or None))
            for seen in operation.seen
            if names.PASSING not in seen.path
        ]
        self.look(names.listing(operation.path, entries, recursive=operation.recursive))

    def restore(self) -> None:
        """Something deleted is brought back, after the directories above it were made."""
        operation = self.operation
        target = operation.target or operation.path
        parent = names.parent_of(target)
        above = names.make_directory(parent, parents=True)
        back = names.put_back(target, operation.restored)
        if parent != "/":
            add = self._must if operation.answer is Answer.VALUE else self._may
            add(above, *names.ancestors(parent)[1:], parent)
        if operation.answer is Answer.VALUE:
            self._must(back, target)
        elif operation.answer is not Answer.REFUSED:
            if operation.restored:
                self._may(back, target)
        elif operation.error != "NotFound":  # That the trash has nothing of that name is always believed.
            self._refused(names.refused_by_any(above, back), target)

    def write_file(self) -> None:
        operation = self.operation
        path, number = operation.path, operation.number
        if operation.replace or operation.count > self._facts.write_piece_bytes:
            self._published(operation)
            return
        create = names.create(path, number)
        if operation.answer is Answer.VALUE:
            self._must(create, path)
        elif operation.created and operation.answer is not Answer.NEVER:
            self._must(create, path)
            self._may_remove(number)
        elif operation.answer is Answer.REFUSED:
            self._refused(create, path)
        else:
            self._may(create, path)
            self._may_remove(number)

    def _published(self, opened: Operation) -> None:
        """A file was written under a passing name, and has its final one if all went well."""
        path, answer = opened.path, self.operation.answer
        publish = names.publish(path, opened.number, replace=opened.replace)
        if answer is Answer.VALUE:
            self._must(publish, path)
        elif answer is not Answer.REFUSED:
            self._may(publish, path)
        elif self.operation.error != "NotFound":
            # That the file under the passing name is not there any more is always believed.
            self._refused(names.refused_by_any(publish, names.look(path)), path)

    def open(self, *, is_closed: bool) -> None:
        """A file is opened, and perhaps created."""
        operation = self.operation
        path, number, mode = operation.path, operation.number, operation.mode
        if mode == "xb":
            self.change(names.create(path, number), path)
            if not is_closed:  # A file whose writer died may be removed by whoever clears up.
                self._may_remove(number)
        elif mode == "wb":
            self._open_passing()
        elif mode == "ab" and (operation.created or operation.is_open_ended):
            self.change(names.create(path, number), path)
        elif operation.answer is Answer.REFUSED and mode == "ab":
            self._refused(names.refused_by_any(names.create(path, number), names.look(path)), path)
        else:
            self.look(names.look(path, files=frozenset({operation.file}) if operation.file else None))

    def _open_passing(self) -> None:
        operation = self.operation
        path, parent = operation.path, names.parent_of(operation.path)
        if operation.answer is Answer.VALUE:
            self._must(names.look(parent, is_directory=True), parent)
        elif operation.answer is Answer.REFUSED and operation.error == "NotFound":
            self._refused(names.look(parent, is_directory=True), parent)
        elif operation.answer is Answer.REFUSED:
            self._refused(names.refused_by_any(names.create(path, operation.number), names.look(path)), path)

    def refused_by_handle(self, opened: Operation) -> None:
        """Nobody refuses what is asked of an open file unless its path names another one, or none, at some moment. (A
        path of one that is written under a passing name is not in the model.)"""
        operation = self.operation
        is_about_names = operation.answer is Answer.REFUSED and operation.error in _OF_HANDLES
        if is_about_names and opened.mode != "wb" and opened.file:
            self._add(names.still(opened.path, opened.file), (opened.path,), error=operation.error)

    def close(self, opened: Operation) -> None:
        """A file is closed, or given up."""
        operation = self.operation
        if opened.mode == "wb" and operation.kind is Kind.CLOSE:
            self._published(opened)
        elif opened.mode == "xb" and (operation.kind is Kind.ABANDON or operation.answer is not Answer.VALUE):
            self._may_remove(opened.number)

    def _must(self, action: Action, *paths: str) -> None:
        self._add(action, paths)

    def _refused(self, action: Action, *paths: str) -> None:
        if self.operation.error in REASONS:
            self._add(action, paths, error=self.operation.error)

    def _may(self, action: Action, *paths: str) -> None:
        self._add(action, paths, is_required=False)

    def _may_remove(self, file: int) -> None:
        self._add(names.delete_file(file), ("/",), is_required=False)

    def _add(self, action: Action, paths: Sequence[str], *, is_required: bool = True, error: str = "") -> None:
        operation = self.operation
        late = 0.0 if is_required else LATE_SECONDS
        self.steps.append(
            Step(
                operation.number,
                action,
                tuple(paths),
                operation.invoked,
                operation.responded + late,
                is_required,
                error,
                operation.told(),
                may_have_been_done=operation.kind is Kind.MAKE_DIRECTORY and operation.parents and not error,
            )
        )
