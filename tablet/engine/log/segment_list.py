"""The list of a server's log segments, in a file of its own: the place where they are named.

Each change writes all of it, as one frame of JSON, under the next number (`segments-000003`): first under a temporary
name, synced, then renamed into place; the highest number is the truth, and the one before is removed. So a segment
counts from a certain moment on, and one that is missing is noticed.
"""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from runtime.errors import AlreadyExists, Corrupted, IncompatibleFormat, NotFound, TabletopError
from runtime.record_log import LogReader, encode_frame
from runtime.tasks import to_the_end
from tablet.engine.log.records import Segment
from tablet.engine.world.names import TEMPORARY, log_name, sorted_out
from tablet.engine.world.storage import Storage

FORMAT = 1
KIND = "tabletop log segments"
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
        file = await storage.open(name)
        try:
            payloads = [record.payload async for record in LogReader(file, name)]
        finally:
            await file.close()
        try:
            (payload,) = payloads
            fields = json.loads(payload)
            if (fields["kind"], fields["format"]) != (KIND, FORMAT):
                raise IncompatibleFormat(f"{name} is a {fields['kind']!r} of format {fields['format']}")
            segments = [Segment(int(number), int(first)) for number, first in fields["segments"]]
            next_segment = max(int(fields["next_segment"]), max(logs, default=0) + 1)
            found = cls(storage, max(numbers), segments, next_segment)
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupted(f"{name} does not hold a list of log segments ({error}); restore it from a copy") from error
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
        fields = {
            "kind": KIND,
            "format": FORMAT,
            "next_segment": self._next_segment,
            "segments": [[segment.number, segment.first_sequence] for segment in segments],
        }
        name = _list_name(number)
        try:
            file = await self._storage.create(name + TEMPORARY)
        except AlreadyExists:  # An earlier attempt came to nothing.
            await self._storage.remove(name + TEMPORARY)
            file = await self._storage.create(name + TEMPORARY)
        try:
            await file.append(encode_frame(json.dumps(fields).encode(), number, 0))
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
