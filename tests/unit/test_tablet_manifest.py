"""The manifest: one truth at each moment, and no other program's files touched."""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import Conflict, Corrupted, DiskFailure, IncompatibleFormat, InvalidRequest, NotFound
from runtime.real.disk import RealDisk
from runtime.record_log import HEADER, HEADER_BYTES, encode_frame
from runtime.wire import tablet_pb2
from tablet.embedded.inline import InlineWorld, RecentEvents
from tablet.engine.log.records import Segment, decode_header
from tablet.engine.model.schema import Family, LocalityGroup, MaxVersions, Schema
from tablet.engine.tree.manifest import (
    FILE,
    Manifest,
    TableReference,
    load_current,
    load_manifest,
    load_snapshot,
    write_manifest,
)
from tablet.engine.world.names import MARK_NAME, log_name, manifest_name, snapshot_file_name, sorted_out
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage
from tablet.tools.read_only import opened_for_reading
from tablet.tools.verification import verify_folder
from tests.unit.tablet_support import chunk_of, make_table, open_engine


@pytest.fixture
def storage(tmp_path) -> DiskStorage:
    return DiskStorage(RealDisk(tmp_path))


async def test_a_manifest_survives_writing_and_reading(storage):
    table = await make_table(storage, 4, chunk_of({b"\xff\x00row": b"v", b"a": b"v"}))
    manifest = Manifest(
        number=7,
        tablet="users",
        schema=Schema().with_group(LocalityGroup("hot")).with_family(Family("f", MaxVersions(2), "hot")),
        tables={"default": (TableReference("000004.sst", 4, table.file_bytes, table.properties),)},
        logs=(Segment(9, 12346), Segment(10, 12400)),
        flushed_sequence=12345,
        next_file_number=11,
        start_row=b"a",
        end_row=b"\xff\xff",
    )
    await write_manifest(storage, manifest, manifest_name(7))
    assert await load_current(storage, await storage.list()) == manifest


async def test_the_highest_number_is_the_truth_and_an_unfinished_one_does_not_count(storage):
    for number in (2, 10, 9):
        await write_manifest(storage, Manifest(number=number), manifest_name(number))
    await storage.create("manifest-000011.new")
    found = await load_current(storage, await storage.list())
    assert found is not None
    assert found.number == 10


async def test_a_damaged_manifest_is_refused_at_every_byte(storage, tmp_path):
    await write_manifest(storage, Manifest(number=1), manifest_name(1))
    path = tmp_path / manifest_name(1)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises((Corrupted, IncompatibleFormat), match="manifest-000001"):
            await load_current(storage, await storage.list())
        path.write_bytes(whole[:place])
        with pytest.raises(Corrupted, match="manifest-000001"):
            await load_current(storage, await storage.list())


async def test_a_manifest_of_another_version_or_of_something_else_is_refused(storage, tmp_path):
    body = Manifest(number=1).to_message()
    for payload, message in (
        (replace(FILE, format=9).encode(body), "format 9"),
        (replace(FILE, kind="tabletop cellar").encode(body), "expected a 'tabletop tablet'"),
        (b'{"kind": "tabletop tablet", "format": 3}', "is JSON, as earlier versions wrote it"),
        (b"", "expected a 'tabletop tablet'"),
    ):
        (tmp_path / manifest_name(1)).write_bytes(encode_frame(payload, 1, 0))
        with pytest.raises(IncompatibleFormat, match=message):
            await load_manifest(storage, manifest_name(1))
    for payload in (b"[]", FILE.encode(body)[:-1], tablet_file(b"\xff\xff")):
        (tmp_path / manifest_name(1)).write_bytes(encode_frame(payload, 1, 0))
        with pytest.raises(Corrupted, match="does not hold a 'tabletop tablet'"):
            await load_manifest(storage, manifest_name(1))


def tablet_file(body: bytes) -> bytes:
    return tablet_pb2.TabletFile(kind=FILE.kind, format=FILE.format, body=body).SerializeToString()


