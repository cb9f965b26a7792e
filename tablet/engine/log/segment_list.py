"""The list of a server's log segments, in a file of its own: the place where they are named.

Each change writes all of it, as one small file, under the next number (`segments-000003`): first under a temporary
name, synced, then renamed into place; the highest number is the truth, and the one before is removed. So a segment
counts from a certain moment on, and one that is missing is noticed.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from runtime.errors import AlreadyExists, Corrupted, NotFound, TabletopError
from runtime.tasks import to_the_end
from runtime.wire import tablet_pb2
from tablet.engine.log.records import Segment
from tablet.engine.world.names import TEMPORARY, log_name, sorted_out
from tablet.engine.world.small_files import FileKind
from tablet.engine.world.storage import Storage

_FILE = FileKind("tabletop log segments", 2, tablet_pb2.SegmentList)
_NAME = re.compile(r"segments-(\d{6,})$")


class SegmentList:
    """The names of segments in a folder. Make one with `load`."""

    is_inline = False

    def __init__(self, storage: Storage, number: int, segments: Sequence[Segment], next_segment: int) -> None:
        self.segments = tuple(segments)
        self._storage = storage
        self._number = number
        self._next_segment = next_segment
        self._unnamed: list[str] = []
        self._changing = asyncio.Lock()
        self.in_doubt = False
        """A renaming failed: nobody knows which list is the truth, until the next one is written."""

    @classmethod
    async def load(cls, storage: Storage) -> "SegmentList":
        """The list in a folder, or an empty one. Raises Corrupted, IncompatibleFormat, DiskFailure."""
        names = await storage.list()
        numbers = [int(match[1]) for name in names if (match := _NAME.match(name))]
        logs = sorted_out(names).logs
        if not numbers:
            return cls(storage, 0, (), max(logs, default=0) + 1)
        name = _list_name(max(numbers))
        said = await _FILE.read(storage, name)
        segments = [Segment(segment.number, segment.first_sequence) for segment in said.segments]
        found = cls(storage, max(numbers), segments, max(said.next_segment, max(logs, default=0) + 1))
        for segment in segments:
            if log_name(segment.number) not in names:
                raise Corrupted(f"{name} names the log {log_name(segment.number)}, which is missing; restore it")
        named = {segment.number for segment in segments}
        found._unnamed = [file_name for number, file_name in logs.items() if number not in named]
        found._unnamed += [_list_name(number) for number in sorted(numbers)[:-1]]
        return found

    def new_number(self) -> int:
        """A number that no segment has had."""
        self._next_segment += 1
        return self._next_segment - 1

    @to_the_end
    async def add(self, segment: Segment) -> None:
        """One more segment counts from here on. Raises NoSpace, DiskFailure."""
        async with self._changing:
            await self._replace((*self.segments, segment))

    @to_the_end
    async def keep(self, choose: Callable[[Sequence[Segment]], Sequence[Segment]]) -> None:
        """Only those that are chosen count from here on, if that makes a difference. Raises NoSpace, DiskFailure."""
        async with self._changing:
            while self._unnamed:  # Begun by a server that died before it had named it, and lists from before the last.
                with suppress(TabletopError):
                    await self._storage.remove(self._unnamed[-1])
                self._unnamed.pop()
            kept = tuple(choose(self.segments))
            if kept != self.segments:
                await self._replace(kept)

    async def _replace(self, segments: Sequence[Segment]) -> None:
        number = self._number + 1
        named = [tablet_pb2.LogSegment(number=found.number, first_sequence=found.first_sequence) for found in segments]
        message = tablet_pb2.SegmentList(next_segment=self._next_segment, segments=named)
        name = _list_name(number)
        try:
            file = await self._storage.create(name + TEMPORARY)
        except AlreadyExists:  # An earlier attempt came to nothing.
            await self._storage.remove(name + TEMPORARY)
            file = await self._storage.create(name + TEMPORARY)
        try:
            await file.append(_FILE.framed(message, sequence=number))
            await file.sync()
        finally:
            await file.close()
        self._number = number  # If the renaming fails, nobody knows which is the truth: the next one has another name.
        self.in_doubt = True
        await self._storage.rename(name + TEMPORARY, name)
        self.in_doubt = False
        before, self.segments = self.segments, tuple(segments)
        for needless in (_list_name(number - 1), *_dropped(before, self.segments)):
            with suppress(NotFound, TabletopError):  # The next opening of the log removes it.
                await self._storage.remove(needless)


def _list_name(number: int) -> str:
    return f"segments-{number:06}"


def _dropped(before: Sequence[Segment], after: Sequence[Segment]) -> list[str]:
    return [log_name(segment.number) for segment in before if segment not in after]
