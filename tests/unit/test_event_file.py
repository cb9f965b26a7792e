"""The file that events go to: full disks, torn lines, and its size."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from runtime.events import Event, EventLog, EventsLost, sentence
from runtime.real.event_file import EventTail, FileSink, old_names, read_events


@dataclass(frozen=True, slots=True)
class LampLit(Event):
    sentence: ClassVar[str] = "lit lamp {number}"
    number: int


def log_to(sink: FileSink) -> EventLog:
    return EventLog("cs1", sink, wall_microseconds=lambda: 1_000_000)


def words(path: Path) -> list[str]:
    return [sentence(record.event) for record in read_events(path).records]


def test_records_come_back_oldest_first_over_all_lives(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    for number in range(3):
        sink = FileSink(path)
        log_to(sink).emit(LampLit(number))
        sink.close()
    assert words(path) == ["lit lamp 0", "lit lamp 1", "lit lamp 2"]


class FullDisk:
    """`os.write` on a disk that takes `room` more bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, descriptor: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = min(self.room, len(data))
        self.room -= count
        return self._write(descriptor, data[:count])


def test_a_full_disk_loses_records_and_says_so_and_damages_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "events.jsonl"
    sink = FileSink(path)
    log = log_to(sink)
    log.emit(LampLit(1))
    disk = FullDisk(room=20)
    monkeypatch.setattr(os, "write", disk)
    for number in (2, 3, 4):
        log.emit(LampLit(number))
    disk.room = 10_000
    log.emit(LampLit(5))
    sink.close()
    found = read_events(path)
    assert [record.event for record in found.records] == [LampLit(1), EventsLost(3), LampLit(5)]
    assert found.damaged_lines == 1


def test_a_line_that_a_killed_program_left_is_ended_before_the_next(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"lamport": 1, "wall"')
    sink = FileSink(path)
    log_to(sink).emit(LampLit(1))
    sink.close()
    assert words(path) == ["lit lamp 1"]
    assert read_events(path).damaged_lines == 1


@pytest.mark.parametrize("garbage", ["null\n", "[]\n", "{}\n", "\x00\x00\n", '"}"\n'])
def test_what_is_no_record_is_counted_and_left_out(tmp_path: Path, garbage: str):
    path = tmp_path / "events.jsonl"
    path.write_text(garbage)
    assert read_events(path).damaged_lines == 1 and words(path) == []


def test_the_files_are_bounded_and_the_youngest_records_are_kept(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    sink = FileSink(path, largest_bytes=1000, kept=2)
    log = log_to(sink)
    for number in range(100):
        log.emit(LampLit(number))
    sink.close()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert all(found.stat().st_size < 1200 for found in tmp_path.iterdir())
    kept = words(path)
    assert kept == [f"lit lamp {number}" for number in range(100 - len(kept), 100)] and len(kept) > 20
    assert old_names(path, 2)[-1].exists()


def test_a_file_is_followed_beyond_its_turning(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    sink = FileSink(path, largest_bytes=150, kept=2)
    log = log_to(sink)
    log.emit(LampLit(0))
    tail = EventTail(path)
    assert tail.new_records() == []
    seen = []
    for number in range(1, 8):
        log.emit(LampLit(number))
        seen += [record.event for record in tail.new_records()]
    tail.close()
    sink.close()
    assert seen == [LampLit(number) for number in range(1, 8)]
    assert old_names(path, 2)[0].exists()