async def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("chapter 1")
    with pytest.raises(IncompatibleFormat, match=r"thesis\.tex"):
        async with open_engine(tmp_path):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) in (["LOCK", "thesis.tex"], ["thesis.tex"])


async def test_tables_without_a_manifest_are_refused(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.put(b"r", b"f:q", b"v")
        await engine.flush()
    for path in tmp_path.glob("manifest-*"):
        path.unlink()
    with pytest.raises(Corrupted, match="no manifest"):
        async with open_engine(tmp_path):
            pass
    assert list(tmp_path.glob("*.sst"))


async def test_the_sweep_takes_what_is_ours_and_obsolete_and_nothing_else(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.put(b"r", b"f:q", b"v")
        await engine.flush()
        expected = await engine.state.storage.list()
    for name in ("000900.sst", "000901.sst.new", "manifest-000001", "manifest-000999.new", "000000.log"):
        (tmp_path / name).write_bytes(b"waste")
    for name in ("notes.txt", "x.sst", "000001.sst.bak"):
        (tmp_path / name).write_bytes(b"keep")
    async with open_engine(tmp_path) as engine:
        found = await engine.state.storage.list()
        assert {"notes.txt", "x.sst", "000001.sst.bak"} <= set(found)
        assert len(found) == len({*expected, MARK_NAME}) + 3
        await engine.put(b"r", b"f:q", b"v2")
        await engine.flush()


async def test_a_snapshot_that_is_not_there_is_named_with_those_that_are(storage):
    await write_manifest(storage, Manifest(number=1), snapshot_file_name("monday"))
    with pytest.raises(NotFound, match="there are: monday"):
        await load_snapshot(storage, "tuesday")


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "a.new"])
def test_a_snapshot_name_must_be_a_file_name(name):
    with pytest.raises(InvalidRequest):
        snapshot_file_name(name)


def test_names_are_sorted_out():
    listing = sorted_out(["1.sst", "000001.sst", "0000001234567.log", "manifest-12", "snapshot-a", "snapshot-a.new"])
    assert listing.tables == {1: "000001.sst"}
    assert listing.logs == {1234567: "0000001234567.log"}
    assert listing.others == ("1.sst", "manifest-12")
    assert listing.temporary == ("snapshot-a.new",)


