"""The record log: group commit, torn tails, damage, padding, duplicates."""

import asyncio
import struct

import pytest
from crc32c import crc32c

from runtime.errors import (
    Corrupted,
    DiskFailure,
    IncompatibleFormat,
    InternalError,
    InvalidRequest,
    NoSpace,
    Superseded,
)
from runtime.faults.disk import Operation, ShortWrites
from runtime.record_log import HEADER_BYTES, LogReader, LogRecord, LogWriter, encode_frame
from runtime.simulated.world import Simulation


class MemoryFile:
    """A file in memory that counts syncs and can be told to fail."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.syncs = 0
        self.space: int | None = None
        self.sync_fails = False

    async def append(self, data) -> int:
        offset = len(self.data)
        if self.space is not None and offset + len(data) > self.space:
            self.data += bytes(data)[: self.space - offset]
            raise NoSpace("the disk is full")
        self.data += data
        await asyncio.sleep(0)
        return offset

    async def truncate(self, size: int) -> None:
        del self.data[size:]

    async def sync(self) -> None:
        await asyncio.sleep(0)
        if self.sync_fails:
            raise DiskFailure("EIO")
        self.syncs += 1

    async def read_at(self, offset: int, count: int) -> bytes:
        return bytes(self.data[offset : offset + count])

    async def size(self) -> int:
        return len(self.data)


async def read_all(data: bytes, **options) -> tuple[list[LogRecord], LogReader]:
    reader = LogReader(MemoryFile(data), "log", **options)
    return [record async for record in reader], reader


def is_header(payload: bytes) -> bool:
    return payload == b"header"


def log_of(*payloads: bytes, durable: bool = True) -> bytes:
    """A log in which every record was synced before the next was written."""
    data = b""
    for number, payload in enumerate(payloads, 1):
        data += encode_frame(payload, number, number - 1 if durable else 0)
    return data


async def test_records_come_back_in_order_with_their_numbers():
    file = MemoryFile()
    writer = LogWriter(file)
    assert [await writer.commit(b"a"), await writer.append(b"bb"), await writer.commit(b"")] == [1, 2, 3]
    records, reader = await read_all(file.data)
    assert [(record.sequence, record.payload) for record in records] == [(1, b"a"), (2, b"bb"), (3, b"")]
    assert reader.end.kind == "clean" and reader.end.offset == len(file.data) == writer.offset


async def test_concurrent_commits_share_one_sync():
    file = MemoryFile()
    writer = LogWriter(file)
    await asyncio.gather(*(writer.commit(bytes([number])) for number in range(50)))
    assert file.syncs <= 2
    records, _ = await read_all(file.data)
    assert [record.payload[0] for record in records] == list(range(50))


async def test_a_cancelled_committer_does_not_harm_the_others():
    file = MemoryFile()
    writer = LogWriter(file)
    tasks = [asyncio.ensure_future(writer.commit(bytes([number]))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[1:]) == [2, 3]
    assert await writer.commit(b"later") == 4


@pytest.mark.parametrize("cut", range(1, HEADER_BYTES + 5))
async def test_torn_log_tail_keeps_the_durable_prefix(cut: int):
    data = log_of(b"first", b"hello")
    records, reader = await read_all(data[:-cut])
    assert [record.payload for record in records] == [b"first"]
    assert reader.end.kind == "torn"
    assert reader.end.offset == HEADER_BYTES + 5
    assert reader.end.dropped_bytes == HEADER_BYTES + 5 - cut


@pytest.mark.parametrize("place", [0, 4, 8, 12, 16, 24, HEADER_BYTES, HEADER_BYTES + 4])
async def test_damage_to_a_durable_record_is_refused_with_offset_and_number(place: int):
    data = bytearray(log_of(b"first", b"hello", b"third"))
    data[HEADER_BYTES + 5 + place] ^= 0x10
    with pytest.raises(Corrupted, match=r"record 2 at offset 37 is damaged.*record 3 at offset 74"):
        await read_all(data)


async def test_an_unsynced_record_may_be_lost_although_a_later_one_is_whole():
    data = bytearray(log_of(b"first", b"hello", b"third", durable=False))
    data[HEADER_BYTES + 5 + HEADER_BYTES] ^= 1
    records, reader = await read_all(data)
    assert [record.payload for record in records] == [b"first"]
    assert reader.end.kind == "torn"


async def test_padding_is_skipped_between_records_and_at_the_end():
    data = encode_frame(b"a", 1, 0) + bytes(100) + encode_frame(b"b", 2, 0) + bytes(7)
    records, reader = await read_all(data)
    assert [record.payload for record in records] == [b"a", b"b"]
    assert (reader.end.kind, reader.end.dropped_bytes) == ("clean", 7)


async def test_duplicates_of_retried_appends_are_skipped():
    frame = encode_frame(b"a", 1, 0)
    records, reader = await read_all(frame + frame + encode_frame(b"b", 2, 0) + frame)
    assert [record.payload for record in records] == [b"a", b"b"]
    assert reader.duplicates == 2


async def test_a_durable_record_overwritten_with_zeros_is_damage():
    data = bytearray(log_of(b"first", b"hello", b"third"))
    data[37:74] = bytes(37)
    with pytest.raises(Corrupted, match="record 2 is missing"):
        await read_all(data)


async def test_records_larger_than_the_read_window_come_back_whole():
    payloads = [bytes([number]) * 1_500_000 for number in range(3)]
    records, _ = await read_all(log_of(*payloads))
    assert [record.payload for record in records] == payloads


async def test_a_full_disk_leaves_the_log_as_it_was_and_works_again_with_space():
    file = MemoryFile()
    writer = LogWriter(file)
    await writer.commit(b"kept")
    file.space = len(file.data) + 10
    with pytest.raises(NoSpace) as caught:
        await writer.commit(b"too much")
    assert caught.value.definite
    file.space = None
    assert await writer.commit(b"again") == 2
    records, reader = await read_all(file.data)
    assert [record.payload for record in records] == [b"kept", b"again"]
    assert reader.end.kind == "clean"


class PromptFile(MemoryFile):
    """A file that never makes its writer wait."""

    def append_now(self, data) -> int:
        offset = len(self.data)
        if self.space is not None and offset + len(data) > self.space:
            self.data += bytes(data)[: self.space - offset]
            raise NoSpace("the disk is full")
        self.data += data
        return offset


async def test_a_record_is_written_at_once_where_nothing_must_be_waited_for():
    file = PromptFile()
    writer = LogWriter(file)
    assert writer.write_now(b"one") == 1
    file.space = len(file.data) + 20
    refused = writer.write_now(b"two")
    assert refused is not None and not isinstance(refused, int)
    assert writer.write_now(b"three") is None, "the remains of the second one must be cut off first"
    with pytest.raises(NoSpace):
        await refused
    file.space = None
    assert writer.write_now(b"three") == 2
    assert (writer.acknowledged_sequence, writer.durable_sequence, file.syncs) == (2, 0, 1)
    records, reader = await read_all(bytes(file.data))
    assert [(record.sequence, record.payload) for record in records] == [(1, b"one"), (2, b"three")]
    assert reader.end.kind == "clean"
    under_way = asyncio.create_task(writer.commit(b"four"))
    await asyncio.sleep(0)
    assert writer.write_now(b"five") is None, "somebody else is writing"
    assert await under_way == 3
    assert LogWriter(MemoryFile()).write_now(b"one") is None
    assert LogWriter(PromptFile(), fence=Gate()).write_now(b"one") is None


async def test_after_a_failed_sync_the_writer_refuses_everything():
    file = MemoryFile()
    writer = LogWriter(file)
    file.sync_fails = True
    with pytest.raises(DiskFailure):
        await writer.commit(b"lost?")
    file.sync_fails = False
    with pytest.raises(DiskFailure, match="restart this node"):
        await writer.commit(b"never")
    with pytest.raises(DiskFailure, match="restart this node"):
        await writer.append(b"never")


async def test_zeros_before_the_first_record_are_what_is_left_of_it_where_none_may_stand():
    rest = encode_frame(b"second", 2, 0)
    records, _ = await read_all(bytes(100) + rest)
    assert [record.sequence for record in records] == [2]
    records, reader = await read_all(bytes(100) + rest, begins=is_header)
    assert (records, reader.end.kind, reader.end.offset) == ([], "torn", 0)
    assert "100 zeros stand where it begins" in reader.end.reason
    with pytest.raises(Corrupted, match="record 2 at offset 100 shows that it had been durable"):
        await read_all(bytes(100) + encode_frame(b"second", 2, 1), begins=is_header)


async def test_a_record_whose_writer_was_interrupted_is_cut_off_before_the_next_one():
    file = MemoryFile()
    writer = LogWriter(file)
    await writer.append(b"one")
    interrupted = asyncio.create_task(writer.append(b"whole in the file, and never answered"))
    await asyncio.sleep(0)
    interrupted.cancel()
    with pytest.raises(asyncio.CancelledError):
        await interrupted
    assert await writer.append(b"two") == 2
    file.space = writer.offset + 3
    with pytest.raises(NoSpace):
        await writer.append(b"three")
    file.space = None
    assert await writer.append(b"four") == 3
    records, reader = await read_all(file.data)
    assert [record.payload for record in records] == [b"one", b"two", b"four"]
    assert reader.end.kind == "clean"


async def test_a_log_has_settled_when_the_records_of_cancelled_writers_are_written_too():
    file = MemoryFile()
    writer = LogWriter(file)
    tasks = [asyncio.create_task(writer.commit(b"%d" % number)) for number in range(5)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await writer.settled()
    end = writer.next_sequence
    await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(10):
        await asyncio.sleep(0)
    assert writer.next_sequence == end == 6
    await writer.settled()


async def test_a_record_that_no_reader_would_take_is_refused_before_it_is_written(monkeypatch):
    monkeypatch.setattr("runtime.record_log.PAYLOAD_LIMIT_BYTES", 100)
    file = MemoryFile()
    writer = LogWriter(file)
    for write in (writer.append, writer.commit):
        with pytest.raises(InvalidRequest, match=r"a record of 101 bytes does not fit .* takes 100") as said:
            await write(bytes(101))
        assert said.value.definite
    assert await writer.append(bytes(100)) == 1
    records, _ = await read_all(file.data)
    assert len(records) == 1


async def test_a_damaged_first_record_is_judged_by_the_number_that_it_should_have():
    rest = encode_frame(b"fifth", 5, 3)
    _, reader = await read_all(b"damage" + rest)
    assert reader.end.kind == "torn", "record 4 stood there, as far as anybody knows, and that was not durable"
    with pytest.raises(Corrupted, match="record 5 at offset 6 shows that it had been durable"):
        await read_all(b"damage" + rest, presumed_sequence=3)


async def test_frames_of_an_older_format_are_refused_and_said_so():
    for version in (1, 2):
        checksum = crc32c(b"old", crc32c(struct.pack("<IQQ", 3, 1, 0)))
        old = struct.pack("<B3sIIQQ", version, b"TTL", 3, checksum, 1, 0) + b"old"
        with pytest.raises(
            IncompatibleFormat, match=f"log has frames of format {version}, this program reads format 3"
        ):
            await read_all(old + old)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_frame_whose_version_was_damaged_is_damage_and_no_older_format(version: int):
    data = bytearray(log_of(b"first", b"hello"))
    data[0] = version
    with pytest.raises(Corrupted, match="the first record at offset 0 is damaged"):
        await read_all(data, presumed_sequence=1)
    data = bytearray(log_of(b"first", b"hello"))
    data[37] = version
    records, reader = await read_all(data)
    assert [record.payload for record in records] == [b"first"] and reader.end.kind == "torn"


async def test_what_a_record_brings_about_comes_in_the_logs_order_also_if_its_writer_was_cancelled():
    for write in (LogWriter.append, LogWriter.commit):
        file, happened = MemoryFile(), []
        writer = LogWriter(file)
        tasks = [asyncio.ensure_future(write(writer, b"%d" % number, happened.append)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[2], asyncio.CancelledError)
        assert happened == [1, 2, 3, 4, 5]
        assert writer.acknowledged_sequence == 5


async def test_a_bug_in_the_writing_task_reaches_everybody_who_waits():
    file = MemoryFile()
    writer = LogWriter(file)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)

    everybody_waits = asyncio.Event()

    async def failing(data: bytes) -> int:
        await everybody_waits.wait()
        raise ZeroDivisionError("a bug")

    file.append = failing  # type: ignore[method-assign]
    ended: list[int | None] = []
    tasks = [asyncio.ensure_future(writer.commit(b"first", ended.append))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks += [asyncio.ensure_future(writer.commit(b"%d" % number, ended.append)) for number in range(3)]
    await asyncio.sleep(0)
    everybody_waits.set()
    async with asyncio.timeout(1):
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [InternalError] * 4
    assert ended == [None] * 4
    with pytest.raises(InternalError, match="restart this node"):
        await writer.append(b"later")


def test_what_was_refused_for_good_does_not_come_back_with_a_power_cut():
    """The disk is full in the middle of a group, and the kernel writes back what the group left before it is cut."""
    with Simulation(0, quiet=True) as simulation:
        disk = simulation.add_node("desk").simulated_disk

        def write_back(operation: Operation) -> None:
            if operation.verb == "truncate":
                disk.content("log").sync()

        async def story() -> None:
            world = simulation.world("desk")
            file = await world.disk.open("log", "create")
            await world.disk.sync_directory()
            writer = LogWriter(file)
            await writer.commit(b"kept")
            disk.capacity_bytes = 200
            disk.impose(ShortWrites())
            disk.on_operation(write_back)
            group = (writer.commit(b"refused"), writer.commit(bytes(200)))
            answers = await asyncio.gather(*group, return_exceptions=True)
            assert all(isinstance(answer, NoSpace) for answer in answers)
            simulation.power_cut("desk")
            file = await simulation.restart("desk").disk.open("log", "read")
            assert [record.payload async for record in LogReader(file, "log")] == [b"kept"]

        simulation.run(story())


async def test_a_file_that_is_shorter_than_it_says_ends_where_it_ends():
    class Shorter(MemoryFile):
        async def size(self) -> int:
            return await super().size() + 1000

    whole = log_of(b"first", b"hello")
    for cut in range(37, len(whole) + 1):
        reader = LogReader(Shorter(whole[:cut]), "log")
        records = [record.payload async for record in reader]
        assert records == ([b"first", b"hello"] if cut == len(whole) else [b"first"])
        assert reader.end.offset + reader.end.dropped_bytes == cut


class Gate:
    """A fence that says what it is told to say, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_ours = True
        self.waits: asyncio.Event | None = None

    async def __call__(self) -> None:
        self.asked += 1
        if self.waits is not None:
            await self.waits.wait()
        if not self.is_ours:
            raise Superseded("the log has another owner")


