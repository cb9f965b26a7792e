"""The list of a server's log segments, in a file of its own: the place where they are named, and where an owner finds
out that it is one no more.

Each change writes all of it, as one small file, under the next number (`segments-000003`): first under a temporary
name, synced, then renamed into place; the highest number is the truth, and the one before is removed. So a segment
counts from a certain moment on, and one that is missing is noticed.

The problem. An owner that was thought dead may have been paused: it wakes up, appends to a log that another one has
read, and acknowledges what nobody will ever see.

The idea. A new owner *claims* the log under its token: it makes a file that says so (`claim-000007.3`), takes the next
number, and then takes away all earlier claims, durably. Whoever has appended looks whether its claim is still
there, after the sync and before anybody is told (`check_owner`). If it is, no later claim was complete, and the new
owner, who reads the log only after its claim, finds the record. If it is gone, nobody knows, and nobody is told that
the record is safe.

The file of the last segment may still have a writer, who appends to it or cuts it back. So a claim copies it; what the
new owner reads once, it can read again.

Invariants: (1) an owner whose claim was taken away acknowledges nothing, and changes no list that counts: the number is
taken, or a higher one is there; (2) when a claim has returned, the earlier ones are durably gone, and no file of a
named segment has another writer; (3) the highest list is never removed.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from runtime.errors import AlreadyExists, Corrupted, NotFound, Superseded, TabletopError
from runtime.tasks import to_the_end
from runtime.wire import tablet_pb2
from tablet.engine.log.records import Segment
from tablet.engine.world.names import TEMPORARY
from tablet.engine.world.small_files import FileKind
from tablet.engine.world.storage import Storage, StoredFile

_FILE = FileKind("tabletop log segments", 3, tablet_pb2.SegmentList)
_NAME = re.compile(r"segments-(\d{6,})$")
_STAGED = re.compile(r"segments-\d{6,}(\.\d+)?\.new$")
_LOG = re.compile(r"(\d{6,})(\.\d+)?\.log$")
_CLAIM = re.compile(r"claim-(\d{6,})\.\d+(\.new)?$")
_ATTEMPTS = 20
_NUMBERS_APART = 1000
"""An owner leaves so many segment numbers to the earlier one, who may begin a file before it learns that it is over."""
_COPY_BYTES = 1024 * 1024


class SegmentList:
    """The names of segments in a folder. Make one with `load`. `superseded`: why this is not the owner any more; empty
    while it is. `when_superseded` is told so once."""

    is_inline = False

    def __init__(self, storage: Storage, number: int, segments: Sequence[Segment], next_segment: int) -> None:
        self.segments = tuple(segments)
        self.token = 0
        self.superseded = ""
        self.when_superseded: Callable[[str], None] = _nobody
        self._storage = storage
        self._number = number
        self._next_segment = next_segment
        self._claim_file = ""
        self._earlier: list[str] = []
        self._unnamed: list[str] = []
        self._changing = asyncio.Lock()
        self.in_doubt = False
        """A renaming failed: nobody knows which list is the truth, until the next one is written."""

    @classmethod
    async def load(cls, storage: Storage, token: int = 0) -> "SegmentList":
        """The list in a folder, or an empty one. With a token it is claimed: an earlier owner who is still at work
        acknowledges nothing any more that is not in these segments. Raises Superseded if there was a later owner,
        Corrupted, IncompatibleFormat, DiskFailure; with a token also NoSpace."""
        if not token:
            return await cls._found(storage)
        for _ in range(_ATTEMPTS):
            try:
                found = await cls._found(storage)
                found._refuse_older(token)
                await found._claim(token)
            except NotFound:  # The earlier owner has put another list in its place meanwhile.
                continue
            except Superseded:
                if found.superseded:  # It, or another one, was quicker.
                    continue
                raise
            return found
        raise Superseded("another owner changes this log faster than it can be claimed; try again")

    @classmethod
    async def _found(cls, storage: Storage) -> "SegmentList":
        names = await storage.list()
        numbers = _numbers(names)
        logs = {name: int(match[1]) for name in names if (match := _LOG.match(name))}
        following = max(logs.values(), default=0) + 1
        if not numbers:
            found = cls(storage, 0, (), following)
        else:
            name = _list_name(numbers[-1])
            said = await _FILE.read(storage, name)
            segments = [Segment(one.number, one.first_sequence, one.copied_for) for one in said.segments]
            for segment in segments:
                if segment.file_name not in names:
                    raise Corrupted(f"{name} names the log {segment.file_name}, which is missing; restore it")
            found = cls(storage, numbers[-1], segments, max(said.next_segment, following))
            found.token = said.token
            named = {segment.file_name for segment in segments}
            found._unnamed = [file_name for file_name in logs if file_name not in named]
            found._earlier = [_list_name(number) for number in numbers]
        found._unnamed += [name for name in names if _STAGED.match(name)]
        return found

    async def _claim(self, token: int) -> None:
        """Make the log ours: from the end of this call on, what others write to it counts for nothing."""
        self._next_segment += _NUMBERS_APART * bool(self._number)
        self.token, self._claim_file = token, f"claim-{self._number + 1:06}.{token}"
        with suppress(AlreadyExists):  # An attempt under the same token came to nothing.
            await (await self._storage.create(self._claim_file)).close()
        await self._replace(self.segments)
        for name in await self._storage.list():
            match = _CLAIM.match(name)
            if match and int(match[1]) <= self._number and name != self._claim_file:
                await self._take_away(name)
        await self._copy_last()

    async def _take_away(self, claim: str) -> None:
        """Remove another owner's claim so that no loss of power brings it back: a renaming is durable, a removal is
        not."""
        aside = claim.removesuffix(TEMPORARY) + TEMPORARY
        if claim != aside:
            with suppress(NotFound):
                await self._storage.remove(aside)
            with suppress(NotFound):
                await self._storage.rename(claim, aside)
        with suppress(TabletopError):
            await self._storage.remove(aside)

    async def _copy_last(self) -> None:
        """Name a copy in the place of the last segment, unless that is one: copies have no writer."""
        last = self.segments[-1] if self.segments else None
        if last is None or last.copied_for:
            return
        copy = replace(last, copied_for=self._number)
        source = await self._storage.open(last.file_name)
        try:
            target = await self._storage.create(copy.file_name)
            try:
                await _copy(source, target)
            finally:
                await target.close()
        finally:
            await source.close()
        await self._replace((*self.segments[:-1], copy))

    def new_number(self) -> int:
        """A number that no segment has had."""
        self._next_segment += 1
        return self._next_segment - 1

    @to_the_end
    async def add(self, segment: Segment) -> None:
        """One more segment counts from here on. Raises Superseded, NoSpace, DiskFailure."""
        async with self._changing:
            await self._replace((*self.segments, segment))

    @to_the_end
    async def keep(self, choose: Callable[[Sequence[Segment]], Sequence[Segment]]) -> None:
        """Only those that are chosen count from here on, if that makes a difference. Raises Superseded, NoSpace,
        DiskFailure."""
        async with self._changing:
            if self.superseded:
                raise Superseded(self.superseded)
            while self._unnamed:  # Begun by a server that died before it had named it, and lists from before the last.
                with suppress(TabletopError):
                    await self._storage.remove(self._unnamed[-1])
                self._unnamed.pop()
            kept = tuple(choose(self.segments))
            if kept != self.segments:
                await self._replace(kept)

    async def check_owner(self) -> None:
        """Return if no other owner's claim was complete when this was called. Raises Superseded; DiskFailure if nobody
        can tell."""
        if not self.superseded and await self._storage.exists(self._claim_file):
            return
        if not self.superseded:
            self._now_superseded(f"{self._claim_file} is gone, for another owner has claimed the log")
        raise Superseded(self.superseded)

    async def _replace(self, segments: Sequence[Segment]) -> None:
        if self.superseded:
            raise Superseded(self.superseded)
        if self.in_doubt:
            await self._resolve_doubt()
        number = self._number + 1
        named = [
            tablet_pb2.LogSegment(number=found.number, first_sequence=found.first_sequence, copied_for=found.copied_for)
            for found in segments
        ]
        message = tablet_pb2.SegmentList(next_segment=self._next_segment, segments=named, token=self.token)
        name = _list_name(number)
        staged = f"{name}.{self.token}{TEMPORARY}" if self.token else name + TEMPORARY
        try:
            file = await self._storage.create(staged)
        except AlreadyExists:  # An earlier attempt came to nothing.
            await self._storage.remove(staged)
            file = await self._storage.create(staged)
        try:
            await file.append(_FILE.framed(message, sequence=number))
            await file.sync()
        finally:
            await file.close()
        self.in_doubt = True
        try:
            await self._storage.rename(staged, name)
        except AlreadyExists as error:
            raise self._now_superseded(f"{name} was written by another owner") from error
        except NotFound as error:
            raise self._now_superseded(f"{staged} was removed by another owner") from error
        if self.token:
            await self._check_number(number)
        self._number, self.in_doubt = number, False
        before, self.segments = self.segments, tuple(segments)
        for needless in (*self._earlier, *_dropped(before, self.segments)):
            with suppress(NotFound, TabletopError):  # The next opening of the log removes it.
                await self._storage.remove(needless)
        self._earlier = [name]

    async def _check_number(self, number: int) -> None:
        """Raise Superseded if there is a higher list: then another owner had this number before, and has removed it."""
        highest = max(_numbers(await self._storage.list()), default=0)
        if highest > number:
            raise self._now_superseded(f"{_list_name(highest)} was written by another owner")

    async def _resolve_doubt(self) -> None:
        """Pass over the number of the last renaming only if that list is there and ours. If it is not there, another
        owner may still take the number: we try it once more."""
        name = _list_name(self._number + 1)
        if not await self._storage.exists(name):
            return
        if (await _FILE.read(self._storage, name)).token != self.token:
            raise self._now_superseded(f"{name} was written by another owner")
        self._number += 1
        self._earlier.append(name)

    def _refuse_older(self, token: int) -> None:
        if token < self.token:
            raise Superseded(
                f"the log has an owner with the token {self.token}, and yours is {token}: ask who serves its tablets"
            )

    def _now_superseded(self, found: str) -> Superseded:
        """The error for this and every later attempt."""
        self.superseded = f"{found}; this one, with the token {self.token}, stops: ask who serves its tablets now"
        self.when_superseded(self.superseded)
        return Superseded(self.superseded)


def _nobody(reason: str) -> None:
    """Nobody wants to know."""


def _numbers(names: Sequence[str]) -> list[int]:
    return sorted(int(match[1]) for name in names if (match := _NAME.match(name)))


def _list_name(number: int) -> str:
    return f"segments-{number:06}"


def _dropped(before: Sequence[Segment], after: Sequence[Segment]) -> list[str]:
    return [segment.file_name for segment in before if segment not in after]


async def _copy(source: StoredFile, target: StoredFile) -> None:
    offset = 0
    while data := await source.read_at(offset, _COPY_BYTES):
        await target.append(data)
        offset += len(data)
    await target.sync()
