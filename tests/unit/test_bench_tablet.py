"""The tablet engine's benchmark, with few rows and our engine alone: that it runs, and what it prints."""

import sys
from pathlib import Path

import pytest

from bench import bloom_filters, event_loop, hundred_tablets, tablet_engine
from bench.tablet_contestants import contestant_named
from bench.tablet_growth import picture
from bench.tablet_wide_rows import wide_rows
from bench.tablet_workload import COLD, RATES, SCAN, WRITTEN, Course, Measured, Rows, measure

ROWS = 300


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Starting a process for each contestant is tested once; elsewhere it would only take time."""

    def take_turn(contestant, wanted, rows, seed, *, growth, keep=None, value_bytes=1000):
        folder = tmp_path / f"{contestant.name}-{rows}-{seed}"
        return tablet_engine.Turn(
            contestant.name, wanted, rows, growth, measure("tabletop", rows, seed, folder, growth=growth)
        )

    monkeypatch.setattr(tablet_engine, "take_turn", take_turn)


def test_a_contestant_runs_in_a_process_of_its_own_and_its_figures_come_out_as_tables(
    capsys: pytest.CaptureFixture[str],
):
    tablet_engine.main(["--rows", str(ROWS), "--rounds", "1", "--only", "tabletop"])
    printed = capsys.readouterr().out
    for what in RATES:
        assert f"| {what} |" in printed
    assert "| write amplification |" in printed
    assert "WRONG" not in printed and "failed" not in printed


@pytest.mark.usefixtures("in_this_process")
def test_a_run_can_be_recorded_in_pieces_and_shown_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    record = tmp_path / "turns.jsonl"
    arguments = ["--rows", str(ROWS), "--only", "tabletop", "--record", str(record), "--rounds"]
    tablet_engine.main([*arguments, "1"])
    tablet_engine.main([*arguments, "1"])
    capsys.readouterr()
    tablet_engine.main([*arguments, "0"])
    turns = tablet_engine.Record(record).turns(growth=False)
    assert len(turns) == 2
    middle = sum(turn.found.rates[SCAN] for turn in turns) / 2
    assert f"| scan | {middle:,.0f} rows/s |" in capsys.readouterr().out


@pytest.mark.usefixtures("in_this_process")
def test_growth_has_a_column_for_each_size_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plot = tmp_path / "growth.svg"
    tablet_engine.main(["--growth", "--sizes", "200,400", "--only", "tabletop", "--plot", str(plot)])
    assert "| rows | 200 | 400 |" in capsys.readouterr().out
    drawn = plot.read_text(encoding="utf-8")
    assert drawn.startswith("<svg") and drawn.count("<polyline") == 6


def test_the_profile_names_modules_and_functions(capsys: pytest.CaptureFixture[str]):
    tablet_engine.main(["--profile", "--rows", str(ROWS)])
    printed = capsys.readouterr().out
    assert "300 random writes" in printed and "a scan of 300 rows" in printed
    assert "tablet/engine/tree/memtable.py" in printed and "tablet/engine/serving/reading.py" in printed


def test_wide_rows_have_a_column_for_each_width_and_the_ratio_of_the_last_to_the_first():
    head, _, *rows = wide_rows((5, 200), calls=3).splitlines()
    assert head == "|  | 5 columns | 200 columns | 200 columns / 5 columns |"
    assert [row.split("|")[1].strip() for row in rows[:2]] == ["cell writes", "cell reads, memtable"]
    assert len(rows) == 9


def test_a_store_to_keep_goes_into_an_empty_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "mine").touch()
    with pytest.raises(SystemExit):
        tablet_engine.main(["--keep", str(tmp_path), "--rows", str(ROWS)])
    assert "is not empty; choose another folder" in capsys.readouterr().err


def test_a_store_that_loses_rows_is_found_out(tmp_path: Path):
    contestant = contestant_named("tabletop")

    class Forgetful(contestant.make):  # type: ignore[misc,name-defined]
        def get(self, key: bytes) -> bytes | None:
            return None if key.endswith(b"7") else super().get(key)

    course = Course(contestant, Rows(ROWS, 0, contestant), tmp_path)
    course._contestant = type(contestant)("forgetful", "tablet.engine", Forgetful, "")
    course.main()
    assert course.found.wrong[COLD] == ROWS // 10


def test_what_is_not_installed_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "plyvel", None)
    monkeypatch.setattr(tablet_engine, "take_turn", lambda *_, **__: None)
    tablet_engine.main(["--only", "leveldb", "--rounds", "1"])
    assert "leveldb is not installed: left out" in capsys.readouterr().out


def test_slow_contestants_are_compared_with_ours_with_as_many_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    rows = {("tabletop", 200_000): 1000.0, ("tabletop", 20_000): 400.0, ("bloomkv", 20_000): 100.0}
    rows |= {("yellowdb", 200_000): 10.0, ("leveldb", 200_000): 2000.0}

    def take_turn(contestant, wanted, count, seed, *, growth, value_bytes):
        return tablet_engine.Turn(
            contestant.name, wanted, count, growth, Measured({SCAN: rows[contestant.name, count]})
        )

    monkeypatch.setattr(tablet_engine, "take_turn", take_turn)
    monkeypatch.setattr(type(contestant_named("bloomkv")), "installed", True)
    tablet_engine.main(["--rounds", "1", "--only", "tabletop", "leveldb", "bloomkv", "yellowdb"])
    head, _, scan = capsys.readouterr().out.split("\n\n")[-2].splitlines()
    found = dict(zip(head.split("|"), scan.split("|"), strict=True))
    assert found[" tabletop, 20,000 rows "] == " 400 rows/s " and found[" tabletop "] == " 1,000 rows/s "
    assert found[" tabletop, 20,000 rows / bloomkv, 20,000 rows "] == " 4.00 "
    assert found[" tabletop / yellowdb "] == " 100.00 " and found[" tabletop / leveldb "] == " 0.50 "


def test_a_picture_of_one_size_has_its_points():
    found = {("tabletop", 1000): Measured(rates={SCAN: 5.0}, costs={WRITTEN: 2.0})}
    assert picture(found).count("<circle") == 2


def test_tablets_are_written_split_and_merged_within_the_budget(capsys: pytest.CaptureFixture[str]):
    assert hundred_tablets.main(["--tablets", "6", "--rows", "600", "--budget", "0.2"]) == 0
    printed = capsys.readouterr().out
    assert "| split each | 12 |" in printed and "| merge in pairs | 6 |" in printed
    assert ": kept" in printed and "all as written" in printed


def test_the_rounds_of_the_event_loop_are_told_of_each_load(capsys: pytest.CaptureFixture[str]) -> None:
    assert event_loop.main(["--share", "0.002"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(event_loop.LOADS)


def test_bloom_filter_policies_are_measured_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert bloom_filters.main(["--rounds", "1", "--keys", "200", "--rows", "90"]) == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head == "|  | " + " | ".join(bloom_filters.CONTESTANTS) + " |"
    assert sum("mistakes" in line for line in lines) == 2
    assert sum("random write of" in line for line in lines) == 4
    (reads,) = [line for line in lines if "absent row read" in line]
    assert reads.count("µs") == len(bloom_filters.CONTESTANTS)
