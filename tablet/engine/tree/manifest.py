"""The manifest: which files make up the tablet, at each moment exactly one truth.

The problem. A flush adds an SSTable and makes a log needless; a compaction puts one SSTable in the place of several. A
crash in the middle must leave the state before or the state after. In the paper the METADATA table holds this state
(BT 5.3: the SSTables and the redo points); a tablet that stands alone needs a file of its own.

The idea. The state is small, so each change writes all of it: as JSON in one log frame (length, CRC32C) to a file
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

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import AlreadyExists, Corrupted, IncompatibleFormat, InvalidRequest, NotFound, TabletopError
from runtime.record_log import LogReader, encode_frame
from tablet.engine.log.records import Segment
from tablet.engine.model.schema import Schema
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
from tablet.engine.world.storage import Storage

FORMAT = 4
KIND = "tabletop tablet"


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

    def to_json(self) -> dict[str, Any]:
        """For the manifest; what is as usual is left out."""
        fields: dict[str, Any] = {
            "name": self.name,
            "number": self.number,
            "file_bytes": self.file_bytes,
            "written_at": self.written_at,
        }
        if self.spans != EVERYWHERE:
            fields["spans"] = [[start.decode("latin-1"), end.decode("latin-1")] for start, end in self.spans]
        if self.share_bytes:
            fields["share_bytes"] = self.share_bytes
        return {**fields, "properties": self.properties.to_json()}


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

    def encode(self) -> bytes:
        """The file's bytes."""
        fields = {
            "kind": KIND,
            "format": FORMAT,
            "number": self.number,
            "tablet": self.tablet,
            "start_row": self.start_row.decode("latin-1"),
            "end_row": self.end_row.decode("latin-1"),
            **({"token": self.token} if self.token else {}),
            **({"merged_sequence": self.merged_sequence} if self.merged_sequence else {}),
            **({} if self.logs is None else {"logs": [[log.number, log.first_sequence] for log in self.logs]}),
            "flushed_sequence": self.flushed_sequence,
            "next_file_number": self.next_file_number,
            "last_timestamp": self.last_timestamp,
            "schema": self.schema.to_json(),
            "tables": {
                group: [reference.to_json() for reference in references] for group, references in self.tables.items()
            },
        }
        return encode_frame(json.dumps(fields, indent=1).encode(), sequence=max(1, self.number), durable_sequence=0)


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
    file = await storage.open(name)
    try:
        reader = LogReader(file, name)
        payloads = [record.payload async for record in reader]
    finally:
        await file.close()
    if len(payloads) != 1 or reader.end.kind != "clean":
        reason = reader.end.reason or f"{len(payloads)} records where one is expected"
        raise Corrupted(f"{name} is damaged ({reason}); restore it from a copy")
    try:
        fields = json.loads(payloads[0])
        if fields["kind"] != KIND:
            raise IncompatibleFormat(f"{name} describes a {fields['kind']!r}, expected a {KIND!r}")
        if fields["format"] != FORMAT:
            raise IncompatibleFormat(
                f"{name} has format {fields['format']}, this program reads {FORMAT}; use the version that wrote it"
            )
        return _from_json(fields)
    except TabletopError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupted(
            f"{name} does not hold a manifest ({type(error).__name__}: {error}); restore it from a copy"
        ) from error


def _from_json(fields: Mapping[str, Any]) -> Manifest:
    logs = fields.get("logs")
    return Manifest(
        number=_count(fields, "number"),
        tablet=_text(fields, "tablet"),
        schema=Schema.from_json(fields["schema"]),
        tables={group: tuple(map(_reference, entries)) for group, entries in fields["tables"].items()},
        logs=None if logs is None else tuple(_segment(*log) for log in logs),
        flushed_sequence=_count(fields, "flushed_sequence"),
        next_file_number=_count(fields, "next_file_number"),
        last_timestamp=_count(fields, "last_timestamp"),
        start_row=_text(fields, "start_row").encode("latin-1"),
        end_row=_text(fields, "end_row").encode("latin-1"),
        token=_count(fields, "token") if "token" in fields else 0,
        merged_sequence=_count(fields, "merged_sequence") if "merged_sequence" in fields else 0,
    )


def _segment(number: Any, first_sequence: Any) -> Segment:
    fields = {"number": number, "first_sequence": first_sequence}
    return Segment(_count(fields, "number"), _count(fields, "first_sequence"))


def _reference(fields: Mapping[str, Any]) -> TableReference:
    name, number = _text(fields, "name"), _count(fields, "number")
    where, _, file_name = name.rpartition("/")
    if not sorted_out([file_name]).tables or (where and not is_neighbour(name)):
        raise ValueError(f"{name!r} is not the name of an SSTable")
    if not where and sorted_out([name]).tables.get(number) != name:
        raise ValueError(f"{name!r} is not the name of SSTable {number}")
    spans = EVERYWHERE
    if "spans" in fields:
        spans = refuse_disorder((start.encode("latin-1"), end.encode("latin-1")) for start, end in fields["spans"])
    return TableReference(
        name,
        number,
        _count(fields, "file_bytes"),
        TableProperties.from_json(fields["properties"]),
        _count(fields, "written_at"),
        spans,
        _count(fields, "share_bytes") if "share_bytes" in fields else 0,
    )


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if type(value) is not int or value < 0:
        raise TypeError(f"{name} is {value!r}, expected a number from 0 on")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, expected a text")
    return value


async def load_snapshot(storage: Storage, name: str) -> Manifest:
    """Read a snapshot by its name. Raises NotFound with the names there are."""
    try:
        return await load_manifest(storage, snapshot_file_name(name))
    except NotFound as error:
        known = ", ".join(sorted_out(await storage.list()).snapshots) or "none"
        raise NotFound(f"there is no snapshot {name!r}; there are: {known}") from error
