"""Bugs in names, requests, clients, the master's log, and in time itself (GFS 2.6.3, 2.7.1, 4.1)."""

import asyncio
import math
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cluster.swarm.bug_tools import Planted, bug, nothing, replaced, together
from gfs import client
from gfs.names import master_link
from gfs.names.identity import FileIdentity
from gfs.names.location_cache import LocationCache
from gfs.names.master_link import MasterLink
from gfs.writing.write_behind import WriteBehind
from gfs.writing.writing import ChunkWriter
from master.core import Core
from master.log.records import GoalChanged
from master.maintenance.reclaiming import Reclaiming
from master.namespace.namespace import FileEntry
from master.namespace.namespace_locks import NamespaceLocks
from master.namespace.prefix_table import PrefixTable
from master.protocol import granting
from master.serving import service
from master.serving.creating import Creating, checked_goal
from master.serving.once import Once
from master.serving.service import MasterService
from runtime.errors import TabletopError
from runtime.simulated.loop import NANOSECONDS, SimulatedLoop
from runtime.wire.master_pb2 import AdmitReplicaReply, ListRequest

_send_buffer = WriteBehind._send_buffer
_final = ChunkWriter._final
_ask = MasterLink.ask
_create_all = Creating.create_all
_move_leaves = PrefixTable._move_leaves


@bug
def leaf_bound_after_merge() -> Planted:
    """Where the table of names is cut, the leaf behind the cut is bounded by its first key.

    Without the rule, after a merge a leaf's lower bound may be a key that is not in it any more; names that are moved
    there get the same bound, and are listed but not found (GFS 4.1)."""

    def cut(self: PrefixTable, key: bytes) -> int:
        place = self._place(key)
        keys, _ = self._read(place)
        at = bisect_left(keys, key)
        if self._lows[place] == key:
            return place  # Is the key in this leaf at all?
        if at == len(keys):
            return place + 1
        if at == 0:
            return self._tighten(place)
        self._split(place, at)
        return place + 1

    def move(self: PrefixTable, low: bytes, high: bytes, old: bytes, new: bytes) -> int:
        return self._move_leaves(low, high, old, new)

    def move_leaves(self: PrefixTable, *arguments: bytes) -> int:
        with replaced(PrefixTable, "_merge", PrefixTable._drop_if_empty):
            return _move_leaves(self, *arguments)

    return together(
        replaced(PrefixTable, "_cut", cut),
        replaced(PrefixTable, "move", move),
        replaced(PrefixTable, "_move_leaves", move_leaves),
    )


@bug
def path_instead_of_file_id() -> Planted:
    """An open file is asked for by its path and its id.

    Without the rule, after a rename and a new file of the same name, an open handle reads from and writes into the
    other file (GFS 2.7.1)."""

    return _asked_by_path()


def _asked_by_path() -> Planted:
    def any_file(entry: FileEntry, path: str, file_id: int) -> FileEntry:
        return entry

    return together(
        replaced(granting, "opened_file", any_file),
        replaced(service, "opened_file", any_file),
        replaced(client, "identity_of", lambda info: FileIdentity(info.path, 0)),
    )


@bug
def lease_survives_rename() -> Planted:
    """Renaming and deleting a file end the leases on its chunks first.

    Without the rule, and without the file's id in each question, whoever had the file open writes on, though the bytes
    are another file's by now (GFS 3.1: revoking leases "to disable mutations on a file that is being renamed")."""
    return together(replaced(granting.Granting, "fence", nothing), _asked_by_path())


@bug
def requests_without_identity() -> Planted:
    """A request that changes names has an id, and a repetition gets the first answer.

    Without the rule, a repeated deletion takes a new file of that name, and a repeated creation is refused though it
    was done (GFS leaves it open)."""

    async def do(self: Once, named: Any, work: Callable[[], Awaitable[int]]) -> int:
        return await work()

    async def do_all(self: Once, named: Sequence[Any], work: Callable[[Sequence[int]], Awaitable[Any]]) -> Any:
        return list(await work(range(len(named))))

    return together(replaced(Once, "do", do), replaced(Once, "do_all", do_all))


@bug
def one_refusal_for_all() -> Planted:
    """Each file of a call that creates many has an outcome of its own.

    Without the rule, one file that is refused has all of them called refused, and those that were created are found
    under their names (GFS 2.6.1 creates files one by one)."""

    async def create(self: Creating, requests: Sequence[Any], *, with_chunks: bool) -> list[int | TabletopError]:
        outcomes = await _create_all(self, requests, with_chunks=with_chunks)
        refused = [outcome for outcome in outcomes if isinstance(outcome, TabletopError)]
        return [refused[0]] * len(outcomes) if refused else outcomes

    return replaced(Creating, "create_all", create)


