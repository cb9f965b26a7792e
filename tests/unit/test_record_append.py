"""Logs on storage that appends at least once: remains of failed appends, padding, repetitions (GFS 2.7, 3.3)."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from runtime.errors import Corrupted, DiskFailure
from runtime.record_log import HEADER_BYTES, LogReader, LogRecord, LogWriter, encode_frame
from tests.unit.test_record_log import MemoryFile, is_header, read_all

CHUNK_BYTES = 4000


class AppendedFile:
    """A file of replicated chunks, as GFS appends to it: each attempt may leave anything on each replica; the one that
    succeeds stands at one offset on all of them. Nothing is ever cut off."""

    def __init__(self, choice: random.Random, trouble: float = 0.4) -> None:
        self.replicas = [bytearray() for _ in range(3)]
        self.attempts = 0
        self.successes = 0
        self.gives_up = False
        self._choice = choice
        self._trouble = trouble

    async def append(self, data) -> int:
        await asyncio.sleep(0)
        data = bytes(data)
        while True:
            self.attempts += 1
            room = CHUNK_BYTES - len(self.replicas[0]) % CHUNK_BYTES
            if room < len(data) and room < CHUNK_BYTES:  # The rest of the chunk is padded, on every replica.
                for replica in self.replicas:
                    replica += bytes(room)
                continue
            failed = self._choice.random() < self._trouble
            if not failed and not self.gives_up:
                for replica in self.replicas:
                    replica += data
                self.successes += 1
                return len(self.replicas[0]) - len(data)
            longest = self._choice.choice((len(data), self._choice.randrange(len(data) + 1)))
            for replica in self.replicas:
                replica += self._remains(data[:longest]).ljust(longest, b"\0")
            if self.gives_up:
                raise DiskFailure("no replica set took the record")

    def _remains(self, data: bytes) -> bytes:
        """What a replica keeps of an attempt that failed: all, nothing, a beginning, or all but a hole."""
        first, last = sorted(self._choice.randrange(len(data) + 1) for _ in range(2))
        return self._choice.choice((data, b"", data[:first], data[:first] + bytes(last - first) + data[last:]))

    async def truncate(self, size: int) -> None:
        raise DiskFailure("a file in GFS is not cut")

    async def sync(self) -> None:
        pass


def contents(records: list[LogRecord]) -> list[tuple[int, bytes]]:
    return [(record.sequence, record.payload) for record in records]


async def written(seed: int, trouble: float = 0.4) -> tuple[AppendedFile, list[tuple[int, bytes]]]:
    """A log of groups of records on such a file, and what was acknowledged."""
    choice = random.Random(seed)
    file = AppendedFile(choice, trouble)
    writer = LogWriter(file, identity=7)
    acknowledged = [(await writer.commit(b"header"), b"header")]
    while len(acknowledged) < 30:
        group = [choice.randbytes(choice.randrange(200)) for _ in range(choice.randrange(1, 6))]
        sequences = await asyncio.gather(*(writer.commit(payload) for payload in group))
        acknowledged += zip(sequences, group, strict=True)
    return file, acknowledged


@pytest.mark.parametrize("seed", range(60))
async def test_every_replica_gives_exactly_the_acknowledged_records(seed: int):
    file, acknowledged = await written(seed)
    for replica in file.replicas:
        records, reader = await read_all(bytes(replica), begins=is_header)
        assert contents(records) == acknowledged
        assert reader.end.kind == "clean"


async def test_most_of_these_files_hold_the_remains_of_failed_appends():
    files = [(await written(seed))[0] for seed in range(60)]
    assert sum(file.attempts > file.successes for file in files) > 50


async def test_a_log_of_many_windows_is_read_over_garbage_that_crosses_their_borders(monkeypatch):
    for window in (40, 64, 100, 501):
        monkeypatch.setattr("runtime.record_log._READ_BYTES", window)
        for seed in range(8):
            file, acknowledged = await written(seed)
            for replica in file.replicas:
                records, _ = await read_all(bytes(replica), begins=is_header)
                assert contents(records) == acknowledged


@pytest.mark.parametrize("seed", range(60))
async def test_rot_never_hides_a_durable_record_in_silence(seed: int):
    """Of what a later frame testifies for, everything is read, from a repetition if need be, or the log is refused."""
    file, acknowledged = await written(seed)
    choice = random.Random(-seed)
    refused = 0
    for _ in range(40):
        data = bytearray(file.replicas[choice.randrange(3)])
        at = choice.randrange(len(data))
        length = min(choice.choice((1, 1, 30, 300, 3000)), len(data) - at)
        data[at : at + length] = choice.choice((bytes(length), choice.randbytes(length)))
        try:
            records, reader = await read_all(bytes(data), begins=is_header)
        except Corrupted:
            refused += 1
            continue
        found = contents(records)
        assert found == acknowledged[: len(found)], "not a prefix of what was acknowledged"
        assert len(found) >= reader.durable_sequence, "a durable record is missing, and a frame says so"
        if len(found) < len(acknowledged):
            assert reader.end.kind == "torn" or reader.end.offset + reader.end.dropped_bytes == len(data)
    assert refused


@pytest.mark.parametrize("seed", range(20))
async def test_a_log_that_ends_anywhere_gives_a_prefix(seed: int):
    file, acknowledged = await written(seed)
    replica = bytes(file.replicas[0])
    for cut in range(0, len(replica), 37):
        records, _ = await read_all(replica[:cut], begins=is_header)
        found = contents(records)
        assert found == acknowledged[: len(found)]


async def test_an_append_that_fails_for_good_ends_the_file_and_its_record_is_in_no_later_place():
    choice = random.Random(3)
    file = AppendedFile(choice, trouble=0)
    writer = LogWriter(file)
    await writer.commit(b"kept")
    file.gives_up = True
    with pytest.raises(DiskFailure):
        await writer.commit(b"nobody knows")
    assert writer.is_over
    file.gives_up = False
    with pytest.raises(DiskFailure):
        await writer.commit(b"another record may not have its number here")
    assert writer.acknowledged_sequence == 1


def two_remains() -> Iterator[bytes]:
    whole = encode_frame(b"second", 2, 1)
    yield bytes(len(whole))
    yield whole[:20] + bytes(len(whole) - 20)
    yield whole[:-1] + b"?"
    yield b"noise" * 30


@pytest.mark.parametrize("remains", list(two_remains()))
async def test_the_reader_goes_on_after_the_remains_of_a_failed_append(remains: bytes):
    data = encode_frame(b"first", 1, 0) + remains + encode_frame(b"second", 2, 1) + encode_frame(b"third", 3, 2)
    records, reader = await read_all(data)
    assert [record.payload for record in records] == [b"first", b"second", b"third"]
    assert reader.end.kind == "clean"
    assert reader.skipped_bytes in (0, len(remains))


async def test_a_group_of_which_a_failed_append_left_the_end_is_read_from_where_it_stands_whole():
    first, second, third = (encode_frame(payload, place, 0) for place, payload in enumerate((b"a", b"b", b"c"), 1))
    data = first + bytes(len(second)) + third + second + third
    records, reader = await read_all(data)
    assert [record.payload for record in records] == [b"a", b"b", b"c"]
    assert reader.end.kind == "clean"
    torn = first + bytes(len(second)) + third + second[:-1]
    records, reader = await read_all(torn)
    assert [record.payload for record in records] == [b"a"]
    assert (reader.end.kind, reader.end.later_records) == ("torn", 1)


async def test_the_remains_of_an_append_that_was_never_repeated_are_a_torn_tail():
    data = encode_frame(b"first", 1, 0) + encode_frame(b"second", 2, 1)[:-1]
    _, reader = await read_all(data)
    assert (reader.end.kind, reader.end.offset, reader.end.later_records) == ("torn", HEADER_BYTES + 5, 0)


async def test_remains_between_repetitions_are_no_torn_tail():
    first, second = encode_frame(b"first", 1, 0), encode_frame(b"second", 2, 1)
    records, reader = await read_all(first + second + second[:-3] + second)
    assert len(records) == 2
    assert (reader.end.kind, reader.end.dropped_bytes, reader.duplicates) == ("clean", 0, 1)


async def test_a_frame_of_another_log_in_a_value_is_not_taken_for_one_of_this_log():
    """A log of a log: the value of a damaged record holds a frame that would fit, but for its identity."""
    decoy = encode_frame(b"forged", 2, 1, identity=1)
    second = bytearray(encode_frame(b"value " + decoy, 2, 0, identity=2))
    second[HEADER_BYTES] ^= 1
    data = encode_frame(b"first", 1, 0, identity=2) + second
    records, reader = await read_all(data)
    assert [record.payload for record in records] == [b"first"]
    assert (reader.end.kind, reader.end.later_records) == ("torn", 0)
    with pytest.raises(Corrupted, match="record 2 at offset 37 is damaged"):
        await read_all(data + encode_frame(b"third", 3, 2, identity=2))


async def test_the_first_record_is_found_after_remains_but_only_if_it_is_one():
    header = encode_frame(b"header", 1, 0)
    for remains in (bytes(90), header[:-2], header[:10] + bytes(20)):
        records, _ = await read_all(remains + header + encode_frame(b"x", 2, 1), begins=is_header)
        assert [record.payload for record in records] == [b"header", b"x"]
        with pytest.raises(Corrupted, match="the first record at offset 0 is damaged"):
            await read_all(remains + encode_frame(b"x", 2, 1) + encode_frame(b"y", 3, 2), begins=is_header)


async def test_what_concurrent_writers_append_at_once_stays_below_a_quarter_of_a_chunk(monkeypatch):
    monkeypatch.setattr("runtime.record_log._GROUP_BYTES", 1000)
    sizes = []

    class Counting(MemoryFile):
        async def append(self, data) -> int:
            sizes.append(len(data))
            return await super().append(data)

    file = Counting()
    writer = LogWriter(file)
    await asyncio.gather(*(writer.commit(bytes(300)) for _ in range(10)), writer.commit(bytes(5000)))
    assert max(sizes[:-1]) <= 3 * (300 + HEADER_BYTES) and len(sizes) == 5
    reader = LogReader(file, "log")
    assert len([record async for record in reader]) == 11
