"""The trash and the policies as operators ask for them (GFS 4.3, 4.4).

Deleting, bringing back and forgetting are changes of names, which `service.py` makes as any other. Here is what is
asked beside that: which deletions can still be undone, and what a directory says for all that is below it."""

from collections.abc import Iterator

from master.core import Core
from master.events import PolicyChanged
from master.log.records import PolicySet
from master.namespace import paths
from master.namespace.hidden_names import deletion_of, origin_of
from master.namespace.namespace import DirectoryEntry
from master.namespace.namespace_locks import plan_locks
from master.namespace.policies import Policies, Policy
from master.serving.creating import checked_goal
from runtime.errors import InvalidRequest, NotADirectory, shown
from runtime.wire import master_pb2

_ENTRIES_A_REPLY = 200
_FILES_BETWEEN_BREATHS = 1000
_LONGEST_TRASH_SECONDS = 100 * 366 * 86_400


class Trash:
    """Answers questions about what was deleted, and sets policies."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def list(self, request: master_pb2.ListTrashRequest) -> master_pb2.ListTrashReply:
        """Some deletions that can be undone, the oldest first. Raises InvalidRequest."""
        core, namespace = self._core, self._core.state.namespace
        if request.after and not paths.is_hidden(paths.check_path(request.after)):
            raise InvalidRequest(f"{shown(request.after)} is no deletion; expected a path in {paths.HIDDEN_ROOT}")
        limit = min(request.limit or _ENTRIES_A_REPLY, _ENTRIES_A_REPLY)
        roots = namespace.children(paths.HIDDEN_ROOT, after=request.after, limit=limit)
        reply = master_pb2.ListTrashReply(
            is_last=len(roots) < limit, now_microseconds=core.world.clock.wall_microseconds()
        )
        for root, _ in roots:
            if namespace.find(root) is not None:  # It may have gone while others were looked at.
                reply.entries.append(await self._described(root))
        return reply

    async def _described(self, root: str) -> master_pb2.TrashEntry:
        core, namespace = self._core, self._core.state.namespace
        hidden, entry = namespace.deleted_entry(root)
        found = deletion_of(root)
        kept = core.settings.trash_grace_seconds if found.kept_seconds is None else found.kept_seconds
        told = master_pb2.TrashEntry(
            root=root,
            hidden=hidden,
            origin=origin_of(hidden),
            is_directory=isinstance(entry, DirectoryEntry),
            deleted_microseconds=found.stamp,
            goes_microseconds=found.stamp + int(kept * 1_000_000),
        )
        for number, length in enumerate(self._lengths(hidden), start=1):
            told.files, told.length = number, told.length + length
            if number % _FILES_BETWEEN_BREATHS == 0:
                await core.world.breathe()
        return told

    def _lengths(self, hidden: str) -> Iterator[int]:
        """Of each file at and below a path, bytes, as last reported."""
        chunks = self._core.state.chunks
        for _, file in list(self._core.state.namespace.files_in(hidden)):
            yield sum(chunks.length(handle) for handle in file.handles if handle in chunks)

    async def set_policy(self, request: master_pb2.SetPolicyRequest) -> int:
        """Let a directory say something for all that is below it.

        Raises NotFound, NotADirectory, InvalidRequest, TooFewServers, and what the log raises.
        """
        core, path, named = self._core, request.path, request.request
        paths.check_path(path)
        if paths.is_hidden(path):
            raise InvalidRequest(f"{shown(path)} was deleted; bring it back first, with `tabletop fs trash restore`")
        core.refuse_in_safe_mode()
        async with core.locks.hold(plan_locks(write=[path])):
            if not isinstance(core.state.namespace.get(path), DirectoryEntry):
                raise NotADirectory(f"{shown(path)} is a file; a policy belongs to a directory")
            policy = self._wanted(request)
            trash = policy.trash_seconds
            if policy != core.state.policies.own(path):
                await core.commit(
                    PolicySet(path, policy.goal, int(trash is not None), trash or 0, *_name_of(named)),
                )
                core.emit(PolicyChanged(path=path, said=described(policy)))
        return 0

    def _wanted(self, request: master_pb2.SetPolicyRequest) -> Policy:
        own = self._core.state.policies.own(request.path)
        goal, trash = own.goal, own.trash_seconds
        if request.HasField("new_file_goal"):
            goal = request.new_file_goal
            if goal:
                checked_goal(self._core, request.path, goal)
        if request.HasField("trash_seconds"):
            trash = request.trash_seconds
            if trash > _LONGEST_TRASH_SECONDS:
                raise InvalidRequest(f"a trash time of {trash} s; expected at most {_LONGEST_TRASH_SECONDS} s")
        elif request.inherit_trash:
            trash = None
        return Policy(goal, trash)


def add_policies(core: Core, info: master_pb2.FileInfo) -> None:
    """Write into the facts of a directory what holds for the files below."""
    policies: Policies = core.state.policies
    goal, info.new_file_goal_from = policies.goal(info.path)
    info.new_file_goal = goal or core.settings.replication_goal
    trash, info.trash_from = policies.trash_seconds(info.path)
    info.trash_seconds = core.settings.trash_grace_seconds if trash is None else trash


def described(policy: Policy) -> str:
    """What a directory says, in words.

    >>> described(Policy(goal=2, trash_seconds=0)), described(Policy())
    ('new files get 2 replicas, deleted files are kept for 0 s', 'nothing of its own')
    """
    said = []
    if policy.goal:
        said.append(f"new files get {policy.goal} replicas")
    if policy.trash_seconds is not None:
        said.append(f"deleted files are kept for {policy.trash_seconds} s")
    return ", ".join(said) or "nothing of its own"


def _name_of(named: master_pb2.RequestId) -> tuple[int, int, int]:
    return named.client, named.number, named.oldest
