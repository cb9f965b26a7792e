"""A recovery, step by step, without changing anything: what opening this tablet would do (BT 5.3).

The steps are those of `opening.py`, with its own parts: the manifest, the SSTables' indexes, and `Replay`, which reads
the logs since the redo point. What an opening, or the first write after it, would *write* or *remove* is only said.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from runtime.errors import NotFound, TabletopError
from tablet.commit_log import Replay, log_reader
from tablet.dumping import readable
from tablet.inspection import counted, held, load_folder, open_table
from tablet.manifest import FolderListing, Manifest, manifest_name, refuse_missing_logs, table_missing
from tablet.memtable import Memtable
from tablet.storage import Storage


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a recovery. `number` counts from 1; a 0 marks a part of the step before, which may be about one
    `record` of a log."""

    number: int
    what: str
    record: int | None = None


async def rehearse(storage: Storage, *, records: bool = False) -> AsyncIterator[Step]:
    """The steps of opening the tablet; with `records`, each record too. Memory: that of the memtable it leads to.

    Raises what the opening would raise: NotFound, IncompatibleFormat, Corrupted, DiskFailure; and Conflict if a running
    engine changes the files faster than they are opened. Beside a running engine: what an opening would have done then.
    """
    async with held(storage) as files:
        async for step in _steps(files, records):
            yield step


async def _steps(storage: Storage, records: bool) -> AsyncIterator[Step]:
    manifest, listing = await load_folder(storage)
    yield Step(1, _manifest_text(manifest, listing))
    refuse_missing_logs(manifest, listing)
    references = manifest.references()
    rows = 0
    for reference in references:
        try:
            table = await open_table(storage, reference)
        except NotFound as error:
            raise table_missing(manifest, error) from error
        rows += table.properties.rows
        await table.close()
    held = f"{counted(len(references), 'SSTable')} with {counted(rows, 'row')}"
    yield Step(2, f"open {held}: footer, index, filters and properties of each")
    begins = await _log_begins(storage, manifest, listing)
    needed = ", ".join(listing.logs[number] for number in begins) or "none"
    yield Step(3, f"replay the logs from number {manifest.log_number} on: {needed}")
    replay = Replay(storage, listing.logs, manifest.log_number, manifest.flushed_sequence, manifest.tablet)
    memtable = Memtable(manifest.log_number)
    counts = dict.fromkeys(begins, 0)
    async for sequence, fragments in replay:
        counts[_log_of(sequence, begins)] += 1
        for row, fragment in fragments:
            memtable.apply(row, fragment, sequence)
        if records:
            text = ", ".join(readable(row) for row, _ in fragments[:3]) + (" …" if len(fragments) > 3 else "")
            yield Step(0, f"apply to {text}", sequence)
    left_out = [listing.logs[number] for number in replay.left_out]
    for number, count in counts.items():
        if number not in replay.left_out:
            yield Step(
                0, f"{listing.logs[number]}: {counted(count, 'record')} newer than the SSTables, for the memtable"
            )
    for event in replay.dropped:
        yield Step(0, f"drop {event.dropped_bytes:,} bytes at the end of {event.log}: {event.reason}")
    if left_out:
        yield Step(0, f"leave out {', '.join(left_out)}: what lay before was lost with an unsynced tail")
    yield Step(4, f"the memtable has {counted(len(memtable), 'row')}, about {memtable.charged_bytes:,} bytes in memory")
    yield Step(5, _next_text(replay, manifest, listing))
    yield Step(6, _sweep_text(manifest, listing))


async def _log_begins(storage: Storage, manifest: Manifest, listing: FolderListing) -> dict[int, int]:
    """The first sequence of each log that is replayed; of an empty one, 0."""
    begins: dict[int, int] = {}
    for number in sorted(listing.logs):
        if number < manifest.log_number:
            continue
        file = await storage.open(listing.logs[number])
        begins[number] = 0
        try:
            async for record in log_reader(file, listing.logs[number]):
                begins[number] = record.sequence
                break
        except TabletopError:
            pass  # The replay meets the same damage, and judges it with what stands before.
        finally:
            await file.close()
    return begins


def _log_of(sequence: int, begins: Mapping[int, int]) -> int:
    """The log that holds this record: the last one that begins before it."""
    return max(number for number, begin in begins.items() if begin < sequence)


def _manifest_text(manifest: Manifest, listing: FolderListing) -> str:
    older = [name for number, name in sorted(listing.manifests.items()) if number < manifest.number]
    beside = f" (not {', '.join(older)})" if older else ""
    tables = counted(len(manifest.references()), "SSTable")
    return (
        f"read {manifest_name(manifest.number)}, the highest number{beside}: {tables}, "
        f"flushed up to record {manifest.flushed_sequence:,}, the redo point is log {manifest.log_number}"
    )


def _next_text(replay: Replay, manifest: Manifest, listing: FolderListing) -> str:
    number = max([*listing.logs, *listing.tables, manifest.next_file_number - 1]) + 1
    begins = f"begin the log {number:06}.log with record {replay.last_sequence + 1:,}"
    if replay.left_out:
        return f"would {begins}, and flush the memtable at once, so that what was left out cannot come back"
    return f"the tablet serves; the first write would {begins}"


def _sweep_text(manifest: Manifest, listing: FolderListing) -> str:
    referred = {reference.name for reference in manifest.references()}
    doomed = [name for number, name in sorted(listing.manifests.items()) if number < manifest.number]
    if not listing.snapshots:
        doomed += [name for _, name in sorted(listing.tables.items()) if name not in referred]
    doomed += [name for number, name in sorted(listing.logs.items()) if number < manifest.log_number]
    doomed += listing.temporary
    number = len(listing.snapshots)
    held = f"; kept also what {counted(number, 'snapshot')} {'refers' if number == 1 else 'refer'} to" if number else ""
    return (f"would sweep {', '.join(doomed)}" if doomed else "nothing to sweep") + held