async def test_the_fence_is_asked_once_for_all_that_share_a_sync_and_once_for_each_record_without_one():
    gate = Gate()
    writer = LogWriter(MemoryFile(), fence=gate)
    await asyncio.gather(*(writer.commit(bytes([number])) for number in range(50)))
    assert gate.asked == writer.syncs <= 2
    gate.asked = 0
    for _ in range(3):
        await writer.append(b"one")
    assert gate.asked == 3


@pytest.mark.parametrize("durable", [True, False])
async def test_a_record_of_which_the_fence_says_no_is_in_doubt_and_none_follows_it(durable: bool):
    gate, file = Gate(), MemoryFile()
    writer = LogWriter(file, fence=gate)
    write = writer.commit if durable else writer.append
    await write(b"first")
    gate.is_ours = False
    with pytest.raises(Superseded) as said:
        await write(b"second")
    assert not said.value.definite
    size = len(file.data)
    with pytest.raises(Superseded) as said:
        await write(b"third")
    assert said.value.definite
    assert (len(file.data), writer.acknowledged_sequence, writer.is_over) == (size, 1, True)


async def test_a_writer_that_is_cancelled_while_the_fence_is_asked_takes_its_record_back():
    gate, file = Gate(), MemoryFile()
    writer = LogWriter(file, fence=gate)
    await writer.append(b"first")
    gate.waits = asyncio.Event()
    task = asyncio.create_task(writer.append(b"second"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert gate.asked == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.waits = None
    assert await writer.append(b"third") == 2
    records, _ = await read_all(file.data)
    assert [record.payload for record in records] == [b"first", b"third"]