@bug
def shared_creation_without_locks() -> Planted:
    """Files that are created many in a call hold the locks of their paths like one that is created alone.

    Without the rule, two clients create one file, or a directory is deleted while a file in it is on its way to the
    log (GFS 4.1)."""

    @contextmanager
    def hold_free(self: NamespaceLocks, paths: Sequence[str]) -> Iterator[list[str]]:
        yield list(paths)

    return replaced(NamespaceLocks, "hold_free", hold_free)


@bug
def admission_without_identity() -> Planted:
    """An operator's request to admit a replica has an id too.

    Without the rule, a request that was refused is carried out when its message comes again, and one whose answer was
    lost is called impossible though it was done (GFS leaves it open)."""

    async def admit(self: MasterService, request: Any, context: Any) -> Any:
        version = await self._core.uninterrupted(self._admission.admit(request, self._deadline(context)))
        return AdmitReplicaReply(version=version)

    return replaced(MasterService, "AdmitReplica", admit)


@bug
def log_failure_survived() -> Planted:
    """A master whose log has failed ends, and its next run replays the log.

    Without the rule, memory and log tell two stories: what was refused is found done after the next start
    (GFS 2.6.3)."""
    return replaced(Core, "give_up", lambda self, reason: None)


@bug
def definite_although_done() -> Planted:
    """An error of a write is definite only if no try can have changed any replica.

    Without the rule, a client is told that nothing was written, and the bytes are there (GFS 2.7.1)."""

    def final(self: ChunkWriter, trial: Any, *arguments: Any, **named: Any) -> TabletopError:
        trial.may_have_happened = False
        return _final(self, trial, *arguments, **named)

    return replaced(ChunkWriter, "_final", final)


@bug
def cancelled_flush_drops_bytes() -> Planted:
    """A byte that an open file has taken is in its buffer or in a piece under way, whoever is cancelled.

    Without the rule, a flush whose caller gives up drops the bytes that it was about to send, and the next one says
    that every replica has them (GFS 2.3 leaves the client's buffering open)."""

    async def send_buffer(self: WriteBehind) -> None:
        try:
            await _send_buffer(self)
        except asyncio.CancelledError:
            self._buffer, self._filled = None, 0
            raise

    return replaced(WriteBehind, "_send_buffer", send_buffer)


@bug
def cached_location_hides_own_write() -> Planted:
    """After a write was acknowledged, the same client reads replicas of that version or a newer one.

    Without the rule, it reads the replica that missed its own write, whose place it remembers (GFS 2.7.1)."""
    return replaced(LocationCache, "least_version", lambda self, handle: 0)


@bug
def lost_message_hangs_the_list() -> Planted:
    """Each page of a listing is a call with a deadline, and is asked for again.

    Without the rule, one lost message keeps a listing waiting for five minutes (GFS leaves it open)."""

    async def ask(self: MasterLink, call: Any, request: Any, **named: Any) -> Any:
        if isinstance(request, ListRequest):
            return await call(request, timeout=300.0)
        return await _ask(self, call, request, **named)

    return replaced(master_link.MasterLink, "ask", ask)


@bug
def goal_not_logged() -> Planted:
    """A file's replication goal changes by a record of the log, like everything that survives a restart.

    Without the rule, the file has its old goal again after the master's next start, though its client was told of the
    new one (GFS 2.6.3, 4.3)."""

    async def set_replication(self: MasterService, request: Any) -> int:
        state = self._core.state
        before = granting.opened_file(state.namespace.file(request.path), request.path, request.file_id).goal
        state.apply(GoalChanged(request.path, checked_goal(self._core, request.path, request.replication_goal), before))
        return before

    return replaced(MasterService, "_set_replication", set_replication)


@bug
def abandoned_file_stays() -> Planted:
    """A file that its writer keeps under a passing name, and has not written for a while, is deleted.

    Without the rule, each client that dies while it writes leaves a file behind (GFS 4.4)."""
    return replaced(Reclaiming, "delete_abandoned", nothing)


@bug
def tiny_wait_rounds_to_now() -> Planted:
    """Virtual time goes on for any wait above 0.

    Without the rule, who waits for what is left of a second, as floats reckon it, waits for ever at one moment (a rule
    of the simulation)."""

    def call_at(self: SimulatedLoop, when: float, callback: Any, *arguments: Any, context: Any = None) -> Any:
        return self.call_at_nanoseconds(int(when * NANOSECONDS), callback, *arguments, context=context)

    def call_later(self: SimulatedLoop, delay: float, callback: Any, *arguments: Any, context: Any = None) -> Any:
        due = self.nanoseconds + math.floor(delay * NANOSECONDS)
        return self.call_at_nanoseconds(due, callback, *arguments, context=context)

    return together(replaced(SimulatedLoop, "call_at", call_at), replaced(SimulatedLoop, "call_later", call_later))
