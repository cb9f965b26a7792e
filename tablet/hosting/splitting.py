"""Splitting a tablet of a server (BT 5.2, 5.3, 6).

    1. everything that was written is put into SSTables, and writes are refused (`Engine.at_rest`); reads continue
    2. the two new tablets get folders and manifests, which refer to the SSTables; nobody names these folders yet
    3. the METADATA row of the old one is replaced, by a compare-and-set, with that of the upper half, which names the
       lower half too: this is the split
    4. the new ones are served in the place of the old one
    5. the lower half gets a METADATA row of its own, and is taken out of the other one; if we die before that, the
       tablet master does it

If it is not known whether step 3 took effect, the row is read until somebody answers: only then it is known which
tablets are alive. Meanwhile the old one is read and not written.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from runtime.errors import Conflict, InvalidRequest, TabletopError
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.metadata import MetadataRows
from tablet.engine.engine import Engine
from tablet.engine.model.spans import Spans
from tablet.engine.tree.manifest import TableReference, load_snapshot, write_manifest
from tablet.engine.world.names import manifest_name, snapshot_file_name
from tablet.hosting.events import TabletLoaded, TabletSplitCommitted
from tablet.hosting.life import Life
from tablet.location.places import ROOT_TABLET, alone, changed
from tablet.server import reshaping
from tablet.server.catalogue import tablet_name
from tablet.server.reshaping import Content

ASK_SECONDS = 0.5


Halves = tuple[TabletPlace, TabletPlace]
"""The lower one, and the upper one."""
Numbers = Callable[[int], Awaitable[int]]
"""The first of so many numbers that no tablet has had."""


async def split(life: Life, rows: MetadataRows, numbers: Numbers, tablet: str, row: bytes = b"") -> Halves:
    """Make two tablets of one, without rewriting a byte of its SSTables; `row`: the first of the upper one, without it
    one that halves the bytes. Raises NotServed, InvalidRequest, NoSpace, DiskFailure, Conflict."""
    return await life.reshape(tablet, lambda: _split(life, rows, numbers, tablet, row))


async def _split(life: Life, rows: MetadataRows, numbers: Numbers, tablet: str, row: bytes) -> Halves:
    if tablet == ROOT_TABLET:
        raise InvalidRequest("the root tablet is never split (BT 5.1)")
    async with life.turn(tablet):
        engine, before = life.engine(tablet), life.places[tablet]
        if row and not (before.start_row < row and (not before.end_row or row < before.end_row)):
            raise InvalidRequest(f"row {row[:80]!r} does not part the rows of tablet {tablet}; choose one within")
        first = await numbers(2)
        names = [tablet_name(before.table, first + place) for place in range(2)]
        try:
            # The master may order the halves loaded as soon as METADATA names them; each is opened once.
            async with life.turn(names[0]), life.turn(names[1]):
                async with engine.at_rest():
                    at = row or reshaping.middle_row(engine.state.view.all_tables(), before.start_row, before.end_row)
                    if not at:
                        raise InvalidRequest(f"tablet {tablet} holds no row to split at; give one")
                    content = await content_of(engine)
                    share = partial(_share, engine)
                    lower = changed(before, tablet=names[0], end_row=at)
                    upper = changed(before, tablet=names[1], start_row=at)
                    for place in (lower, upper):
                        life.preparing[place.tablet] = None
                        part = content.part(place.tablet, place.start_row, place.end_row, share)
                        await prepare(life, place.tablet, part)
                    upper.lower_half.CopyFrom(lower)
                    if not await _committed(life, rows, before, upper):
                        raise Conflict(f"the METADATA row of tablet {tablet} has changed; it is not split")
                await exchange(life, [before], [lower, upper])
        except BaseException:
            if life.engines.get(tablet) is engine:
                engine.stay()
            raise
        finally:
            for name in names:
                life.preparing.pop(name, None)
    shown = at.decode("utf-8", "backslashreplace")
    life.world.events.emit(TabletSplitCommitted(tablet, shown, lower.tablet, upper.tablet))
    with suppress(TabletopError):  # The master does what is left.
        await rows.settle(upper)
    return lower, alone(upper)


async def _committed(life: Life, rows: MetadataRows, before: TabletPlace, after: TabletPlace) -> bool:
    """Whether the row is `after` from now on. A try that is in doubt may take effect later, as long as the row is
    `before`: until it is something else, nobody knows which tablets are alive. A session in jeopardy ends nothing
    either: it may be safe again, and the tablet would be served on beside its halves. The end of the life does."""
    is_in_doubt = False
    while True:
        try:
            if await rows.replace(before, after):
                return True
            if not is_in_doubt:
                now = await rows.read(after)
                if now is None or now == before or not is_ours(now, before):
                    return False
                before = now  # The master has taken out of the row the logs that the tablet needs no more.
                continue
        except TabletopError as error:
            if error.definite and not is_in_doubt:
                raise
            is_in_doubt = True
        with suppress(TabletopError):
            found = await rows.read(after)
            if found is not None and found.tablet == after.tablet:
                return True
            if found != before:
                return False
        await life.world.clock.sleep(ASK_SECONDS)


def is_ours(row: TabletPlace, place: TabletPlace) -> bool:
    """Whether the row says of the tablet what this server knows, and of no other tablet; its logs may be others."""
    is_same = (row.tablet, row.server, row.token) == (place.tablet, place.server, place.token)
    return is_same and not row.HasField("lower_half")


async def exchange(life: Life, gone: Sequence[TabletPlace], come: Sequence[TabletPlace]) -> None:
    """Serve other tablets in the place of some, whose rows they have, when METADATA says so."""
    for place in gone:
        engine = life.engines.pop(place.tablet)
        del life.places[place.tablet]
        life.spend(place)
        with suppress(TabletopError):  # Nothing is left in its memory that anybody needs.
            await engine.close()
        life.forget_in_log(place.tablet)
    for place in map(alone, come):
        with suppress(TabletopError):  # The master has it loaded, here or elsewhere.
            life.take(place, await life.opened(place))
            life.world.events.emit(TabletLoaded(place.tablet, place.token, 0))


async def prepare(life: Life, name: str, content: Content) -> None:
    """Make the folder of a new tablet."""
    await life.data.make(name)
    storage = life.data.storage(name)
    for snapshot, held in content.snapshots.items():
        await write_manifest(storage, held, snapshot_file_name(snapshot))
    await write_manifest(storage, content.manifest, manifest_name(1))


async def content_of(engine: Engine) -> Content:
    """The tablet and its snapshots."""
    storage = engine.state.storage
    held = {name: await load_snapshot(storage, name) for name in await engine.snapshots()}
    return Content(engine.state.manifest, held)


def _share(engine: Engine, reference: TableReference, spans: Spans) -> int:
    """About how many bytes of one of the tablet's files some rows are."""
    table = next((table for table in engine.state.view.all_tables() if table.name == reference.name), None)
    return table.share_of(spans) if table is not None else reference.charged_bytes
