"""Damaged files of a tablet: every reader gives the right rows or says what is wrong, and nothing else.

A folder with SSTables, logs, a manifest and a snapshot is written once; it is the image of a process that was killed,
so that the last log has no mark at its end. Each example damages one file in one way, opens the folder, and goes back
to the snapshot. What is right then:

    SSTable, manifest   all rows as they were, or an error that names the file
    snapshot            opening gives all rows; going back gives the snapshot's rows, or an error that names the file
    an older log        all rows, or an error that names the file, the record and the offset: its rows had been durable
    the last log        also a prefix of the rows in the order of writing; an event says so, if any of the rest is left
"""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tablet.engine
from runtime.errors import Corrupted, IncompatibleFormat, TabletopError
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.world.events import LogTailDropped, SnapshotUnreadable
from tablet.engine.world.options import Options

OPTIONS = Options(memtable_bytes=20_000, flush_on_close_bytes=1 << 30)
FLUSHED, LOGGED, LOGS = 150, 15, 3

Rows = dict[bytes, bytes]


def row(number: int) -> tuple[bytes, bytes]:
    return f"row{number:04}".encode(), f"value {number}".encode() * 20


SNAPSHOT_ROWS = dict(map(row, range(FLUSHED)))
ALL_ROWS = dict(map(row, range(FLUSHED + LOGGED * LOGS)))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of file."""
    base = tmp_path_factory.mktemp("sound")
    with tablet.engine.open(base / "t", OPTIONS) as table:
        table.create_family("f")
        for number in range(FLUSHED):
            table.put(row(number)[0], "f:a", row(number)[1])
        table.save_snapshot("s")
    written = FLUSHED
    for _ in range(LOGS):
        with tablet.engine.open(base / "t", OPTIONS) as table:
            for number in range(written, written + LOGGED):
                table.put(row(number)[0], "f:a", row(number)[1])
            written += LOGGED
            shutil.rmtree(base / "killed", ignore_errors=True)
            shutil.copytree(base / "t", base / "killed")
    assert len([path for path in (base / "killed").iterdir() if path.suffix == ".log"]) >= LOGS
    return base / "killed"


def rows_of(table: EmbeddedTablet) -> Rows:
    return {found.key: found.value("f:a") or b"" for found in table.scan()}


def damaged(data: bytes, way: str, place: float, length: int, noise: bytes) -> bytes:
    """`data` with one thing wrong, at this part of its length."""
    at = min(int(place * len(data)), max(0, len(data) - 1))
    return {
        "flip": data[:at] + bytes([data[at] ^ (1 << length % 8)]) + data[at + 1 :],
        "cut": data[:at],
        "zero": data[:at] + bytes(len(data[at : at + length])) + data[at + length :],
        "overwrite": data[:at] + noise[: len(data) - at] + data[at + len(noise) :],
        "insert": data[:at] + noise + data[at:],
        "drop": data[:at] + data[at + length :],
        "repeat": data[: at + length] + data[at : at + length] + data[at + length :],
        "foreign": noise * 50,
    }[way]


DAMAGES = {
    "which": st.integers(0, 5),
    "way": st.sampled_from(["flip", "cut", "zero", "overwrite", "insert", "drop", "repeat", "foreign"]),
    "place": st.floats(0, 1, exclude_max=True),
    "length": st.integers(1, 700),
    "noise": st.binary(min_size=1, max_size=60),
}
EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Damaged:
    """A copy of the sound folder with one damaged file."""

    def __init__(self, sound: Path, target: Path, pattern: str, which: int, *how: object) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(sound, target)
        files = sorted(target.glob(pattern))
        self.folder = target
        self.victim = files[which % len(files)]
        self.is_newest = self.victim == files[-1]
        self.victim.write_bytes(damaged(self.victim.read_bytes(), *how))  # type: ignore[arg-type]

    def opened(self) -> tuple[Rows, Rows, list[type]]:
        """All rows, those of the snapshot, and the kinds of events. Errors name the victim."""
        with tablet.engine.open(self.folder, OPTIONS) as table:
            found = rows_of(table)
            table.restore_snapshot("s")
            return found, rows_of(table), [type(record.event) for record in table.events]

    def refused(self, error: TabletopError) -> None:
        assert self.victim.name in str(error)


@EXAMPLES
@given(pattern=st.sampled_from(["*.sst", "manifest-*"]), **DAMAGES)
def test_a_damaged_table_or_manifest_gives_all_rows_or_an_error_that_names_it(
    sound: Path, tmp_path: Path, pattern: str, which: int, way: str, place: float, length: int, noise: bytes
):
    case = Damaged(sound, tmp_path / "t", pattern, which, way, place, length, noise)
    try:
        found, restored, _ = case.opened()
    except (Corrupted, IncompatibleFormat) as error:
        case.refused(error)
    else:
        assert (found, restored) == (ALL_ROWS, SNAPSHOT_ROWS)


@EXAMPLES
@given(**DAMAGES)
def test_a_damaged_snapshot_is_refused_and_takes_nothing_else_along(
    sound: Path, tmp_path: Path, which: int, way: str, place: float, length: int, noise: bytes
):
    case = Damaged(sound, tmp_path / "t", "snapshot-*", which, way, place, length, noise)
    tables = {path.name for path in case.folder.glob("*.sst")}
    with tablet.engine.open(case.folder, OPTIONS) as table:
        assert rows_of(table) == ALL_ROWS
        try:
            table.restore_snapshot("s")
        except (Corrupted, IncompatibleFormat) as error:
            case.refused(error)
            assert rows_of(table) == ALL_ROWS
            assert [record.event.snapshot for record in table.events if isinstance(record.event, SnapshotUnreadable)]
            table.compact()
            assert tables < {path.name for path in case.folder.glob("*.sst")}
            table.delete_snapshot("s")
            assert not tables & {path.name for path in case.folder.glob("*.sst")}
            assert rows_of(table) == ALL_ROWS
        else:
            assert rows_of(table) == SNAPSHOT_ROWS


@EXAMPLES
@given(**DAMAGES)
@example(which=0, way="flip", place=0.5, length=1, noise=b"x")
@example(which=LOGS - 1, way="flip", place=0.2, length=1, noise=b"x")
def test_a_damaged_log_gives_what_was_durable_and_a_prefix_or_an_error_with_record_and_offset(
    sound: Path, tmp_path: Path, which: int, way: str, place: float, length: int, noise: bytes
):
    case = Damaged(sound, tmp_path / "t", "*.log", which, way, place, length, noise)
    try:
        found, restored, events = case.opened()
    except (Corrupted, IncompatibleFormat) as error:
        case.refused(error)
        assert "offset" in str(error) and "record" in str(error)
        return
    assert restored == SNAPSHOT_ROWS
    assert found == dict(list(ALL_ROWS.items())[: len(found)]), "not a prefix of what was written"
    assert len(found) >= FLUSHED + LOGGED * (LOGS - 1 if case.is_newest else LOGS), "durable rows are missing"
    if len(found) < len(ALL_ROWS) and way in ("flip", "overwrite"):
        assert LogTailDropped in events
