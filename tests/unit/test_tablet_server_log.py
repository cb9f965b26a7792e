"""The log of a server: segments are named before they count, and dropped when no tablet needs a record in them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import DiskFailure
from runtime.real.disk import RealDisk
from tablet.engine.log.records import Segment
from tablet.engine.log.replay import Replay
from tablet.engine.log.server_log import ServerLog
from tablet.engine.world.storage import DiskStorage


class Names:
    """The place where segments are named; and whether it takes another name."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.works = True
        self.number = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def new_number(self) -> int:
        self.number += 1
        return self.number

    async def name(self, segment: Segment) -> None:
        if not self.works:
            raise DiskFailure("EIO")
        self.meanwhile()
        self.segments.append(segment)


@pytest.fixture
def names() -> Names:
    return Names()


def log_in(folder: Path, names: Names) -> ServerLog:
    storage = DiskStorage(RealDisk(folder))
    log = ServerLog(
        storage,
        owner="server",
        sync="os",
        inline=False,
        segments=names.segments,
        new_number=names.new_number,
        name=names.name,
    )
    return log


async def write(log: ServerLog, row: bytes) -> int:
    assert log.current is not None
    return await log.current.write(b"t", [row], [b"fragment"])


async def test_sequences_continue_from_segment_to_segment(tmp_path: Path, names: Names):
    log = log_in(tmp_path, names)
    await log.begin_segment()
    assert [await write(log, b"a"), await write(log, b"b")] == [2, 3]
    await log.begin_segment()
    log.keep(names.segments)
    assert await write(log, b"c") == 5
    assert names.segments == [Segment(1, 1), Segment(2, 4)]
    await log.close()
    replay = Replay(DiskStorage(RealDisk(tmp_path)), {1: "000001.log", 2: "000002.log"}, 0, 0, "server")
    assert [(sequence, rows[0][0]) async for sequence, rows in replay] == [(2, b"a"), (3, b"b"), (5, b"c")]


async def test_a_segment_is_dropped_when_no_record_in_it_is_needed(tmp_path: Path, names: Names):
    log = log_in(tmp_path, names)
    for row in (b"a", b"b", b"c"):
        await log.begin_segment()
        log.keep(names.segments)
        await write(log, row)
    first, second, third = names.segments
    assert log.remaining(0) == log.remaining(1) == (first, second, third)
    assert log.remaining(2) == log.remaining(3) == (second, third)
    assert log.remaining(4) == log.remaining(None) == (third,), "the last one takes the next records"
    log.keep(log.remaining(2))
    await log.close_dropped()
    assert sorted(log.begun) == [2, 3]
    await log.close()


async def test_a_segment_that_could_not_be_named_is_not_written_to(tmp_path: Path, names: Names):
    log = log_in(tmp_path, names)
    await log.begin_segment()
    log.keep(names.segments)
    await write(log, b"a")
    names.works = False
    with pytest.raises(DiskFailure):
        await log.begin_segment()
    assert await write(log, b"b") == 3
    names.works = True
    await log.begin_segment()
    assert names.segments == [Segment(1, 1), Segment(3, 4)]
    await log.close()


async def test_no_record_gets_a_sequence_that_a_tablet_has_flushed_elsewhere(tmp_path: Path, names: Names):
    log = log_in(tmp_path, names)
    log.recovered(0)
    log.pass_over(1000)
    await log.begin_segment()
    assert names.segments == [Segment(1, 1001)]
    assert await write(log, b"a") == 1002
    await log.close()


async def test_a_segment_that_is_begun_while_sequences_are_passed_over_takes_no_record(tmp_path: Path, names: Names):
    log = log_in(tmp_path, names)
    log.recovered(0)
    names.meanwhile = lambda: log.pass_over(1000)
    await log.begin_segment()
    assert log.current is None, "its next record would have a sequence below the tablet's redo point"
    await log.begin_segment()
    assert names.segments == [Segment(1, 1), Segment(2, 1001)]
    assert await write(log, b"a") == 1002
    await log.close()