async def test_a_manifest_under_another_number_is_refused_and_kept(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.put(b"r", b"f:q", b"v")
        await engine.flush()
        number = engine.state.manifest.number
    right, wrong = tmp_path / manifest_name(number), tmp_path / manifest_name(number + 1)
    right.rename(wrong)
    with pytest.raises(Corrupted, match=rf"{wrong.name} says that it is number {number}.*its name {right.name} back"):
        async with open_engine(tmp_path):
            pass
    wrong.rename(right)
    async with open_engine(tmp_path) as engine:
        assert await engine.get(b"r", b"f:q") == b"v"


async def test_a_missing_sstable_is_damage_and_not_the_absence_of_a_tablet(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.put(b"r", b"f:q", b"v")
        await engine.flush()
    (table,) = tmp_path.glob("*.sst")
    table.unlink()
    with pytest.raises(Corrupted, match=rf"a file that manifest-\d+ names is missing: .*{table.name}.*restore it"):
        async with open_engine(tmp_path):
            pass
    with pytest.raises(Corrupted, match=table.name):
        async with opened_for_reading(DiskStorage(RealDisk(tmp_path)), InlineWorld(RecentEvents(deque()))):
            pass


async def folder_with_a_log_that_the_manifest_names(folder: Path) -> Path:
    """After a flush the log that goes on is named; it holds a row that no SSTable has."""
    async with open_engine(folder, Options(flush_on_close_bytes=1 << 40)) as engine:
        await engine.create_family("f")
        await engine.put(b"r", b"f:q", b"v")
        await engine.flush()
        await engine.put(b"s", b"f:q", b"v")
        log = engine.state.log.current
        assert log is not None
        assert engine.state.manifest.log_numbers == (log.number,)
        return folder / log_name(log.number)


async def test_a_log_that_is_gone_is_missed(tmp_path):
    log = await folder_with_a_log_that_the_manifest_names(tmp_path)
    content = log.read_bytes()
    log.unlink()
    with pytest.raises(Corrupted, match=rf"names the log {log.name}, which is missing \(found: none\).*restore it"):
        async with open_engine(tmp_path):
            pass
    verdicts = [verdict async for verdict in verify_folder(DiskStorage(RealDisk(tmp_path)))]
    assert any(log.name in problem for verdict in verdicts for problem in verdict.problems)
    log.write_bytes(content)
    async with open_engine(tmp_path) as engine:
        assert await engine.get(b"s", b"f:q") == b"v"


async def test_an_empty_file_in_the_place_of_a_lost_log_gives_its_rows_up(tmp_path):
    log = await folder_with_a_log_that_the_manifest_names(tmp_path)
    log.write_bytes(b"")
    with pytest.raises(Corrupted, match="or remove durable to do without the rows that are lost"):
        async with open_engine(tmp_path):
            pass
    (tmp_path / MARK_NAME).unlink()
    async with open_engine(tmp_path) as engine:
        assert (await engine.get(b"r", b"f:q"), await engine.get(b"s", b"f:q")) == (b"v", None)
        await engine.create_family("g")


async def test_logs_that_were_replayed_are_named_on_and_removed_ones_are_not(tmp_path):
    log = await folder_with_a_log_that_the_manifest_names(tmp_path)
    async with open_engine(tmp_path, Options(flush_on_close_bytes=1 << 40)) as engine:
        await engine.create_family("g")
        assert engine.state.manifest.log_numbers == (int(log.stem),)
        await engine.put(b"t", b"g:q", b"v")
        await engine.create_family("h")
        assert engine.state.log.current is not None
        assert engine.state.manifest.log_numbers == (int(log.stem), engine.state.log.current.number)
        await engine.flush()
        assert engine.state.manifest.log_numbers == (engine.state.log.current.number,)
        await engine.save_snapshot("s")
        assert (await load_snapshot(engine.state.storage, "s")).logs is None
    assert not log.exists()


async def test_a_manifest_that_says_nothing_of_logs_is_that_of_a_servers_tablet(tmp_path):
    await folder_with_a_log_that_the_manifest_names(tmp_path)
    (path,) = tmp_path.glob("manifest-*")
    served = replace(await load_manifest(DiskStorage(RealDisk(tmp_path)), path.name), logs=None)
    assert not served.to_message().HasField("log")
    path.write_bytes(served.encode())
    with pytest.raises(Conflict, match="is a server's; open it with that log"):
        async with open_engine(tmp_path):
            pass


@pytest.mark.parametrize("change", [{"number": 99}, {"tablet": "users"}])
async def test_a_log_of_another_number_or_tablet_is_not_replayed(tmp_path, change):
    log = await folder_with_a_log_that_the_manifest_names(tmp_path)
    data = log.read_bytes()
    header_bytes = data.index(data[:4], 1)  # The magic of the second frame.
    header = replace(decode_header(data[HEADER_BYTES:header_bytes], "it"), **change)
    log.write_bytes(encode_frame(header.encode(), HEADER.unpack_from(data)[3], 0) + data[header_bytes:])
    (expected,) = change.values()
    found = rf"{log.name} says that it is .*{expected}.*, expected .*: it was copied or renamed; put the right file"
    with pytest.raises(Corrupted, match=found):
        async with open_engine(tmp_path):
            pass
    verdicts = [verdict async for verdict in verify_folder(DiskStorage(RealDisk(tmp_path)))]
    for kind in ("log", "tablet"):
        (verdict,) = [verdict for verdict in verdicts if verdict.kind == kind]
        assert re.search(found, verdict.problems[0])


async def manifest_with(folder: Path, change: Callable[[Any], None]) -> Path:
    """A tablet with an SSTable and a log, and in its manifest a change with the right checksum."""
    await folder_with_a_log_that_the_manifest_names(folder)
    (path,) = folder.glob("manifest-*")
    message = (await load_manifest(DiskStorage(RealDisk(folder)), path.name)).to_message()
    change(message)
    path.write_bytes(FILE.framed(message, sequence=message.number))
    return path


def first_reference(message: tablet_pb2.Manifest) -> tablet_pb2.TableReference:
    return message.tables[0].tables[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda message: setattr(first_reference(message), "name", "../../etc/passwd"),
            "is not the name of an SSTable",
        ),
        (lambda message: setattr(first_reference(message), "name", "000005.log"), "is not the name of an SSTable"),
        (lambda message: setattr(first_reference(message), "number", 77), "is not the name of SSTable 77"),
        (
            lambda message: first_reference(message).spans.spans.add(start_row=b"b", end_row=b"a"),
            "are not row ranges in order",
        ),
        (lambda message: setattr(message.schema.groups[0], "compression", "zip"), "compression is 'zip'"),
        (lambda message: setattr(message.schema.groups[0], "block_bytes", 0), "block_bytes is 0"),
    ],
)
async def test_a_manifest_that_says_what_cannot_be_is_corrupted(tmp_path, change, problem):
    path = await manifest_with(tmp_path, change)
    with pytest.raises(Corrupted, match=rf"{path.name} does not hold a manifest .*{problem}"):
        await load_current(DiskStorage(RealDisk(tmp_path)), [path.name])


