"""The namespace as a client may think of it: a pure model that a history is held against.

A state is the set of all names with what they mean: 0 for a directory, else the number of the operation that created
the file, which is the file's identity; a negative number for a restored file whose creator nobody knows: it may be any.
An action says what a state becomes, or for which reasons it may be refused.
Where several reasons hold at once, any of them explains a refusal: the order in which a master checks is its own
business.

What we simplify. A file that its writer keeps under a passing name (`.writing-…`) until it is closed is not in the
model before it has its final name. So that a directory is not empty because of such a file is always believed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from cluster.swarm.copies import copy_of

State = frozenset[tuple[str, int]]
DIRECTORY = 0
EMPTY: State = frozenset({("/", DIRECTORY)})
PASSING = ".writing-"

# A refusal for one of these reasons is a statement about the namespace.
REASONS = frozenset(
    {"AlreadyExists", "NotFound", "NotADirectory", "IsADirectory", "DirectoryNotEmpty", "InvalidRequest"}
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action does to one state: the state after it, or reasons why it is refused."""

    state: State | None
    reasons: frozenset[str] = frozenset()


Names = dict[str, int]
Action = Callable[[State], Outcome]


def parent_of(path: str) -> str:
    """The directory that holds a path."""
    return path.rpartition("/")[0] or "/"


def is_below(path: str, directory: str) -> bool:
    """Whether a path lies below a directory, at any depth."""
    return path != directory and path.startswith(directory.rstrip("/") + "/")


@lru_cache(maxsize=4096)
def names_of(state: State) -> Names:
    """A state as a table. Must not be changed."""
    return dict(state)


def create(path: str, file: int) -> Action:
    """Make an empty file."""
    return lambda state: _make(state, path, file)


def make_directory(path: str, *, parents: bool) -> Action:
    """Make a directory, with `parents` also what is missing above it."""
    if not parents:
        return lambda state: _make(state, path, DIRECTORY)

    def act(state: State) -> Outcome:
        names, missing = names_of(state), []
        for name in (*ancestors(path), path):
            found = names.get(name)
            if found:
                return _refused("AlreadyExists" if name == path else "NotADirectory")
            if found is None:
                missing.append((name, DIRECTORY))
        return Outcome(state | frozenset(missing))

    return act


def delete(path: str, *, recursive: bool, only: int = 0) -> Action:
    """Remove an entry; with `only`, nothing but this file."""

    def act(state: State) -> Outcome:
        names = names_of(state)
        reasons = _why_not_found(names, path)
        if reasons:
            return Outcome(None, reasons)
        if only and names[path] != only:
            return _refused("Conflict", "NotFound")
        below = [item for item in state if is_below(item[0], path)]
        if below and not recursive:
            return _refused("DirectoryNotEmpty")
        return Outcome(state - frozenset(below) - {(path, names[path])})

    return act


def delete_file(file: int) -> Action:
    """Remove a file wherever it is: what a writer does with a file that it could not finish."""

    def act(state: State) -> Outcome:
        found = [item for item in state if item[1] == file]
        return Outcome(state - frozenset(found)) if found else _refused("NotFound")

    return act


def publish(path: str, file: int, *, replace: bool) -> Action:
    """Give a file that was written under a passing name its final one."""

    def act(state: State) -> Outcome:
        names = names_of(state)
        there = names.get(path)
        if there is None:
            return _make(state, path, file)
        if there == DIRECTORY:
            return _refused("AlreadyExists", "IsADirectory")
        return Outcome(state - {(path, there)} | {(path, file)}) if replace else _refused("AlreadyExists")

    return act


def rename(source: str, target: str, *, replace: bool, only: int = 0) -> Action:
    """Give an entry another path."""

    def act(state: State) -> Outcome:
        names = names_of(state)
        reasons = set(_why_not_found(names, source))
        if not reasons and only and names[source] != only:
            reasons |= {"Conflict", "NotFound"}
        if source == target or is_below(target, source):
            reasons.add("InvalidRequest")
        there = names.get(target)
        if there is None:
            reasons |= _why_no_parent(names, target)
        elif there == DIRECTORY:
            reasons |= {"AlreadyExists", "IsADirectory"}
        elif not replace:
            reasons.add("AlreadyExists")
        elif names.get(source) == DIRECTORY:
            reasons |= {"Conflict", "NotADirectory", "AlreadyExists"}
        if reasons:
            return Outcome(None, frozenset(reasons))
        moved = {item for item in state if item[0] == source or is_below(item[0], source)}
        kept = state - moved if there is None else state - moved - {(target, there)}
        return Outcome(kept | {(target + name[len(source) :], entry) for name, entry in moved})

    return act


