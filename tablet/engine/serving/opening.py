"""Opening a tablet: the manifest, the SSTables' indexes, and the log since the redo point (BT 5.3).

What is only opened and read is not written to: the log that takes new writes is begun by the first of them
(`writing.py`). So a tablet can be read on a full disk, and a thousand openings leave nothing behind. One exception: if
the disk takes the end of the log no more, the rows there are flushed (`Engine.open`), before anybody sees them.
"""

from contextlib import suppress
from dataclasses import replace

from runtime.errors import AlreadyExists, Conflict, NotFound, Superseded
from tablet.engine.log.log_mark import marked_sequence, refuse_short_log
from tablet.engine.log.replay import Replay
from tablet.engine.log.server_log import ServerLog
from tablet.engine.tree.budget import Budget
from tablet.engine.tree.manifest import (
    Manifest,
    load_current,
    refuse_missing_logs,
    stage_manifest,
    table_missing,
    write_manifest,
)
from tablet.engine.tree.state import HeldElsewhere, TabletState, needed_after
from tablet.engine.world.events import LogEndNotWritten, LogLeftOut, TabletFound, TabletOpened
from tablet.engine.world.names import FolderListing, manifest_name, sorted_out, staged_name
from tablet.engine.world.options import EngineWorld, Options
from tablet.engine.world.storage import Storage

_ATTEMPTS = 20
_NUMBERS_APART = 1000
"""An owner leaves so many file numbers to the earlier one, who may still begin files before he learns of it. If they
meet all the same, the creation of a file fails, and is tried again under the next number."""


async def open_state(
    storage: Storage,
    world: EngineWorld,
    options: Options,
    *,
    tablet: str,
    inline: bool = False,
    log: ServerLog | None = None,
    token: int = 0,
    held_elsewhere: HeldElsewhere | None = None,
    budget: Budget | None = None,
) -> TabletState:
    """The state of the tablet in a folder. Nothing on the disk is changed before everything was found readable, but for
    the claim of an owner with a token, which comes first: what he reads afterwards is not changed by another one."""
    started = world.clock.now()
    manifest, listing = await _manifest(storage, options, tablet, own_log=log is None)
    _refuse_other_log(manifest, log)
    if token:
        manifest, listing = await _claim(storage, token)
    state = TabletState(
        storage,
        world,
        options,
        manifest,
        inline=inline,
        log=log,
        is_fenced=token > 0,
        held_elsewhere=held_elsewhere,
        budget=budget,
    )
    try:
        refuse_missing_logs(manifest, listing)
        name, tables = manifest_name(manifest.number), len(manifest.references())
        world.events.emit(TabletFound(manifest.tablet, name, tables, manifest.flushed_sequence))
        state.reserve_file_numbers([*listing.logs, *listing.tables, manifest.next_file_number - 1])
        try:
            await state.open_tables()
        except NotFound as error:
            raise table_missing(manifest, error) from error
        if log is None:
            logs = {number: listing.logs[number] for number in manifest.log_numbers}
            redo_point = manifest.flushed_sequence
            start = state.log.start_sequence
            replay = Replay(storage, logs, start, redo_point, manifest.tablet, writes_again=True)
        else:
            replay = log.read(manifest.tablet, manifest.flushed_sequence)
        async for sequence, rows in replay:
            for row, fragment in rows:
                state.memtable.apply(row, fragment, sequence)
        if log is None:
            last_sequence = max(replay.last_sequence, manifest.flushed_sequence)
            refuse_short_log(await marked_sequence(storage), last_sequence, replay.last_name)
        left_out = [LogLeftOut(listing.logs[number]) for number in replay.left_out]
        for event in (*replay.replayed, *replay.dropped, *left_out):
            world.events.emit(event)
        if log is None:
            state.log.recovered(replay.last_sequence, replay.durable_sequence)
            if replay.not_written_again is not None:
                state.must_flush = True
                reason = replay.not_written_again.message
                world.events.emit(LogEndNotWritten(replay.last_name, reason))
        else:
            log.check_read(replay)
            log.attach(
                manifest.tablet, lambda: needed_after(state.view.memtables), superseded=state.stop_for_another_owner
            )
        state.log.pass_over(manifest.flushed_sequence)
        state.last_timestamp = max(state.last_timestamp, replay.last_timestamp)
        await state.sweep()
    except BaseException:
        await state.close()
        raise
    world.events.emit(TabletOpened(manifest.tablet, tables, replay.records, world.clock.now() - started))
    return state


async def _manifest(
    storage: Storage, options: Options, tablet: str, *, own_log: bool
) -> tuple[Manifest, FolderListing]:
    manifest, names = await _current(storage)
    if manifest is None:
        if not options.create:
            raise NotFound("the folder holds no tablet, and Options.create is off")
        manifest = replace(Manifest(), number=1, tablet=tablet, logs=() if own_log else None)
        for name in sorted_out(names).temporary:
            await storage.remove(name)
        await write_manifest(storage, manifest, manifest_name(1))
        names = await storage.list()
    elif tablet and manifest.tablet != tablet:
        raise Conflict(f"the folder holds tablet {manifest.tablet!r}, not {tablet!r}")
    return manifest, sorted_out(names)


async def _current(storage: Storage) -> tuple[Manifest | None, list[str]]:
    """The newest manifest, and the names in the folder. An earlier owner who is still at work may put another one in
    its place between the two."""
    for _ in range(_ATTEMPTS):
        names = await storage.list()
        with suppress(NotFound):
            return await load_current(storage, names), names
    raise _too_fast("read")


def _too_fast(verb: str) -> Conflict:
    return Conflict(f"another owner changes this tablet faster than it can be {verb}; try again")


async def _claim(storage: Storage, token: int) -> tuple[Manifest, FolderListing]:
    """Take the next manifest's number for the owner with this token: an earlier one, who may still be at work, finds it
    taken and stops. Raises Superseded if there was a later one."""
    for _ in range(_ATTEMPTS):
        manifest, _ = await _current(storage)
        assert manifest is not None, "there was one a moment ago, and nobody removes the last"
        if token < manifest.token:
            raise Superseded(
                f"tablet {manifest.tablet!r} has an owner with the token {manifest.token}, and yours is {token}: "
                f"ask who serves it"
            )
        apart = manifest.next_file_number + _NUMBERS_APART
        manifest = replace(manifest, number=manifest.number + 1, token=token, next_file_number=apart)
        staged = staged_name(manifest.number, token)
        await stage_manifest(storage, manifest, staged)
        try:
            await storage.rename(staged, manifest_name(manifest.number))
        except (AlreadyExists, NotFound):  # The earlier owner was quicker, or has swept: look again.
            continue
        return manifest, sorted_out(await storage.list())
    raise _too_fast("claimed")


def _refuse_other_log(manifest: Manifest, log: ServerLog | None) -> None:
    """Raise Conflict if the rows that are not in SSTables are in another log than this."""
    if log is None and manifest.logs is None:
        raise Conflict(f"the log of tablet {manifest.tablet!r} is a server's; open it with that log")
    if log is not None and manifest.logs:
        raise Conflict(f"tablet {manifest.tablet!r} has a log of its own; open it without another, or clone it")