async def test_a_rule_of_a_later_version_is_told_as_such(tmp_path):
    path = await manifest_with(tmp_path, lambda message: message.schema.families[0].rule.SetInParent())
    with pytest.raises(IncompatibleFormat, match=rf"{path.name}: .*use the version that wrote it"):
        await load_current(DiskStorage(RealDisk(tmp_path)), [path.name])


@pytest.mark.parametrize(
    ("name", "wrong", "found"),
    [
        ("next_file_number", 1, "is needed, and has a number that is still to be given"),
        ("flushed_sequence", 10**9, "would pass over its rows"),
    ],
)
async def test_numbers_that_no_manifest_can_say_are_problems(tmp_path, name, wrong, found):
    await manifest_with(tmp_path, lambda message: setattr(message, name, wrong))
    verdicts = [verdict async for verdict in verify_folder(DiskStorage(RealDisk(tmp_path)))]
    assert any(found in problem for verdict in verdicts for problem in verdict.problems)


@pytest.mark.parametrize("reopened", [False, True])
async def test_a_log_that_is_missing_is_noticed_though_no_manifest_was_written_since_its_first_record(
    tmp_path: Path, reopened: bool
):
    async with open_engine(tmp_path, Options(memtable_bytes=4000)) as engine:
        await engine.create_family("f")
        while len(engine.state.log.begun) < 2 and not reopened:
            await engine.put(b"row%d" % engine.state.log.last_sequence, b"f:q", b"x" * 500)
        await engine.put(b"a", b"f:q", b"1")
        engine._closed = True  # As if it had been killed.
        await engine.state.close()
        await engine.state.storage.unlock()
    if reopened:
        async with open_engine(tmp_path) as engine:
            await engine.put(b"b", b"f:q", b"2")
            engine._closed = True
            await engine.state.close()
            await engine.state.storage.unlock()
    newest = max(tmp_path.glob("*.log"))
    newest.unlink()
    with pytest.raises(Corrupted, match=rf"names the log {newest.name}, which is missing"):
        async with open_engine(tmp_path):
            pass


async def test_a_log_that_could_not_be_named_takes_no_writes(tmp_path: Path, storage: DiskStorage):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        right, engine.state.storage.rename = engine.state.storage.rename, failing_rename  # type: ignore[method-assign]
        with pytest.raises(DiskFailure):
            await engine.put(b"a", b"f:q", b"1")
        engine.state.storage.rename = right  # type: ignore[method-assign]
        await engine.put(b"a", b"f:q", b"2")
        assert await engine.get(b"a", b"f:q") == b"2"
    async with open_engine(tmp_path) as engine:
        assert await engine.get(b"a", b"f:q") == b"2"


async def failing_rename(source: str, target: str) -> None:
    raise DiskFailure("EIO")
