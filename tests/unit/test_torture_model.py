"""The model of a torture run refuses what no order of its writes explains, and accepts the rest."""

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.settings import ClusterSettings
from cluster.swarm.tables.history import History as Operations
from cluster.swarm.tables.judging import judge_rows
from cluster.swarm.tables.plan import Kind, PlannedOperation
from cluster.swarm.tables.player import row_key
from cluster.torture.contents import LATE_SECONDS, Contents
from cluster.torture.history import History
from cluster.torture.judging import complaint_about_outcome
from cluster.torture.names import Names
from cluster.torture.payload import owner_of, stamped
from cluster.torture.records import Ledger, complaints
from cluster.torture.resting import MOST_RESIDENT_BYTES, Memory
from cluster.torture.run import TortureOptions
from cluster.torture.tables.trouble import TableTrouble
from cluster.torture.tables.workload import NOTES_A_ROW, PLACES, ROWS_OF_A_PLACE, TableWorker, turn_of
from cluster.torture.workload import Worker
from gfs.records import Appended, Scanner, encode_record
from runtime.errors import InvalidRequest, NotFound, TabletopError, TimedOut
from tablet.engine.model.rows import Cell
from tablet.location.messages import FoundRow

FIRST, SECOND = stamped("c1", 1, 0, 500), stamped("c1", 2, 100, 50)


@pytest.fixture
def contents() -> Contents:
    contents = Contents(FIRST)
    contents.write(100, SECOND, asked=0.0)
    return contents


def test_any_part_of_a_file_says_who_wrote_it():
    assert stamped("c1", 3, 100, 500) == stamped("c1", 3, 0, 600)[100:]
    assert owner_of(b"\0" * 100, 50) == "zeros"
    assert owner_of(FIRST, 70) == "c1 op 00000001 at 64"


def test_a_lost_write_a_short_file_and_a_foreign_byte_are_refused(contents: Contents):
    whole = FIRST[:100] + SECOND + FIRST[150:]
    assert contents.complaint(whole) is None
    assert "is of c1 op 00000001 at" in str(contents.complaint(FIRST))
    assert contents.complaint(whole[:-1]) == "it has 499 bytes, expected 500"
    assert contents.complaint(whole + b"x") == "it has 501 bytes, expected 500"
    assert contents.complaint(whole[:499] + b"\0") is not None


def test_a_part_is_compared_at_its_place_and_may_end_only_with_the_file(contents: Contents):
    assert contents.complaint_about(120, SECOND[20:40], wanted=20) is None
    assert contents.complaint_about(120, SECOND[20:40], wanted=30) is not None
    assert contents.complaint_about(490, FIRST[490:], wanted=30) is None
    assert contents.complaint_about(121, SECOND[20:40], wanted=20) is not None


def test_a_doubtful_write_may_be_there_in_parts_until_a_later_one_covers_it(contents: Contents):
    doubtful = stamped("c1", 3, 450, 100)
    contents.doubt(450, doubtful, now=10.0)
    before = FIRST[:100] + SECOND + FIRST[150:450]
    for tail in (FIRST[450:], doubtful, doubtful[:50], FIRST[450:480] + doubtful[30:], doubtful[:70]):
        assert contents.complaint(before + tail) is None
    last = stamped("c1", 4, 450, 100)
    contents.write(450, last, asked=11.0)
    assert contents.complaint(before + doubtful) is None, "it may still be under way"
    contents.write(450, last, asked=10.0 + LATE_SECONDS)
    assert contents.defined
    assert contents.complaint(before + doubtful) is not None
    assert contents.complaint(before + last) is None


def test_a_hole_reads_as_zeros(contents: Contents):
    contents.write(600, b"end", asked=0.0)
    whole = FIRST[:100] + SECOND + FIRST[150:] + bytes(100) + b"end"
    assert contents.complaint(whole) is None
    assert contents.complaint(whole[:550] + b"x" + whole[551:]) is not None