def snapshot(source: str, target: str, operation: int) -> Action:
    """Make a second copy of an entry and of all below it; its files are named by theirs and by the operation."""

    def act(state: State) -> Outcome:
        names = names_of(state)
        reasons = set(_why_not_found(names, source)) | _why_no_parent(names, target)
        if source == target or is_below(target, source):
            reasons.add("InvalidRequest")
        if target in names:
            reasons.add("AlreadyExists")
        if reasons:
            return Outcome(None, frozenset(reasons))
        copied = {item for item in state if item[0] == source or is_below(item[0], source)}
        return Outcome(state | {(target + name[len(source) :], copy_of(entry, operation)) for name, entry in copied})

    return act


def put_back(target: str, entries: Iterable[tuple[str, int]]) -> Action:
    """Bring back what was deleted: entries by their paths below the target."""
    found = frozenset((target + below, entry) for below, entry in entries)

    def act(state: State) -> Outcome:
        names = names_of(state)
        reasons = _why_no_parent(names, target) | ({"AlreadyExists"} if target in names else set())
        return Outcome(None, reasons) if reasons else Outcome(state | found)

    return act


def look(path: str, *, is_directory: bool = False, files: frozenset[int] | None = None) -> Action:
    """See that there is a directory, or one of these files (None: any file)."""

    def act(state: State) -> Outcome:
        names = names_of(state)
        reasons = _why_not_found(names, path)
        if reasons:
            return Outcome(None, reasons)
        if names[path] == DIRECTORY:
            return Outcome(state) if is_directory else _refused("IsADirectory", "InvalidRequest")
        if is_directory:
            return _refused("NotADirectory")
        return Outcome(state) if files is None or names[path] in files or names[path] < 0 else _refused()

    return act


def still(path: str, file: int) -> Action:
    """Find this very file where it was opened."""

    def act(state: State) -> Outcome:
        names = names_of(state)
        if names.get(path) == file or names.get(path, 0) < 0:
            return Outcome(state)
        return Outcome(None, _why_not_found(names, path) | {"Conflict", "IsADirectory"})

    return act


def see(path: str) -> Action:
    """See that there is something."""

    def act(state: State) -> Outcome:
        reasons = _why_not_found(names_of(state), path)
        return Outcome(None, reasons) if reasons else Outcome(state)

    return act


def refused_by_any(*actions: Action) -> Action:
    """Never succeeds; may be refused for any reason for which one of the actions may be."""

    def act(state: State) -> Outcome:
        return Outcome(None, frozenset().union(*(action(state).reasons for action in actions)))

    return act


def listing(path: str, entries: Iterable[tuple[str, int | None]], *, recursive: bool) -> Action:
    """See exactly these entries in a directory (a file of None is any file)."""
    wanted = dict(entries)

    def act(state: State) -> Outcome:
        reasons = names_of(state).get(path)
        if reasons != DIRECTORY:
            return Outcome(None, _why_not_found(names_of(state), path) or frozenset({"NotADirectory"}))
        found = {
            name: entry
            for name, entry in state
            if is_below(name, path) and (recursive or parent_of(name) == path) and PASSING not in name
        }
        matches = found.keys() == wanted.keys() and all(
            entry == wanted[name] or (wanted[name] is None and entry) for name, entry in found.items()
        )
        return Outcome(state) if matches else _refused()

    return act


def _make(state: State, path: str, entry: int) -> Outcome:
    names = names_of(state)
    reasons = _why_no_parent(names, path)
    if path in names:
        reasons |= {"AlreadyExists"}
    return Outcome(None, reasons) if reasons else Outcome(state | {(path, entry)})


def _why_no_parent(names: Names, path: str) -> frozenset[str]:
    parent = parent_of(path)
    missing = _why_not_found(names, parent)
    if missing:
        return missing
    return frozenset() if names[parent] == DIRECTORY else frozenset({"NotADirectory"})


def _why_not_found(names: Names, path: str) -> frozenset[str]:
    if path in names:
        return frozenset()
    if any(names.get(ancestor) for ancestor in ancestors(path)):
        return frozenset({"NotADirectory", "NotFound"})
    return frozenset({"NotFound"})


@lru_cache(maxsize=1024)
def ancestors(path: str) -> tuple[str, ...]:
    """The directories above a path, from the root on."""
    parts = path.split("/")[1:-1]
    return ("/", *("/" + "/".join(parts[: count + 1]) for count in range(len(parts))))


def _refused(*reasons: str) -> Outcome:
    return Outcome(None, frozenset(reasons))
