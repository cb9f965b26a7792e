"""The manifest: which files make up the tablet, at each moment exactly one truth.

The problem. A flush adds an SSTable and makes a log needless; a compaction puts one SSTable in the place of several. A
crash in the middle must leave the state before or the state after. In the paper the METADATA table holds this state
(BT 5.3: the SSTables and the redo points); a tablet that stands alone needs a file of its own.

The idea. The state is small, so each change writes all of it, one message in one log frame (length, CRC32C), to a file
`manifest-000007.new`, synced, then renamed to `manifest-000007`. The highest number is the truth. Nothing is ever
overwritten, so storage needs no atomic replacement, and an older manifest is removed only after the newer one is there.

An SSTable is referred to, not owned: a reference says where the file is, perhaps in the folder of another tablet, and
which rows of it count (`spans`). So a split, a merge and the deletion of a range of rows change references, and no file
(BT 6).

Invariants: (1) a manifest names only files that were synced and renamed before it was; (2) a file that the newest
manifest, a snapshot, or an open reader names is never removed (mark and sweep); (3) a manifest under its final name is
whole: one that is not is damage, never a torn write; (4) of two references of a group that speak of the same rows, the
one that comes first has the newer sequences. Sequences up to that of a merge are those of two tablets and cannot be
compared; where a row is in both, the order alone counts.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from runtime.errors import AlreadyExists, Corrupted, IncompatibleFormat, InvalidRequest, NotFound, TabletopError
from runtime.wire import tablet_pb2
from tablet.engine.log.records import Segment
from tablet.engine.model.schema import Schema
from tablet.engine.model.schema_message import schema_from_message, schema_to_message
from tablet.engine.model.spans import EVERYWHERE, Spans, overlap, refuse_disorder, within
from tablet.engine.sstable.properties import TableProperties
from tablet.engine.world.names import (
    TEMPORARY,
    FolderListing,
    is_neighbour,
    log_name,
    manifest_name,
    snapshot_file_name,
    sorted_out,
)
from tablet.engine.world.small_files import FileKind
from tablet.engine.world.storage import Storage

FILE = FileKind("tabletop tablet", 4, tablet_pb2.Manifest)


@dataclass(frozen=True, slots=True)
class TableReference:
    """One SSTable, as the tablet sees it. `name` says where the file is: `000003.sst` in the tablet's own folder, or
    `../NAME/000003.sst` in that of another tablet, with which it is shared. `number` is the file's id, unique within
    the tablet. `written_at` is when it was made, in microseconds. `spans`: only these rows of it count. `share_bytes`:
    about how many of its bytes these are; 0: all."""

    name: str
    number: int
    file_bytes: int
    properties: TableProperties
    written_at: int = 0
    spans: Spans = EVERYWHERE
    share_bytes: int = 0

    @property
    def charged_bytes(self) -> int:
        """What the file counts for when sizes are compared."""
        return self.share_bytes or self.file_bytes

    @property
    def shown(self) -> Spans:
        """The spans between the file's first and its last row."""
        return within(self.spans, self.properties.first_row, self.properties.last_row + b"\0")

    def is_older_than(self, newer: "TableReference", merged_sequence: int = 0) -> bool:
        """Whether `newer` may come before it: all its sequences are higher, or the two have no row in common, or both
        hold what is older than a merge of tablets (`Manifest.merged_sequence`)."""
        older_last, newer_first = self.properties.last_sequence, newer.properties.first_sequence
        if older_last < newer_first or max(older_last, newer_first) <= merged_sequence:
            return True
        return not overlap(self.shown, newer.shown)

    def to_message(self) -> tablet_pb2.TableReference:
        """For the manifest."""
        message = tablet_pb2.TableReference(
            name=self.name,
            number=self.number,
            file_bytes=self.file_bytes,
            written_at=self.written_at,
            properties=self.properties.to_message(),
            share_bytes=self.share_bytes,
        )
        if self.spans != EVERYWHERE:
            spans = [tablet_pb2.RowSpan(start_row=start, end_row=end) for start, end in self.spans]
            message.spans.CopyFrom(tablet_pb2.RowSpans(spans=spans))
        return message