def test_a_listing_lacks_nothing_and_has_nothing_else_but_what_is_in_doubt():
    names = Names()
    for name in ("a", "b", "c"):
        names.put(f"/d/{name}", Contents())
    names.move("/d/b", "/d/e")
    names.doubt("delete /d/c", {"/d/c": Contents()}, {"/d/c": None})
    assert names.complaint_about_listing("/d", ["a", "e"]) is None
    assert names.complaint_about_listing("/d", ["a", "c", "e"]) is None
    assert names.complaint_about_listing("/d", ["a"]) == "the list of /d lacks /d/e"
    assert names.complaint_about_listing("/d", ["a", "b", "e"]) == "the list of /d has /d/b, expected no such file"


def test_a_doubtful_rename_leaves_exactly_one_file():
    moved = Contents(b"moved")
    before, after = {"/a": moved, "/b": None}, {"/a": None, "/b": moved}

    def is_explained(found: dict[str, bytes | None]) -> bool:
        return any(complaint_about_outcome(outcome, found) is None for outcome in (before, after))

    assert is_explained({"/a": b"moved", "/b": None})
    assert is_explained({"/a": None, "/b": b"moved"})
    assert not is_explained({"/a": b"moved", "/b": b"moved"})
    assert not is_explained({"/a": None, "/b": None})
    assert not is_explained({"/a": None, "/b": b"other"})


class LyingClient:
    """Acknowledges everything and keeps what `keeps` says; or fails as it is told."""

    def __init__(self, *, keeps: bool = True, error: TabletopError | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.keeps = keeps
        self.world = SimpleNamespace(random=random.Random(1))
        self.error = error

    async def write_file(self, path: str, data: bytes, *, overwrite: bool = False) -> None:
        if self.error is not None:
            raise self.error
        self.files[path] = data if self.keeps else data[:-1]

    async def read_file(self, path: str) -> bytes:
        if self.error is not None:
            raise self.error
        return self.files[path]


def worker(client: LyingClient, tmp_path: Path) -> tuple[Worker, History]:
    history = History(tmp_path / "history.jsonl")
    return Worker("c1", client, "seed", 65536, history), history  # type: ignore[arg-type]


async def test_a_client_that_is_lied_to_notices_when_it_reads(tmp_path: Path):
    client = LyingClient(keeps=False)
    one, history = worker(client, tmp_path)
    await one.step()
    assert history.acknowledged == 1 and not history.violations
    await one.check_file(next(iter(one.names.files)))
    assert "expected" in history.violations[0]
    history.close()


async def test_a_refusal_that_no_fault_explains_is_a_violation_and_silence_is_not(tmp_path: Path):
    client = LyingClient()
    one, history = worker(client, tmp_path)
    await one.step()
    path = next(iter(one.names.files))
    client.error = TimedOut("no answer")
    assert not await one.check_file(path)
    assert not history.violations
    client.error = NotFound("there is no such file")
    assert not await one.check_file(path)
    assert "was told NotFound" in history.violations[0]
    client.error = RuntimeError("a bug")  # type: ignore[assignment]
    assert not await one.check_file(path)
    assert "broke with RuntimeError" in history.violations[1]
    history.close()


async def test_a_create_that_was_not_answered_is_in_doubt(tmp_path: Path):
    client = LyingClient(error=TimedOut("no answer"))
    one, history = worker(client, tmp_path)
    await one.step()
    assert one.names.files == {} and len(one.names.doubts) == 1
    absent, there = one.names.doubts[0].outcomes
    path = next(iter(absent))
    assert absent[path] is None and there[path] is not None
    history.close()


def test_a_run_without_an_end_or_a_length_is_refused():
    for minutes in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InvalidRequest, match="expected more than 0"):
            TortureOptions(minutes=minutes).check()


def test_records_are_looked_for_where_their_writer_was_told_and_may_be_read_in_its_order_only():
    ledger, frames = Ledger(writer=7), []
    for payload in (b"one", b"two", b"three"):
        number = ledger.begin(payload)
        frames.append(encode_record(payload, writer=7, sequence=number))
    one, two, three = frames
    ledger.acknowledge(Appended(0, 1))
    ledger.acknowledge(Appended(len(one) + 5, 2))

    def complaint(content: bytes) -> str:
        scanner = Scanner(chunk_bytes=4096)
        return "; ".join(complaints([ledger], content, scanner.feed(content) + scanner.finish()))

    good = one + bytes(5) + two
    assert complaint(good) == "" == complaint(good + three), "the third one is in doubt"
    assert "record 2 of writer 0x7 is not at" in complaint(one + two)
    assert "a reader gets [1]" in complaint(one)
    ledger.refused.add(3)
    assert "record 3 of writer 0x7" in complaint(good + three) and "was never sent" in complaint(good + three)
    assert "was never sent" in complaint(good + encode_record(b"four", writer=8, sequence=1))
    assert "another payload" in complaint(good + encode_record(b"other", writer=7, sequence=2))


