"""What operators ask of a cluster, beside reading and writing (GFS 4.3, 4.4, 5.1).

What was deleted lies for a while in the trash, a hidden tree that keeps the whole path of everything (GFS 4.4). To
bring something back is to rename it out of there, and to give its space back is to delete it there; so both are as safe
as any other change of names, and what was asked for twice is done once.

    for deletion in await client.operators.trash():
        print(deletion.path, deletion.goes_microseconds)
    await client.operators.restore("/lab/results.csv")
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from gfs.names.arguments import Path, checked_goal, checked_number, checked_path
from gfs.names.master_link import MasterLink
from runtime.errors import InvalidRequest, NotFound, shown
from runtime.wire.master_pb2 import (
    ClusterStatus,
    ClusterStatusRequest,
    DrainRequest,
    FileSnapshotsRequest,
    ListTrashRequest,
    RemoveServerRequest,
    SafeMode,
    SafeModeRequest,
    SetPolicyRequest,
)

_CHUNKS_A_PAGE = 2000


@dataclass(frozen=True, slots=True)
class Deletion:
    """Something that was deleted and can be had back. Times are the master's, in microseconds since the epoch."""

    path: str  # The one that it had; "" if that is not known.
    hidden: str  # The one that it has.
    root: str  # The directory of this deletion; deleting that gives the space back.
    is_directory: bool
    files: int
    length: int  # Bytes, of all files, as last reported.
    deleted_microseconds: int
    goes_microseconds: int


@dataclass(frozen=True, slots=True)
class TakenSnapshot:
    """A snapshot that somebody took (GFS 3.4). What is shared counts chunks and bytes that belong to another file, too:
    to the source, another snapshot, or something in the trash."""

    source: str  # The path that it was taken of, whatever is there now.
    target: str  # The path that it has now.
    is_directory: bool
    taken_microseconds: int  # By the master's clock; 0 if that was not noted.
    files: int  # When it was taken.
    files_left: int  # Of these, those that are still at or below the target; what follows is about them.
    chunks: int
    length: int  # Bytes, as last reported.
    shared_chunks: int
    shared_bytes: int


class Names(Protocol):
    """What of a client is needed here."""

    async def rename(self, source: Path, target: Path) -> None:
        """As `Client.rename`."""

    async def make_directory(self, path: Path, *, parents: bool = False) -> None:
        """As `Client.make_directory`."""

    async def delete(self, path: Path, *, recursive: bool = False, immediately: bool = False) -> int:
        """As `Client.delete`."""

    async def exists(self, path: Path) -> bool:
        """As `Client.exists`."""


