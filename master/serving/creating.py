"""New files (GFS 2.6.1, 4.1).

The problem. A file that is created alone costs a call, a task, the locks of its path and a share of a sync; a small
file costs its writer a call for the first chunk as well, and the master another sync. Ten thousand of them cost ten
thousand times that. The idea: files that are asked for at the same time are created many in a call. Their locks are
taken together, their records follow one another in the log and share a sync, and all are answered at once. Files that
are about to be written come each with its first chunk, in the same record: the replicas of all are made at the same
time, in one call to each chunkserver (`chunkservers.py`).

Every file of a call stands for itself: it has a request id of its own (`once.py`), and is created or refused whatever
becomes of the others. None waits for others' work: a file whose path is being changed is answered Unavailable, and its
client asks again, alone; a file whose chunk could not be made at the first try is created without one.
"""

import asyncio
from collections.abc import Sequence

from master.core import Core
from master.events import FileCreated
from master.log.records import FileCreated as FileCreatedRecord
from master.log.records import FileWithChunkCreated
from master.namespace import paths
from master.namespace.namespace_locks import plan_locks
from master.protocol.new_chunks import NewChunk, NewChunks
from master.settings import LARGEST_GOAL
from runtime.errors import InvalidRequest, TabletopError, TooFewServers, Unavailable, shown
from runtime.events import because, current_cause
from runtime.wire import master_pb2

Outcome = int | TabletopError
"""The id of a file that was created, or why it was not."""


class Creating:
    """Creates files."""

    def __init__(self, core: Core, new_chunks: NewChunks) -> None:
        self._core = core
        self._new_chunks = new_chunks

    async def create(self, request: master_pb2.CreateRequest) -> int:
        """Make an empty file, without a chunk; returns its id.

        Raises AlreadyExists, NotFound, NotADirectory, InvalidRequest, TooFewServers, and what the log raises.
        """
        goal = self._checked(request)
        async with self._core.locks.hold(plan_locks(write=[request.path])):
            [outcome] = await self._create_empty([request], [goal])
        if isinstance(outcome, TabletopError):
            raise outcome
        return outcome

    async def create_all(
        self, requests: Sequence[master_pb2.CreateRequest], *, with_chunks: bool
    ) -> list[int | TabletopError]:
        """Make files, with their first chunks or without; for each its id, or why it was not created."""
        outcomes: dict[int, Outcome] = {}
        goals: dict[int, int] = {}
        for place, request in enumerate(requests):
            try:
                goals[place] = self._checked(request)
            except TabletopError as error:
                outcomes[place] = error
        create = self._create_with_chunks if with_chunks else self._create_empty
        left = list(goals)
        while left:  # Of several files of one path, the second comes after the first: whether it may depends on that.
            together: dict[str, int] = {}
            for place in left:
                together.setdefault(requests[place].path, place)
            with self._core.locks.hold_free(list(together)) as free:
                places = [together[path] for path in free]
                made = await create([requests[place] for place in places], [goals[place] for place in places])
                outcomes.update(zip(places, made, strict=True))
            for path, place in together.items():
                if place not in outcomes:
                    words = f"{shown(path)} is being changed by somebody else; ask again, for this file alone"
                    outcomes[place] = Unavailable(words, definite=True)
            left = [place for place in left if place not in outcomes]
        return [outcomes[place] for place in range(len(requests))]

    # The caller holds the write locks of the paths.

    async def _create_empty(self, requests: Sequence[master_pb2.CreateRequest], goals: Sequence[int]) -> list[Outcome]:
        """Log all files at once."""
        core = self._core
        outcomes: dict[int, Outcome] = {}
        records: dict[int, FileCreatedRecord] = {}
        for place, (request, goal) in enumerate(zip(requests, goals, strict=True)):
            try:
                core.state.namespace.check_create(request.path)
                file_id = await self._new_chunks.new_number()
            except TabletopError as error:
                outcomes[place] = error
                continue
            now, named = core.world.clock.wall_microseconds(), request.request
            name = (named.client, named.number, named.oldest)
            records[place] = FileCreatedRecord(request.path, goal, now, file_id, *name)
        found = await core.commit_all(list(records.values()))
        for (place, record), outcome in zip(records.items(), found, strict=True):
            outcomes[place] = outcome if isinstance(outcome, TabletopError) else record.file_id
            if not isinstance(outcome, TabletopError):
                with because(requests[place].cause or current_cause()):
                    core.emit(FileCreated(path=record.path, goal=record.goal, file_id=record.file_id))
        return [outcomes[place] for place in range(len(requests))]

    async def _create_with_chunks(
        self, requests: Sequence[master_pb2.CreateRequest], goals: Sequence[int]
    ) -> list[Outcome]:
        """Make the replicas of all first chunks at the same time."""
        return await asyncio.gather(*map(self._create_with_chunk, requests, goals))

    async def _create_with_chunk(self, request: master_pb2.CreateRequest, goal: int) -> Outcome:
        with because(request.cause or current_cause()):
            try:
                self._core.state.namespace.check_create(request.path)
                async with self._new_chunks.forming(request.path, goal) as chunk:
                    if chunk is not None:
                        return await self._commit(request, goal, chunk)
                [outcome] = await self._create_empty([request], [goal])
            except TabletopError as error:
                return error
        return outcome

    async def _commit(self, request: master_pb2.CreateRequest, goal: int, chunk: NewChunk) -> int:
        """Log the file with its first chunk."""
        core, path, named = self._core, request.path, request.request
        core.state.namespace.check_create(path)
        file_id = await self._new_chunks.new_number()
        now = core.world.clock.wall_microseconds()
        name = (named.client, named.number, named.oldest)
        await core.commit(FileWithChunkCreated(path, goal, now, file_id, chunk.handle, chunk.names, *name))
        core.emit(FileCreated(path=path, goal=goal, file_id=file_id))
        self._new_chunks.begin(chunk, path, 0)
        return file_id

    def _checked(self, request: master_pb2.CreateRequest) -> int:
        paths.check_may_be_made(request.path)
        self._core.refuse_in_safe_mode()
        return checked_goal(self._core, request.path, request.replication_goal)


def checked_goal(core: Core, path: str, wanted: int) -> int:
    """The replication goal that a file gets; 0 stands for what a policy says, or else the cluster. Raises
    InvalidRequest, TooFewServers."""
    goal = wanted or default_goal(core, path)
    known = len(core.servers) - len(core.state.draining)
    if goal > LARGEST_GOAL:
        raise InvalidRequest(f"a replication goal of {goal} for {shown(path)}; expected at most {LARGEST_GOAL}")
    if goal > known:
        raise TooFewServers(
            f"{shown(path)} should have {goal} replicas, but only {known} chunkservers ever registered and are not "
            "drained; "
            f"start more, or ask for at most {known}"
        )
    return goal


def default_goal(core: Core, path: str) -> int:
    """The replication goal of a file at a path whose creator asks for none."""
    found, _ = core.state.policies.goal(path)
    return found or core.settings.replication_goal