class LyingTables:
    """Tables that acknowledge each put and forget those of one column; a read may fail as it is told."""

    def __init__(self) -> None:
        self.cells: dict[bytes, dict[bytes, Cell]] = {}
        self.error: TabletopError | None = None

    async def put(self, table: str, row: bytes, column: bytes, value: bytes) -> None:
        if column != b"f:y":
            self.cells.setdefault(row, {})[column] = Cell(column, 1, value)

    async def read(self, table: str, row: bytes, wanted: object) -> FoundRow | None:
        if self.error is not None:
            raise self.error
        return (row, tuple(self.cells[row].values())) if row in self.cells else None


async def test_a_row_that_was_acknowledged_and_is_gone_is_found(tmp_path: Path):
    tables, operations, history = LyingTables(), Operations(), History(tmp_path / "history.jsonl")
    one = TableWorker("c1", tables, "seed", operations, history)  # type: ignore[arg-type]
    await one.do(PlannedOperation("c1", 0.0, Kind.PUT))
    await one.do(PlannedOperation("c1", 0.0, Kind.READ))
    assert history.acknowledged == 1 and history.reads == 1
    assert judge_rows(operations, 1) == ([], False)
    await one.do(PlannedOperation("c1", 0.0, Kind.PUT, column=1))
    await one.do(PlannedOperation("c1", 0.0, Kind.READ))
    [verdict], _ = judge_rows(operations, 1)
    assert "row00: no order explains: operation 4, c1: read" in verdict.text
    tables.error = NotFound("there is no table 'users'")
    await one.do(PlannedOperation("c1", 0.0, Kind.READ))
    assert "was told NotFound" in history.violations[0]
    history.close()


def test_rows_take_turns_all_over_the_keys_and_keys_are_in_their_order():
    operations = Operations()
    assert turn_of(operations) == 0
    for _ in range(PLACES * NOTES_A_ROW):
        operations.new("c1", PlannedOperation("c1", 0.0, Kind.PUT), 0, 0.0)
    assert turn_of(operations) == 1
    keys = [row_key(row) for row in range(PLACES * ROWS_OF_A_PLACE)]
    assert keys == sorted(set(keys))


def test_memory_that_grows_too_far_is_a_complaint():
    memory = Memory(None)  # type: ignore[arg-type]
    memory.most = {"ts1": MOST_RESIDENT_BYTES, "ts2": MOST_RESIDENT_BYTES + 1}
    assert [text.split()[0] for text in memory.complaints()] == ["ts2"]
    assert memory.largest == (MOST_RESIDENT_BYTES + 1, "ts2")


class SlowlyStarting:
    """A cluster whose folder is asked by one command at a time."""

    def __init__(self) -> None:
        self.settings = ClusterSettings(tablet_servers=2)
        self.started: list[str] = []
        self._is_busy = False

    async def restart(self, node: str) -> None:
        assert not self._is_busy, "two wait for the folder"
        self._is_busy = True
        await asyncio.sleep(0)
        self._is_busy = False
        self.started.append(node)


async def test_nodes_are_started_one_after_the_other_in_the_order_of_asking(tmp_path: Path):
    async def no_files() -> list[tuple[str, int]]:
        return []

    cluster, history = SlowlyStarting(), History(tmp_path / "history.jsonl")
    trouble = TableTrouble(cluster, no_files, "seed", history)  # type: ignore[arg-type]
    await asyncio.gather(*(trouble.restarted(node) for node in ("ts2", "cs1", "tm1", "ts1")))
    assert cluster.started == ["ts2", "cs1", "tm1", "ts1"]
    assert history.faults["restart"] == 4 and trouble.out == {}
    history.close()
