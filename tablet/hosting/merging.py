"""Merging two tablets of a server that are neighbours (BT 5.2, 6).

    1. everything that was written to them is put into SSTables, and writes are refused; reads continue
    2. the new tablet gets a folder and a manifest, which refers to the SSTables of both; nobody names this folder yet
    3. the METADATA row of the upper one names the lower one, too, and what they are to become; then the row of the
       lower one is removed: both are in one row now, as after a split
    4. that row is replaced by the one of the new tablet: this is the merge
    5. the new one is served in the place of the two

If we die before step 4, the tablet master gives up the merge: each of the two gets its row. It changes both rows by
that, so that none of our changes takes effect any more, however late it arrives. As long as we live, it leaves the row
alone: each change is tried until it is known whether it took effect.
"""

from contextlib import AsyncExitStack, suppress
from dataclasses import replace

from runtime.errors import Conflict, InvalidRequest, TabletopError
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.metadata import MetadataRows
from tablet.hosting.events import TabletMergeCommitted, TabletMergeGivenUp
from tablet.hosting.life import Life
from tablet.hosting.splitting import ASK_SECONDS, Numbers, content_of, exchange, is_ours, prepare
from tablet.location.places import ROOT_TABLET, changed
from tablet.server import reshaping
from tablet.server.catalogue import tablet_name


async def merge(life: Life, rows: MetadataRows, numbers: Numbers, lower: str, upper: str) -> TabletPlace:
    """Make one tablet of two neighbours, without rewriting a byte of their SSTables. Raises NotServed, InvalidRequest,
    NoSpace, DiskFailure, Conflict."""
    if ROOT_TABLET in (lower, upper):
        raise InvalidRequest("the root tablet is never merged (BT 5.1)")
    if lower == upper:
        raise InvalidRequest(f"{lower} is one tablet; name two neighbours")
    return await life.reshape(f"{lower} {upper}", lambda: _merge(life, rows, numbers, lower, upper))


async def _merge(life: Life, rows: MetadataRows, numbers: Numbers, lower: str, upper: str) -> TabletPlace:
    async with life.turn(lower), life.turn(upper):
        engines = [life.engine(tablet) for tablet in (lower, upper)]
        below, above = [await _own_row(life, rows, tablet) for tablet in (lower, upper)]
        if below.table != above.table:
            raise InvalidRequest(f"the tablets {lower} and {upper} are of different tables")
        name = tablet_name(below.table, await numbers(1))
        reshaping.merged(engines[0].state.manifest, engines[1].state.manifest, name)  # Refused before writes are.
        token = max(below.token, above.token)
        made = changed(above, tablet=name, start_row=below.start_row, token=token, merges_given_up=0)
        life.preparing[name] = None
        try:
            async with life.turn(name):
                async with AsyncExitStack() as stack:
                    for engine in engines:
                        await stack.enter_async_context(engine.at_rest())
                    whole = (await content_of(engines[0])).merged_with(await content_of(engines[1]), name)
                    await prepare(life, name, replace(whole, manifest=replace(whole.manifest, token=token)))
                    await _commit(life, rows, below, above, made)
                await exchange(life, [below, above], [made])
        except BaseException:
            for tablet, engine in zip((lower, upper), engines, strict=True):
                if life.engines.get(tablet) is engine:
                    engine.stay()
            raise
        finally:
            life.preparing.pop(name, None)
    life.world.events.emit(TabletMergeCommitted(lower, upper, name))
    return made


async def _own_row(life: Life, rows: MetadataRows, tablet: str) -> TabletPlace:
    """The METADATA row of a tablet that is served here. Raises Conflict if it tells of anything else than that."""
    place = life.places[tablet]
    row = await rows.read(place)
    if row is None or not is_ours(row, place) or list(row.logs) != [life.name]:
        raise Conflict(f"tablet {tablet} was assigned or split a moment ago; try again", definite=True)
    return row


async def _commit(life: Life, rows: MetadataRows, below: TabletPlace, above: TabletPlace, made: TabletPlace) -> None:
    both = changed(above, merging=made.tablet)
    both.lower_half.CopyFrom(below)
    if not await _is_changed(life, rows, above, both, is_first=True):
        raise Conflict(f"the METADATA row of tablet {above.tablet} has changed; it is not merged", definite=True)
    if await _is_changed(life, rows, below, None) and await _is_changed(life, rows, both, made):
        return
    life.world.events.emit(TabletMergeGivenUp(below.tablet, above.tablet))
    while True:  # As long as we live, nobody else does it.
        with suppress(TabletopError):
            await rows.settle(both)
            break
        await life.world.clock.sleep(ASK_SECONDS)
    raise Conflict(
        f"the METADATA row of {below.tablet} or {above.tablet} has changed; they are not merged", definite=True
    )


async def _is_changed(
    life: Life, rows: MetadataRows, before: TabletPlace, after: TabletPlace | None, *, is_first: bool = False
) -> bool:
    """Whether the row is `after` now. It was never so before, and is not `before` again once it is something else: so
    it may be tried until there is an answer. `is_first`: a definite error is one, for nothing has happened yet."""
    is_in_doubt = False
    while True:
        try:
            return await rows.replace(before, after)
        except TabletopError as error:
            if is_first and error.definite and not is_in_doubt:
                raise
            is_in_doubt = is_in_doubt or not error.definite
        await life.world.clock.sleep(ASK_SECONDS)
