"""The catalogue: which tablets of a server are alive, at each moment exactly one truth (BT 5.2).

The problem. In the paper the server commits a split by a write to the METADATA table. Until then the old tablet is
there, afterwards the new ones are, and whoever looks sees one or the other.

The idea. The catalogue is small and changes rarely, so each change writes all of it, as a manifest does: one small
file, `catalogue-000007`, written under a temporary name, synced and renamed. The highest number is the truth. A
number is taken by one owner: the renaming fails if there is such a file. The owner writes his *token* into it, which
rises from owner to owner; who finds the next number taken has been superseded, and changes nothing any more.

Invariants: (1) the tablets of a table do not overlap; (2) `next_tablet` is above the number of every tablet that was
ever named here; (3) after a renaming that failed nobody knows which catalogue is the truth, until a third one is.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from runtime.errors import (
    AlreadyExists,
    Corrupted,
    InvalidRequest,
    NotFound,
    Superseded,
)
from runtime.tasks import to_the_end
from runtime.wire import tablet_pb2
from tablet.engine.world.names import TEMPORARY
from tablet.engine.world.small_files import FileKind
from tablet.engine.world.storage import Storage

_FILE = FileKind("tabletop tablet catalogue", 2, tablet_pb2.Catalogue)
_OWN_NAME = "catalogue"
_NAME = re.compile(r"catalogue-(\d{6,})$")
_STAGED = re.compile(r"catalogue-\d{6,}(\.\d+)?\.new$")
_TABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")
_FOLDER = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})-(\d{6,})$")
_ATTEMPTS = 20
_NUMBERS_APART = 1000
"""An owner leaves so many numbers of tablets to the earlier one, who may still make folders before he learns of it."""


@dataclass(frozen=True, slots=True)
class TabletEntry:
    """A live tablet: start_row <= row < end_row (empty: no bound) of a table, in the folder of its name."""

    name: str
    table: str
    start_row: bytes = b""
    end_row: bytes = b""

    def holds(self, row: bytes) -> bool:
        """Whether the row is one of its rows."""
        return self.start_row <= row and (not self.end_row or row < self.end_row)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All live tablets, by table and row."""

    number: int = 0
    token: int = 0
    next_tablet: int = 1
    tablets: tuple[TabletEntry, ...] = ()

    def of_table(self, table: str) -> list[TabletEntry]:
        """The tablets of a table, in the order of their rows."""
        return [entry for entry in self.tablets if entry.table == table]

    def named(self, name: str) -> TabletEntry:
        """A tablet by its name. Raises NotFound."""
        for entry in self.tablets:
            if entry.name == name:
                return entry
        raise NotFound(f"there is no live tablet {name!r}; there are {', '.join(self.names()) or 'none'}")

    def names(self) -> list[str]:
        """Those of all tablets."""
        return [entry.name for entry in self.tablets]

    def with_changed(self, gone: Iterable[TabletEntry], come: Iterable[TabletEntry]) -> "Catalogue":
        """The one in which some tablets have taken the place of others. Raises InvalidRequest if they overlap."""
        left = set(gone)
        kept = [entry for entry in self.tablets if entry not in left]
        tablets = tuple(sorted((*kept, *come), key=lambda entry: (entry.table, entry.start_row)))
        numbers = [tablet_number(entry.name) + 1 for entry in tablets]
        changed = replace(self, tablets=tablets, next_tablet=max([self.next_tablet, *numbers]))
        changed.refuse_overlap()
        return changed

    def refuse_overlap(self) -> None:
        """Raise InvalidRequest if two tablets hold one row."""
        for lower, upper in pairwise(self.tablets):
            if lower.table == upper.table and (not lower.end_row or lower.end_row > upper.start_row):
                raise InvalidRequest(
                    f"the tablets {lower.name} and {upper.name} would both hold row {upper.start_row[:80]!r}"
                )

    def encode(self) -> bytes:
        """The file's bytes."""
        entries = [
            tablet_pb2.CatalogueEntry(
                name=entry.name, table=entry.table, start_row=entry.start_row, end_row=entry.end_row
            )
            for entry in self.tablets
        ]
        message = tablet_pb2.Catalogue(
            number=self.number, token=self.token, next_tablet=self.next_tablet, tablets=entries
        )
        return _FILE.framed(message, sequence=max(1, self.number))