@dataclass(frozen=True, slots=True)
class Manifest:
    """The tablet's persistent state. `tables` are by locality group, the newest first. All log records up to
    `flushed_sequence`, the redo point, are in SSTables. `logs` are the segments of the tablet's own log that are still
    needed; None in a snapshot, and if the log is a server's. `last_timestamp`: the
    tablet has given its cells none above it, but for those that the logs tell of. `start_row` <= row < `end_row`
    (empty: no bound) is the tablet's row range. `token`: that of the owner who wrote it; 0: only the lock of the folder
    keeps others out. `merged_sequence`: sequences up to this one are those of several tablets, which were merged into
    this one, and cannot be compared."""

    number: int = 0
    tablet: str = ""
    schema: Schema = field(default_factory=Schema)
    tables: Mapping[str, tuple[TableReference, ...]] = field(default_factory=dict)
    logs: tuple[Segment, ...] | None = None
    flushed_sequence: int = 0
    next_file_number: int = 1
    last_timestamp: int = 0
    start_row: bytes = b""
    end_row: bytes = b""
    token: int = 0
    merged_sequence: int = 0

    def references(self) -> list[TableReference]:
        """All SSTables of all groups."""
        return [reference for group in self.tables.values() for reference in group]

    @property
    def log_numbers(self) -> tuple[int, ...]:
        """Those of the segments that are still needed."""
        return tuple(segment.number for segment in self.logs or ())

    def check_holds(self, row: bytes) -> None:
        """Raise InvalidRequest for a row of another tablet."""
        if row < self.start_row or (self.end_row and row >= self.end_row):
            raise InvalidRequest(
                f"row {row[:80]!r} is not in this tablet, which holds {self.start_row!r} <= row < {self.end_row!r}; "
                f"ask the METADATA table who has it"
            )

    def to_message(self) -> tablet_pb2.Manifest:
        """What the file says."""
        message = tablet_pb2.Manifest(
            number=self.number,
            tablet=self.tablet,
            start_row=self.start_row,
            end_row=self.end_row,
            token=self.token,
            merged_sequence=self.merged_sequence,
            flushed_sequence=self.flushed_sequence,
            next_file_number=self.next_file_number,
            last_timestamp=self.last_timestamp,
            schema=schema_to_message(self.schema),
            tables=[
                tablet_pb2.GroupTables(group=group, tables=[reference.to_message() for reference in references])
                for group, references in self.tables.items()
            ],
        )
        if self.logs is not None:
            segments = [
                tablet_pb2.LogSegment(number=log.number, first_sequence=log.first_sequence) for log in self.logs
            ]
            message.log.CopyFrom(tablet_pb2.OwnLog(segments=segments))
        return message

    def encode(self) -> bytes:
        """The file's bytes."""
        return FILE.framed(self.to_message(), sequence=max(1, self.number))


async def write_manifest(storage: Storage, manifest: Manifest, name: str) -> None:
    """Write, sync, and rename into place: afterwards the state is as `manifest` says, before as it was."""
    await stage_manifest(storage, manifest, name + TEMPORARY)
    await storage.rename(name + TEMPORARY, name)


async def stage_manifest(storage: Storage, manifest: Manifest, name: str) -> None:
    """The first half: everything but the renaming. If this fails, the state certainly is as it was. `name`: a temporary
    one, which no other owner uses."""
    try:
        file = await storage.create(name)
    except AlreadyExists:  # An earlier attempt came to nothing.
        await storage.remove(name)
        file = await storage.create(name)
    try:
        try:
            await file.append(manifest.encode())
            await file.sync()
        finally:
            await file.close()
    except TabletopError:
        with suppress(TabletopError):
            await storage.remove(name)
        raise