class Operators:
    """One client's words to the master about the whole cluster."""

    def __init__(self, names: Names, master: MasterLink) -> None:
        self._names = names
        self._master = master

    # Servers that leave (GFS 4.3).

    async def drain(self, *servers: str, cancel: bool = False) -> None:
        """Let chunkservers leave: nothing new is placed on them, and what they hold is copied elsewhere. `cancel`: they
        stay after all. Returns at once; `cluster_status` tells how far it has come.

        Raises NotFound, TooFewServers (those that stay could not hold the goal of every file), InvalidRequest.
        """
        await self._master.ask(self._master.stub.Drain, DrainRequest(servers=servers, cancel=cancel))

    async def remove_server(self, server: str) -> None:
        """Have the master forget a drained chunkserver that was stopped. Raises NotFound, Conflict (it is needed)."""
        await self._master.ask(self._master.stub.RemoveServer, RemoveServerRequest(server=server))

    # The trash.

    async def trash(self, path: Path = "/") -> list[Deletion]:
        """What was deleted at and below a path and can be had back, the oldest first. Raises InvalidRequest."""
        found, _ = await self._trash(checked_path(path))
        return found

    async def restore(self, what: Path, to: Path | None = None) -> str:
        """Bring something back, to its old place or another one; returns that. Missing directories are made.

        `what` is the path that it had, of which the last deletion counts, or its path in the trash. It may lie in a
        directory that was deleted. Raises NotFound (nothing of that path is in the trash), AlreadyExists (something
        stands there now), NotADirectory, InvalidRequest.
        """
        path = checked_path(what)
        hidden, origin = await self._find(path)
        target = checked_path(to) if to is not None else origin
        if not target:
            raise InvalidRequest(f"nobody knows any more where {shown(hidden)} was; say where it is to go")
        parent = target.rpartition("/")[0]
        if parent:
            await self._names.make_directory(parent, parents=True)
        await self._names.rename(hidden, target)
        return target

    async def empty_trash(self, path: Path = "/", *, older_than_seconds: float = 0.0) -> int:
        """Give back the space of what was deleted at and below a path, so long ago by the master's clock; returns the
        number of files. They cannot be had back. Raises InvalidRequest."""
        found, now = await self._trash(checked_path(path))
        files = 0
        for deletion in found:
            if now - deletion.deleted_microseconds >= older_than_seconds * 1e6:
                try:
                    files += await self._names.delete(deletion.root, recursive=True, immediately=True)
                except NotFound:
                    continue  # Its time was over, or it was brought back.
        return files

    async def _trash(self, path: str) -> tuple[list[Deletion], int]:
        """What was deleted at and below a path, and the master's time."""
        found: list[Deletion] = []
        after, is_last, now = "", False, 0
        while not is_last:
            reply = await self._master.ask(self._master.stub.ListTrash, ListTrashRequest(after=after))
            now, is_last = reply.now_microseconds, reply.is_last or not reply.entries
            for entry in reply.entries:
                after = entry.root
                if path in ("/", entry.origin, entry.root) or entry.origin.startswith(path + "/"):
                    found.append(
                        Deletion(
                            entry.origin,
                            entry.hidden,
                            entry.root,
                            entry.is_directory,
                            entry.files,
                            entry.length,
                            entry.deleted_microseconds,
                            entry.goes_microseconds,
                        )
                    )
        return found, now

    async def _find(self, path: str) -> tuple[str, str]:
        """Where something deleted is now, and where it was. Raises NotFound."""
        deletions = (await self._trash("/"))[0]
        for deletion in reversed(deletions):
            if path == deletion.root:
                return deletion.hidden, deletion.path
            for base in (deletion.path, deletion.hidden):
                inside = path[len(base) :]
                if not base or not path.startswith(base) or inside[:1] not in ("", "/"):
                    continue
                hidden = deletion.hidden + inside
                if not inside or (deletion.is_directory and await self._names.exists(hidden)):
                    return hidden, deletion.path and deletion.path + inside
        raise NotFound(f"nothing that was called {shown(path)} is in the trash; see `tabletop fs trash ls`")

    # Snapshots.

    async def snapshots(self, path: Path = "/") -> list[TakenSnapshot]:
        """The snapshots of what was at or below a path when they were taken, the oldest first. Those that lie in the
        trash are left out. Raises InvalidRequest."""
        found: list[TakenSnapshot] = []
        after, is_last = "", False
        while not is_last:
            request = FileSnapshotsRequest(path=checked_path(path), after=after)
            reply = await self._master.ask(self._master.stub.ListFileSnapshots, request)
            is_last = reply.is_last or not reply.entries
            for entry in reply.entries:
                after = entry.target
                found.append(
                    TakenSnapshot(
                        entry.source,
                        entry.target,
                        entry.is_directory,
                        entry.taken_microseconds,
                        entry.files,
                        entry.files_left,
                        entry.chunks,
                        entry.length,
                        entry.shared_chunks,
                        entry.shared_bytes,
                    )
                )
        return sorted(found, key=lambda snapshot: (snapshot.taken_microseconds, snapshot.target))

    # What a directory says for all that is below it.

    async def set_policy(
        self,
        path: Path,
        *,
        new_file_goal: int | None = None,
        trash_seconds: int | None = None,
        inherit_trash: bool = False,
    ) -> None:
        """Let a directory say which goal new files below it get (0: what the directories above it say), and for how
        many seconds deleted files are kept (0: not at all). None leaves it as it is; `inherit_trash` leaves the time to
        the directories above. `stat` of a directory tells what holds.

        Raises NotFound, NotADirectory, TooFewServers, InvalidRequest.
        """
        request = SetPolicyRequest(path=checked_path(path), inherit_trash=inherit_trash)
        if new_file_goal is not None:
            request.new_file_goal = checked_goal(new_file_goal, least=0)
        if trash_seconds is not None:
            request.trash_seconds = checked_number(trash_seconds, "trash_seconds")
        await self._master.change(self._master.stub.SetPolicy, request)

    # Safe mode.

    async def safe_mode(self) -> SafeMode:
        """Whether the master is in safe mode, and why. While no master acts, a shadow says whether an operator has
        entered it: whoever takes over keeps it."""
        return (await self._master.ask(self._master.reading_stub.GetClusterStatus, ClusterStatusRequest())).safe_mode

    async def enter_safe_mode(self) -> SafeMode:
        """From here on no name changes, and no replica is made or removed, until somebody leaves safe mode; what is
        there can be read and written. It outlives the master's process."""
        request = SafeModeRequest(action=SafeModeRequest.ENTER)
        return await self._master.change(self._master.stub.ChangeSafeMode, request)

    async def leave_safe_mode(self) -> SafeMode:
        """End safe mode, whoever has begun it. What has no replica then counts as lost, until one is reported."""
        request = SafeModeRequest(action=SafeModeRequest.LEAVE)
        return await self._master.change(self._master.stub.ChangeSafeMode, request)

    # The state of files.

    async def status_pages(self, path: Path = "/", *, chunks: int = _CHUNKS_A_PAGE) -> AsyncIterator[ClusterStatus]:
        """The master's view of every chunk at and below a path, in pages of about so many chunks. Only the first page
        has the figures of the whole cluster. What is changed meanwhile may be there or not. Raises InvalidRequest."""
        after, is_last = "", False
        while not is_last:  # At least once: an empty tree has one page.
            request = ClusterStatusRequest(chunks=True, path=checked_path(path), after=after, limit=chunks)
            page = await self._master.ask(self._master.stub.GetClusterStatus, request)
            yield page
            after = page.last_path
            is_last = not after
