"""The tablet's commit log: records, headers, and what replay makes of torn and missing ends."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import Corrupted, DiskFailure, IncompatibleFormat
from runtime.real.disk import RealDisk
from runtime.record_log import HEADER_BYTES, encode_frame
from runtime.wire import tablet_pb2
from tablet.engine.log.commit_log import CommitLog
from tablet.engine.log.records import HEADER_FILE, LogHeader, decode_header, decode_rows, encode_rows
from tablet.engine.log.replay import Replay
from tablet.engine.tree.manifest import Manifest
from tablet.engine.world.storage import DiskStorage

FRAME_START = encode_frame(b"", 1, 0)[:4]


@pytest.fixture
def storage(tmp_path) -> Iterator[DiskStorage]:
    yield DiskStorage(RealDisk(tmp_path))


async def write_log(
    storage: DiskStorage, number: int, first: int, rows: int, *, durable: int = 0, sync="os"
) -> CommitLog:
    header = LogHeader("t", number, durable, first - 1)
    log = await CommitLog.create(storage, header, next_sequence=first, sync=sync, inline=False)
    for row in range(rows):
        await log.queue(b"t", [b"row%d" % (first + 1 + row)], [b"fragment"], lambda sequence: None)
    return log


async def replayed(storage: DiskStorage, *numbers: int, flushed: int = 0) -> tuple[list[tuple[int, bytes]], Replay]:
    replay = Replay(storage, {number: f"{number:06}.log" for number in numbers}, flushed, flushed)
    return [(sequence, row) async for sequence, rows in replay for row, _ in rows], replay


async def test_what_was_written_is_read_back_across_logs(storage):
    first = await write_log(storage, 1, 1, 2)
    assert first.last_sequence == 3
    await write_log(storage, 2, 4, 1)
    found, replay = await replayed(storage, 1, 2)
    assert found == [(2, b"row2"), (3, b"row3"), (5, b"row5")]
    assert (replay.last_sequence, replay.records, replay.dropped) == (5, 3, ())


async def test_records_that_are_in_sstables_are_passed_over(storage):
    await write_log(storage, 1, 1, 3)
    found, _ = await replayed(storage, 1, flushed=3)
    assert found == [(4, b"row4")]


async def test_a_torn_tail_is_dropped_and_said_so(storage, tmp_path: Path):
    await write_log(storage, 1, 1, 2)
    path = tmp_path / "000001.log"
    path.write_bytes(path.read_bytes()[:-3])
    found, replay = await replayed(storage, 1)
    assert found == [(2, b"row2")]
    assert replay.dropped[0].log == "000001.log"
    assert replay.dropped[0].dropped_bytes > 0
    assert "record 3" in replay.dropped[0].reason


async def test_a_log_that_begins_behind_a_lost_tail_is_left_out(storage, tmp_path: Path):
    await write_log(storage, 1, 1, 2)
    await write_log(storage, 2, 4, 2)
    path = tmp_path / "000001.log"
    path.write_bytes(path.read_bytes()[:-3])
    found, replay = await replayed(storage, 1, 2)
    assert found == [(2, b"row2")]
    assert replay.left_out == (2,)
    assert "records 3 to 3 are missing" in replay.dropped[-1].reason


async def test_a_lost_record_that_had_been_durable_is_damage(storage, tmp_path: Path):
    await write_log(storage, 1, 1, 2)
    await write_log(storage, 2, 4, 2, durable=3)
    path = tmp_path / "000001.log"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(Corrupted, match=r"000001\.log: record 3 at offset \d+ .*000002\.log says .*3 had been durable"):
        await replayed(storage, 1, 2)
    path.write_bytes(path.read_bytes()[:-80])
    with pytest.raises(Corrupted, match=r"restore 000001\.log from a copy"):
        await replayed(storage, 1, 2)
    path.unlink()
    with pytest.raises(Corrupted, match=r"000002\.log: records 1 to 3 are missing before it"):
        await replayed(storage, 2)


async def test_after_a_clean_close_damage_to_the_last_record_is_not_taken_for_a_tail(storage, tmp_path: Path):
    log = await write_log(storage, 1, 1, 3)
    await log.write_mark()
    assert log.last_sequence == 4, "nothing is known to be durable yet, so there is nothing to say"
    await log.sync()
    await log.write_mark()
    found, replay = await replayed(storage, 1)
    assert [sequence for sequence, _ in found] == [2, 3, 4]
    assert (replay.records, replay.last_sequence) == (3, 5)
    path = tmp_path / "000001.log"
    data = bytearray(path.read_bytes())
    for row in (b"row2", b"row3", b"row4"):
        damaged = bytearray(data)
        damaged[data.index(row)] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(Corrupted, match=r"000001\.log: record \d at offset \d+ is damaged .* had been durable"):
            await replayed(storage, 1)


async def test_a_log_without_rows_needs_no_closing_mark(storage):
    log = await write_log(storage, 1, 1, 0)
    await log.sync()
    await log.write_mark()
    assert log.last_sequence == 1


async def test_whole_records_after_a_dropped_one_are_counted(storage, tmp_path: Path):
    await write_log(storage, 1, 1, 5)
    path = tmp_path / "000001.log"
    data = bytearray(path.read_bytes())
    data[data.index(b"row3")] ^= 1
    path.write_bytes(data)
    found, replay = await replayed(storage, 1)
    assert found == [(2, b"row2")]
    assert "3 whole ones after it count for nothing: right after a power cut, else damage" in replay.dropped[0].reason


async def test_a_log_that_is_no_tablets_is_refused_with_record_and_offset(storage, tmp_path: Path):
    (tmp_path / "000001.log").write_bytes(encode_frame(encode_rows(b"", [b"a"], [b"1"]), 7, 0))
    with pytest.raises(IncompatibleFormat, match=r"000001\.log .* record 7 at offset 0: .*no header"):
        await replayed(storage, 1)
    header = encode_frame(LogHeader("", 1, 0, 0).encode(), 1, 0)
    (tmp_path / "000001.log").write_bytes(header + encode_frame(b"\7foreign", 2, 0))
    with pytest.raises(Corrupted, match=rf"000001\.log .* record 2 at offset {len(header)}: "):
        await replayed(storage, 1)


async def test_damage_before_a_durable_record_names_offset_and_record(storage, tmp_path: Path):
    await write_log(storage, 1, 1, 3, sync="fsync")
    path = tmp_path / "000001.log"
    data = bytearray(path.read_bytes())
    place = data.index(b"row2")
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupted, match=r"000001\.log: record 2 at offset \d+ is damaged"):
        await replayed(storage, 1)


async def test_padding_and_repeated_records_of_record_append_are_skipped(storage, tmp_path: Path):
    header = encode_frame(LogHeader("t", 1, 0, 0).encode(), 1, 0)
    second = encode_frame(encode_rows(b"t", [b"a"], [b"1"]), 2, 0)
    third = encode_frame(encode_rows(b"t", [b"b"], [b"2"]), 3, 0)
    (tmp_path / "000001.log").write_bytes(header + second + bytes(100) + second + third + bytes(7) + third)
    found, replay = await replayed(storage, 1)
    assert found == [(2, b"a"), (3, b"b")]
    assert replay.dropped == ()


async def test_concurrent_commits_share_syncs(storage):
    import asyncio

    log = await CommitLog.create(storage, LogHeader("", 1, 0, 0), next_sequence=1, sync="fsync", inline=False)
    sequences = await asyncio.gather(
        *(log.queue(b"t", [b"r%d" % number], [b"f"], lambda sequence: None) for number in range(50))
    )
    assert sorted(sequences) == list(range(2, 52))
    assert log.syncs < 10
    assert log.durable_sequence == 51


async def test_a_log_knows_how_far_it_is_durable(storage):
    log = await write_log(storage, 1, 5, 2, durable=4)
    assert (log.last_sequence, log.durable_sequence) == (7, 4)
    await log.sync()
    assert log.durable_sequence == 7
    await log.write(b"t", [b"a", b"b"], [b"1", b"2"])
    assert (log.last_sequence, log.durable_sequence) == (8, 7)


def test_a_foreign_or_future_log_is_refused():
    with pytest.raises(IncompatibleFormat, match="no header"):
        decode_header(encode_rows(b"", [], []), "x.log")
    with pytest.raises(IncompatibleFormat, match="format 9"):
        decode_header(header_of_the_future(), "x.log")
    with pytest.raises(IncompatibleFormat, match="is JSON, as earlier versions wrote it"):
        decode_header(b'\0{"kind": "tabletop commit log", "format": 3}', "x.log")
    with pytest.raises(Corrupted):
        decode_header(LogHeader("users", 1, 0, 0).encode()[:-1], "x.log")


def header_of_the_future() -> bytes:
    return b"\0" + replace(HEADER_FILE, format=9).encode(tablet_pb2.LogHeader(number=1))


@pytest.mark.parametrize("cut", range(len(encode_rows(b"t", [b"row"], [b"fragment"]))))
def test_a_record_that_is_cut_off_is_corrupted(cut):
    with pytest.raises(Corrupted):
        decode_rows(encode_rows(b"t", [b"row"], [b"fragment"])[:cut])


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_log_whose_first_sectors_read_as_zeros_up_to_a_record_lost_all_that_was_unsynced(
    storage, tmp_path: Path, lost: int
):
    await write_log(storage, 1, 1, 3)
    path = tmp_path / "000001.log"
    data = path.read_bytes()
    starts = [place for place in range(len(data)) if data.startswith(FRAME_START, place)]
    path.write_bytes(bytes(starts[lost]) + data[starts[lost] :])
    found, replay = await replayed(storage, 1)
    assert found == []
    assert (replay.last_sequence, replay.dropped[0].offset, replay.dropped[0].dropped_bytes) == (0, 0, len(data))
    assert "zeros stand where it begins" in replay.dropped[0].reason


async def test_a_header_that_had_been_durable_and_reads_as_zeros_is_damage(storage, tmp_path: Path):
    await write_log(storage, 1, 1, 3, sync="fsync")
    path = tmp_path / "000001.log"
    data = path.read_bytes()
    second = data.index(FRAME_START, 1)
    path.write_bytes(bytes(second) + data[second:])
    with pytest.raises(Corrupted, match=r"000001\.log: .*at offset 0 is damaged"):
        await replayed(storage, 1)


async def test_records_whose_bytes_read_as_zeros_are_dropped_and_said_so(storage, tmp_path: Path):
    await write_log(storage, 1, 1, 3)
    path = tmp_path / "000001.log"
    data = path.read_bytes()
    last = data.rindex(FRAME_START)
    path.write_bytes(data[:last] + bytes(len(data) - last))
    found, replay = await replayed(storage, 1)
    assert [sequence for sequence, _ in found] == [2, 3]
    assert (replay.dropped[0].offset, replay.dropped[0].dropped_bytes) == (last, len(data) - last)


async def test_a_log_counts_although_records_before_it_are_lost_that_were_never_answered(storage, tmp_path: Path):
    await write_log(storage, 1, 1, 3)
    header = LogHeader("t", 2, 2, 3)
    log = await CommitLog.create(storage, header, next_sequence=5, sync="fsync", inline=True)
    await log.write(b"t", [b"answered"], [b"fragment"])
    path = tmp_path / "000001.log"
    last = path.read_bytes().rindex(FRAME_START)
    path.write_bytes(path.read_bytes()[:last])
    found, replay = await replayed(storage, 1, 2)
    assert found == [(2, b"row2"), (3, b"row3"), (6, b"answered")]
    assert (replay.last_sequence, replay.left_out) == (6, ())
    path.write_bytes(path.read_bytes()[: last - 10])
    found, replay = await replayed(storage, 1, 2)
    assert found == [(2, b"row2")]
    assert replay.left_out == (2,), "record 3 had been required"


async def test_a_log_whose_sync_failed_says_how_far_it_is_durable(storage):
    log = await write_log(storage, 1, 1, 2, sync="fsync")
    assert log.durable_sequence == 3

    async def failing() -> None:
        raise DiskFailure("EIO")

    log._file.sync = failing  # type: ignore[method-assign]
    with pytest.raises(DiskFailure):
        await log.queue(b"t", [b"never answered"], [b"fragment"], lambda sequence: None)
    assert (log.last_sequence, log.durable_sequence) == (4, 3)


async def test_what_was_never_answered_counts_for_nothing_once_a_later_log_has_begun(storage):
    await write_log(storage, 1, 1, 3)
    found, _ = await replayed(storage, 1)
    assert [sequence for sequence, _ in found] == [2, 3, 4]
    header = LogHeader("t", 2, 2, acknowledged_sequence=3)
    log = await CommitLog.create(storage, header, next_sequence=5, sync="fsync", inline=True)
    await log.write(b"t", [b"row6"], [b"fragment"])
    found, replay = await replayed(storage, 1, 2)
    assert found == [(2, b"row2"), (3, b"row3"), (6, b"row6")]
    assert replay.dropped == ()


async def test_a_frame_of_any_later_log_shows_that_a_lost_record_had_been_durable(storage, tmp_path: Path):
    first = await write_log(storage, 1, 1, 2)
    second = await write_log(storage, 2, 4, 1)
    await first.sync()
    await second.sync()
    await second.write_mark()
    await write_log(storage, 3, 7, 1)
    path = tmp_path / "000001.log"
    data = bytearray(path.read_bytes())
    data[data.index(b"row3")] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupted, match=r"000001\.log: record 3 .*000002\.log says .*to record 5 had been durable"):
        await replayed(storage, 1, 2, 3)
    third = tmp_path / "000002.log"
    mark = third.read_bytes().rindex(FRAME_START)
    third.write_bytes(third.read_bytes()[:mark])
    _, replay = await replayed(storage, 1, 2, 3)
    assert replay.left_out == (2, 3), "without the mark, nothing says so"


async def test_a_log_of_a_later_version_and_a_manifest_under_a_logs_name_are_told_what_to_do(storage, tmp_path: Path):
    path = tmp_path / "000001.log"
    manifest = Manifest(number=1).encode()[HEADER_BYTES:]
    for payload, found in ((header_of_the_future(), "format 9"), (manifest, "a manifest under a log's name")):
        path.write_bytes(encode_frame(payload, 1, 0))
        with pytest.raises(IncompatibleFormat, match=rf"{found}.*use the version that wrote it"):
            await replayed(storage, 1)


async def test_the_first_record_is_called_so(storage, tmp_path: Path):
    (tmp_path / "000001.log").write_bytes(b"garbage")
    _, replay = await replayed(storage, 1)
    assert replay.dropped[0].reason.startswith("the first record at offset 0 is not as it was written")
