"""Damaged files of a tablet: every reader gives the right rows or says what is wrong, and nothing else.

A folder with SSTables, a log, a manifest and a snapshot is written once. Each example damages one file in one way and
opens the folder. For tables and manifests only two outcomes are right: all rows as they were, or an error that names
the file. A damaged log may also end early, since its records were not synced: then some of the last writes are
missing, and none is changed.
"""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tablet.engine
from runtime.errors import Corrupted, IncompatibleFormat
from tablet.options import Options

OPTIONS = Options(memtable_bytes=20_000, flush_on_close_bytes=1 << 30)
FLUSHED, LOGGED = 150, 40


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A folder with every kind of file."""
    folder = tmp_path_factory.mktemp("sound") / "t"
    with tablet.engine.open(folder, OPTIONS) as table:
        table.create_family("f")
        for number in range(FLUSHED):
            table.put(f"row{number:04}", "f:a", f"value {number}".encode() * 20)
        table.flush()
        table.save_snapshot("s")
        for number in range(FLUSHED, FLUSHED + LOGGED):
            table.put(f"row{number:04}", "f:a", f"value {number}".encode() * 20)
    return folder


def rows_of(folder: Path) -> dict[bytes, bytes]:
    with tablet.engine.open(folder, OPTIONS) as table:
        return {row.key: row.value("f:a") for row in table.scan()}


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


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([".sst", ".log", "manifest-"]),
    which=st.integers(0, 5),
    way=st.sampled_from(["flip", "cut", "zero", "overwrite", "insert", "drop", "repeat", "foreign"]),
    place=st.floats(0, 1, exclude_max=True),
    length=st.integers(1, 700),
    noise=st.binary(min_size=1, max_size=60),
)
def test_a_damaged_file_gives_the_right_rows_or_a_clear_error(
    sound: Path, tmp_path: Path, kind: str, which: int, way: str, place: float, length: int, noise: bytes
):
    whole = {f"row{number:04}".encode(): f"value {number}".encode() * 20 for number in range(FLUSHED + LOGGED)}
    folder = tmp_path / "t"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    files = [path for path in sorted(folder.iterdir()) if kind in path.name]
    victim = files[which % len(files)]
    victim.write_bytes(damaged(victim.read_bytes(), way, place, length, noise))
    try:
        found = rows_of(folder)
    except (Corrupted, IncompatibleFormat) as error:
        assert victim.name in str(error)
        return
    if kind == ".log":
        assert found.items() <= whole.items()
        assert len(found) >= FLUSHED
    else:
        assert found == whole
