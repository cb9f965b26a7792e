"""Per-tree policies: what a directory says for all that is below it (GFS 4.3, 4.4: users choose both).

The paper lets the parts of a namespace have goals of their own, and other rules for what is deleted. A directory can
carry a replication goal for files to come, and a time for which deleted files are kept. The nearest directory at or
above a path that says something decides; if none does, the cluster's settings do. The files that are there already keep
their goals: those are facts of files (`fs setrep`).

>>> policies = Policies()
>>> policies.set("/lab", Policy(goal=2, trash_seconds=3600))
>>> policies.set("/lab/scratch", Policy(trash_seconds=0))
>>> policies.goal("/lab/scratch/a"), policies.trash_seconds("/lab/scratch/a"), policies.trash_seconds("/home/a")
((2, '/lab'), (0, '/lab/scratch'), (None, ''))

A tree is kept as long as the most patient policy in it says: no file goes before its time because it was deleted
together with others.

>>> policies.kept_seconds("/lab/scratch", default=100), policies.kept_seconds("/lab", default=100)
(0, 3600)

A policy belongs to its directory: it is renamed, copied by a snapshot, deleted and brought back with it. Policies are
few, so that a look for those below a path reads all of them.
"""

from dataclasses import dataclass

from master.namespace.paths import ancestors, is_below


@dataclass(frozen=True, slots=True)
class Policy:
    """What one directory says; a goal of 0, or None, is left to the directories above it."""

    goal: int = 0
    trash_seconds: int | None = None


NOTHING = Policy()


class Policies:
    """All policies, by the path of their directory."""

    def __init__(self) -> None:
        self._policies: dict[str, Policy] = {}

    def set(self, path: str, policy: Policy) -> None:
        """Let a directory say this from now on."""
        if policy == NOTHING:
            self._policies.pop(path, None)
        else:
            self._policies[path] = policy

    def own(self, path: str) -> Policy:
        """What the directory itself says."""
        return self._policies.get(path, NOTHING)

    def items(self) -> list[tuple[str, Policy]]:
        """All of them, in the order of their paths."""
        return sorted(self._policies.items())

    def goal(self, path: str) -> tuple[int, str]:
        """The goal of a new file at a path, and which directory says so; 0 and "" if none does."""
        for name, policy in self._upwards(path):
            if policy.goal:
                return policy.goal, name
        return 0, ""

    def trash_seconds(self, path: str) -> tuple[int | None, str]:
        """For how long a file at a path is kept after its deletion, and which directory says so; None and "" if none
        does."""
        for name, policy in self._upwards(path):
            if policy.trash_seconds is not None:
                return policy.trash_seconds, name
        return None, ""

    def kept_seconds(self, path: str, *, default: float) -> int | None:
        """For how long the entry at a path, with all that is below it, is kept after its deletion; None: for as long as
        the cluster says, which is `default` now."""
        found, _ = self.trash_seconds(path)
        for name, policy in self.items():
            below = policy.trash_seconds
            if below is not None and is_below(name, path) and below > (default if found is None else found):
                found = below
        return found

    def move(self, source: str, target: str) -> None:
        """A tree has got another path."""
        for name in self._at_and_below(source):
            self._policies[target + name[len(source) :]] = self._policies.pop(name)

    def copy(self, source: str, target: str) -> None:
        """A tree exists a second time (GFS 3.4)."""
        for name in self._at_and_below(source):
            self._policies[target + name[len(source) :]] = self._policies[name]

    def forget(self, path: str) -> None:
        """A tree is gone."""
        for name in self._at_and_below(path):
            del self._policies[name]

    def _upwards(self, path: str) -> list[tuple[str, Policy]]:
        if not self._policies:
            return []
        names = [*ancestors(path), path]
        return [(name, self._policies[name]) for name in reversed(names) if name in self._policies]

    def _at_and_below(self, path: str) -> list[str]:
        return [name for name in self._policies if name == path or is_below(name, path)]