async def load_current(storage: Storage, names: Sequence[str]) -> Manifest | None:
    """The newest manifest of a folder, or None for a folder without files.

    Raises IncompatibleFormat if the folder belongs to something else or to a future version, Corrupted if the manifest
    is damaged, gone, or under another manifest's name.
    """
    listing = sorted_out(names)
    if listing.manifests:
        number = max(listing.manifests)
        manifest = await load_manifest(storage, listing.manifests[number])
        if manifest.number != number:
            raise Corrupted(
                f"{listing.manifests[number]} says that it is number {manifest.number}: somebody renamed or copied it; "
                f"give it its name {manifest_name(manifest.number)} back, or remove it if there is such a file"
            )
        return manifest
    if listing.tables or listing.logs:
        raise Corrupted(
            f"the folder has {len(listing.tables)} SSTables and {len(listing.logs)} logs, but no manifest that says "
            f"which of them count; restore the manifest from a copy"
        )
    if listing.others:
        raise IncompatibleFormat(
            f"the folder is not a tablet: it holds {listing.others[0]!r} and no manifest; choose a tablet's folder, "
            f"or an empty one for a new tablet"
        )
    return None


def table_missing(manifest: Manifest, error: NotFound) -> Corrupted:
    """What `error` means of a file that the manifest names: not that there is no tablet, but that it is damaged."""
    return Corrupted(
        f"a file that {manifest_name(manifest.number)} names is missing: {error.message}; restore it from a copy"
    )


def refuse_missing_logs(manifest: Manifest, listing: FolderListing) -> None:
    """Raise Corrupted if a log is gone that there was when the manifest was written: whoever removes one that is not
    needed any more has made a newer manifest durable before."""
    missing = [log_name(number) for number in manifest.log_numbers if number not in listing.logs]
    if missing:
        there = ", ".join(name for _, name in sorted(listing.logs.items())) or "none"
        raise Corrupted(
            f"{manifest_name(manifest.number)} names the log {', '.join(missing)}, which is missing (found: {there}); "
            f"the writes in it are lost: restore it from a copy, or, to do without them, put an empty file there"
        )


async def load_manifest(storage: Storage, name: str) -> Manifest:
    """Read one manifest or snapshot. Raises NotFound, IncompatibleFormat, Corrupted, DiskFailure."""
    message = await FILE.read(storage, name)
    try:
        return _from_message(message)
    except IncompatibleFormat as error:
        raise IncompatibleFormat(f"{name}: {error.message}") from error
    except (ValueError, InvalidRequest) as error:
        raise Corrupted(f"{name} does not hold a manifest ({error}); restore it from a copy") from error


def _from_message(message: tablet_pb2.Manifest) -> Manifest:
    logs = None
    if message.HasField("log"):
        logs = tuple(Segment(segment.number, segment.first_sequence) for segment in message.log.segments)
    return Manifest(
        number=message.number,
        tablet=message.tablet,
        schema=schema_from_message(message.schema),
        tables={group.group: tuple(map(_reference, group.tables)) for group in message.tables},
        logs=logs,
        flushed_sequence=message.flushed_sequence,
        next_file_number=message.next_file_number,
        last_timestamp=message.last_timestamp,
        start_row=message.start_row,
        end_row=message.end_row,
        token=message.token,
        merged_sequence=message.merged_sequence,
    )


def _reference(message: tablet_pb2.TableReference) -> TableReference:
    name, number = message.name, message.number
    where, _, file_name = name.rpartition("/")
    if not sorted_out([file_name]).tables or (where and not is_neighbour(name)):
        raise ValueError(f"{name!r} is not the name of an SSTable")
    if not where and sorted_out([name]).tables.get(number) != name:
        raise ValueError(f"{name!r} is not the name of SSTable {number}")
    spans = EVERYWHERE
    if message.HasField("spans"):
        spans = refuse_disorder((span.start_row, span.end_row) for span in message.spans.spans)
    return TableReference(
        name,
        number,
        message.file_bytes,
        TableProperties.from_message(message.properties),
        message.written_at,
        spans,
        message.share_bytes,
    )


async def load_snapshot(storage: Storage, name: str) -> Manifest:
    """Read a snapshot by its name. Raises NotFound with the names there are."""
    try:
        return await load_manifest(storage, snapshot_file_name(name))
    except NotFound as error:
        known = ", ".join(sorted_out(await storage.list()).snapshots) or "none"
        raise NotFound(f"there is no snapshot {name!r}; there are: {known}") from error
