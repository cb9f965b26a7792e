"""New files (GFS 2.6.1, 4.1).

The problem. A small file costs its writer a call for the name, one for the first chunk, and the master a sync of its
log for each of the two; ten thousand of them cost ten thousand times that. The idea: files that are about to be
written are created many in a call, each together with its first chunk, in one record. Their replicas are made at the
same time, in one call to each chunkserver (`chunkservers.py`), and their records share a sync.

Every file of a call stands for itself: it has a request id of its own (`once.py`), and is created or refused whatever
becomes of the others. A file whose chunk could not be made at the first try is created without one.
"""

import asyncio
from collections.abc import Sequence

from master import paths
from master.core import Core
from master.events import FileCreated
from master.namespace_locks import plan_locks
from master.new_chunks import NewChunk, NewChunks
from master.records import FileCreated as FileCreatedRecord
from master.records import FileWithChunkCreated
from master.settings import LARGEST_GOAL
from runtime.errors import InvalidRequest, TabletopError, TooFewServers, shown
from runtime.events import because
from runtime.wire import master_pb2


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
            return await self._commit(request, goal, None)

    async def create_with_chunks(self, requests: Sequence[master_pb2.CreateRequest]) -> list[int | TabletopError]:
        """Make files with their first chunks; for each its id, or why it was not created."""
        outcomes: dict[int, int | TabletopError] = {}
        goals: dict[int, int] = {}
        for place, request in enumerate(requests):
            try:
                goals[place] = self._checked(request)
            except TabletopError as error:
                outcomes[place] = error
        left = list(goals)
        while left:  # Of several files of one path, the second comes after the first: whether it may depends on that.
            places: dict[str, int] = {}
            for place in left:
                places.setdefault(requests[place].path, place)
            together = list(places.values())
            async with self._core.locks.hold(plan_locks(write=list(places))):
                work = (self._create_with_chunk(requests[place], goals[place]) for place in together)
                outcomes.update(zip(together, await asyncio.gather(*work), strict=True))
            left = [place for place in left if place not in outcomes]
        return [outcomes[place] for place in range(len(requests))]

    async def _create_with_chunk(self, request: master_pb2.CreateRequest, goal: int) -> int | TabletopError:
        with because(request.cause):
            try:
                self._core.state.namespace.check_create(request.path)
                async with self._new_chunks.forming(request.path, goal) as chunk:
                    return await self._commit(request, goal, chunk)
            except TabletopError as error:
                return error

    async def _commit(self, request: master_pb2.CreateRequest, goal: int, chunk: NewChunk | None) -> int:
        """Log the file, and its first chunk; the caller holds the path's write lock."""
        core, path, named = self._core, request.path, request.request
        core.state.namespace.check_create(path)
        file_id = await self._new_chunks.new_number()
        now = core.world.clock.wall_microseconds()
        name = (named.client, named.number, named.oldest)
        if chunk is None:
            await core.commit(FileCreatedRecord(path, goal, now, file_id, *name))
        else:
            await core.commit(FileWithChunkCreated(path, goal, now, file_id, chunk.handle, chunk.names, *name))
        core.emit(FileCreated(path=path, goal=goal))
        if chunk is not None:
            self._new_chunks.begin(chunk, path, 0)
        return file_id

    def _checked(self, request: master_pb2.CreateRequest) -> int:
        paths.check_may_be_made(request.path)
        return checked_goal(self._core, request.path, request.replication_goal)


def checked_goal(core: Core, path: str, wanted: int) -> int:
    """The replication goal that a file gets; 0 stands for the cluster's. Raises InvalidRequest, TooFewServers."""
    goal = wanted or core.settings.replication_goal
    known = len(core.servers)
    if goal > LARGEST_GOAL:
        raise InvalidRequest(f"a replication goal of {goal} for {shown(path)}; expected at most {LARGEST_GOAL}")
    if goal > known:
        raise TooFewServers(
            f"{shown(path)} should have {goal} replicas, but only {known} chunkservers ever registered; "
            f"start more, or ask for at most {known}"
        )
    return goal