class CatalogueFile:
    """The catalogue in a folder, and the only one who changes it. Make one with `load`. `in_doubt`: a renaming failed,
    and nobody knows what is the truth until `settle`."""

    is_inline = False

    def __init__(self, storage: Storage, current: Catalogue) -> None:
        self.current = current
        self.in_doubt = False
        self.superseded = ""
        self._storage = storage
        self._last_number = current.number

    @classmethod
    async def load(cls, storage: Storage, token: int = 0) -> "CatalogueFile":
        """The catalogue of a folder, or a new one. With a token, it is claimed: an earlier owner who is still at work
        cannot change it any more. Raises Superseded if there was a later owner, Corrupted, IncompatibleFormat,
        DiskFailure."""
        for _ in range(_ATTEMPTS):
            try:
                found = await load_catalogue(storage)
            except NotFound:  # The earlier owner has put another one in its place meanwhile.
                continue
            current = found or Catalogue()
            if token < current.token:
                raise Superseded(
                    f"the catalogue has an owner with the token {current.token}, and yours is {token}: ask who serves"
                )
            file = cls(storage, current)
            if found is not None and not token:
                return file
            claimed = replace(current, token=token, next_tablet=current.next_tablet + bool(found) * _NUMBERS_APART)
            try:
                await file.switch(claimed)
            except (Superseded, NotFound):  # The earlier owner was quicker, or has swept: look again.
                continue
            return file
        raise Superseded("another owner changes this catalogue faster than it can be claimed; try again")

    @to_the_end
    async def switch(self, changed: Catalogue) -> None:
        """Make another catalogue the truth. After an error in which `in_doubt` rises, it may be, or may not. Raises
        Superseded, NoSpace, DiskFailure."""
        if self.superseded:
            raise Superseded(self.superseded)
        if self.in_doubt:
            await self._resolve_doubt()
        number = self._last_number + 1
        changed = replace(changed, number=number)
        staged = f"{catalogue_name(number)}.{changed.token}{TEMPORARY}"
        await self._stage(changed, staged)
        self._last_number, self.in_doubt = number, True
        try:
            await self._storage.rename(staged, catalogue_name(number))
        except AlreadyExists as error:
            raise self.now_superseded(number) from error
        if changed.token:  # A later owner had this number perhaps, and has removed it: then there is a higher one.
            self.check_listing(await self._storage.list())
        self.current, self.in_doubt = changed, False

    async def settle(self) -> None:
        """If it is in doubt whether the last change holds, see to it that it does not. Raises as `switch`."""
        if self.in_doubt:
            await self.switch(self.current)

    def check_listing(self, names: Sequence[str]) -> None:
        """Raise Superseded if a listing of the folder shows that another owner has changed the catalogue."""
        highest = max(catalogue_numbers(names), default=0)
        if highest > self._last_number:
            raise self.now_superseded(highest)

    def now_superseded(self, number: int) -> Superseded:
        """The error for this and every later attempt: somebody else has written the catalogue of this number."""
        self.superseded = (
            f"{catalogue_name(number)} was written by another owner, and this one, with the token "
            f"{self.current.token}, stops: close its tablets, and ask who serves them"
        )
        return Superseded(self.superseded)

    async def _resolve_doubt(self) -> None:
        """Pass over the number of the last renaming only if that file is there and ours. If it is not there, another
        owner may still take the number: we try it once more."""
        name = catalogue_name(self._last_number)
        if name not in await self._storage.list():
            self._last_number -= 1
        elif (await read_catalogue(self._storage, name)).token != self.current.token:
            raise self.now_superseded(self._last_number)

    async def _stage(self, catalogue: Catalogue, name: str) -> None:
        try:
            file = await self._storage.create(name)
        except AlreadyExists:  # An earlier attempt came to nothing.
            await self._storage.remove(name)
            file = await self._storage.create(name)
        try:
            await file.append(catalogue.encode())
            await file.sync()
        finally:
            await file.close()


def catalogue_name(number: int) -> str:
    """The file name of a catalogue."""
    return f"catalogue-{number:06}"


def catalogue_numbers(names: Sequence[str]) -> list[int]:
    """Those of the catalogues in a listing."""
    return [int(match[1]) for name in names if (match := _NAME.match(name))]


def is_leftover(name: str, current: int) -> bool:
    """Whether a file is a catalogue before the current one, or one that was not finished."""
    match = _NAME.match(name)
    return int(match[1]) < current if match else _STAGED.match(name) is not None


def tablet_name(table: str, number: int) -> str:
    """The name of a tablet and of its folder. Raises InvalidRequest for the name of a table that no folder should have.

    >>> tablet_name("users", 3)
    'users-000003'
    """
    if not _TABLE.match(table) or table == _OWN_NAME:
        raise InvalidRequest(
            f"{table[:80]!r} cannot be a table's name; use up to 64 letters, digits, '_', '-', '.'; "
            f"{_OWN_NAME!r} is taken"
        )
    return f"{table}-{number:06}"


def tablet_number(name: str) -> int:
    """The number in a tablet's name; 0 for a name that is no tablet's.

    >>> tablet_number("users-000003"), tablet_number("log"), tablet_number("catalogue-000007")
    (3, 0, 0)
    """
    match = _FOLDER.match(name)
    return int(match[2]) if match and match[1] != _OWN_NAME else 0


async def load_catalogue(storage: Storage) -> Catalogue | None:
    """The newest catalogue of a folder; None if there is none. Raises Corrupted, IncompatibleFormat, DiskFailure."""
    numbers = catalogue_numbers(await storage.list())
    if not numbers:
        return None
    name = catalogue_name(max(numbers))
    found = await read_catalogue(storage, name)
    if found.number != max(numbers):
        raise Corrupted(f"{name} says that it is number {found.number}: give it its name back")
    return found


async def read_catalogue(storage: Storage, name: str) -> Catalogue:
    """One catalogue. Raises NotFound, Corrupted, IncompatibleFormat, DiskFailure."""
    message = await _FILE.read(storage, name)
    found = Catalogue(
        number=message.number,
        token=message.token,
        next_tablet=message.next_tablet,
        tablets=tuple(
            TabletEntry(entry.name, entry.table, entry.start_row, entry.end_row) for entry in message.tablets
        ),
    )
    try:
        found.refuse_overlap()
    except InvalidRequest as error:
        raise Corrupted(f"{name} does not hold a catalogue ({error}); restore it from a copy") from error
    return found
