"""The judges of bytes, lengths and losses: what may be read, and what may not."""

import pytest

from cluster.swarm.contents import LATE_SECONDS
from cluster.swarm.history import Answer, Operation
from cluster.swarm.losses import Grant, Hindrance, Losses, PowerCut
from cluster.swarm.steps import Facts
from cluster.swarm.verdicts import judge_history
from tests.unit.swarm_histories import FOREVER, Past, facts, written


def judged(past: Past, known: Facts | None = None) -> list[str]:
    return [verdict.judge for verdict in judge_history(past.history, known or facts()).verdicts]


def test_what_was_written_is_read():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 1000, (2, 3))
    past.read_file("/a", written(write), (4, 5))
    assert judged(past) == []


def test_an_acknowledged_write_that_is_missing_is_a_violation():
    past = Past()
    file = past.create("/a", (0, 1))
    past.write(file, 0, 1000, (2, 3))
    past.read_file("/a", b"", (4, 5))
    assert judged(past) == ["contents"]


def test_an_older_value_after_an_acknowledged_overwrite_is_a_violation():
    past = Past()
    file = past.create("/a", (0, 1))
    first = past.write(file, 0, 1000, (2, 3))
    past.write(file, 500, 10, (4, 5))
    past.read_file("/a", written(first), (6, 7))
    assert judged(past) == ["contents"]


def test_zeros_over_an_acknowledged_write_are_a_violation():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 1000, (2, 3))
    later = past.write(file, 1000, 10, (4, 5))
    past.read_file("/a", written(write, 0, 900) + bytes(100) + written(later), (6, 7))
    assert judged(past) == ["contents"]


def test_a_hole_reads_as_zeros():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 5000, 100, (2, 3))
    past.read_file("/a", bytes(5000) + written(write), (4, 5))
    assert judged(past) == []


def test_bytes_of_nobody_are_a_violation():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 1000, (2, 3))
    data = bytearray(written(write))
    data[700:704] = b"\xff\x01\x02\x03"
    past.read_file("/a", bytes(data), (4, 5))
    assert judged(past) == ["contents"]


def test_two_writes_at_once_may_be_mixed_byte_by_byte():
    past = Past()
    file = past.create("/a", (0, 1))
    one = past.write(file, 0, 1000, (2, 5))
    other = past.write(file, 0, 1000, (3, 4), client="two")
    mixed = bytes(a if place % 3 else b for place, (a, b) in enumerate(zip(written(one), written(other), strict=True)))
    past.read_file("/a", mixed, (6, 7))
    assert judged(past) == []


def test_a_write_in_doubt_may_come_and_go_until_another_covers_it():
    past = Past()
    file = past.create("/a", (0, 1))
    first = past.write(file, 0, 100, (2, 3))
    doubtful = past.write(file, 0, 100, (4, 5), answer=Answer.DOUBTFUL)
    past.read_file("/a", written(doubtful), (6, 7))
    past.read_file("/a", written(first), (8, 9))
    past.read_file("/a", written(doubtful), (10, 11))
    assert judged(past) == []
    late = 5 + LATE_SECONDS
    cover = past.write(file, 0, 100, (late + 1, late + 2))
    past.read_file("/a", written(cover), (late + 3, late + 4))
    assert judged(past) == []
    past.read_file("/a", written(doubtful), (late + 5, late + 6))
    assert judged(past) == ["contents"]


def test_a_write_that_was_never_answered_may_be_seen():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 100, (2, 3), answer=Answer.NEVER)
    past.read_file("/a", written(write), (4, 5))
    assert judged(past) == []


def test_a_refused_write_that_is_seen_is_a_violation():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 100, (2, 3), answer=Answer.REFUSED)
    past.read_file("/a", written(write), (4, 5))
    assert judged(past) == ["contents"]


def test_a_write_cannot_be_read_before_it_was_asked_for():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 100, (5, 6))
    past.read_file("/a", written(write), (3, 4))
    assert judged(past) == ["contents"]


def test_a_handle_may_be_behind_what_others_wrote_but_not_for_long():
    past = Past()
    file = past.create("/a", (0, 1))
    old = past.write(file, 0, 100, (2, 3))
    past.write(file, 0, 100, (100, 101), client="two")
    past.read(file, 0, 100, written(old), (120, 121))
    assert judged(past) == []
    past.read(file, 0, 100, written(old), (180, 181))
    assert judged(past) == ["contents"]


def test_a_handle_is_never_behind_its_own_writes():
    past = Past()
    file = past.create("/a", (0, 1))
    old = past.write(file, 0, 100, (2, 3))
    past.write(file, 0, 100, (100, 101))
    past.read(file, 0, 100, written(old), (102, 103))
    assert judged(past) == ["contents"]


def test_a_range_that_ends_early_says_where_the_file_ends():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 100, (2, 3))
    past.read(file, 50, 100, written(write, 50), (4, 5))
    assert judged(past) == []
    past.read(file, 50, 100, written(write, 50, 90), (6, 7))
    assert judged(past) == ["contents"]


@pytest.mark.parametrize(("length", "expected"), [(100, []), (99, ["lengths"]), (101, ["lengths"])])
def test_a_length_is_that_of_the_last_write(length: int, expected: list[str]):
    past = Past()
    file = past.create("/a", (0, 1))
    past.write(file, 0, 100, (2, 3))
    past.stat("/a", (4, 5), file, length)
    assert judged(past) == expected


def test_half_of_one_file_and_half_of_another_is_no_file():
    past = Past()
    one = past.create("/a", (0, 1))
    first = past.write(one, 0, 1000, (2, 3))
    other = past.create("/b", (4, 5))
    second = past.write(other, 0, 1000, (6, 7))
    past.read_file("/a", written(first, 0, 500) + written(second, 500), (8, 9))
    assert judged(past) == ["contents"]


# What a power cut may take.

GRANT = Grant(1.5, 42, ("cs1", "cs2"))


def cut_past(read_at: float = 30.0) -> Past:
    past = Past()
    file = past.create("/a", (0, 1))
    past.write(file, 0, 100, (2, 3))
    past.read_file("/a", b"", (read_at, read_at + 1))
    return past


def cut_facts(*cuts: PowerCut, durability: str = "replicated", hindrances: tuple[Hindrance, ...] = ()) -> Facts:
    return facts(durability=durability, grants=(GRANT,), cuts=cuts, hindrances=hindrances, handles={(1, 0): 42})


def test_a_power_cut_of_all_replicas_may_take_the_last_seconds():
    both = (PowerCut(5, "cs1"), PowerCut(6, "cs2"))
    assert judged(cut_past(), cut_facts(*both)) == []


def test_a_power_cut_of_one_replica_takes_nothing():
    assert judged(cut_past(), cut_facts(PowerCut(5, "cs1"))) == ["contents"]


def test_a_late_power_cut_takes_nothing():
    both = (PowerCut(20, "cs1"), PowerCut(20, "cs2"))
    assert judged(cut_past(), cut_facts(*both)) == ["contents"]


def test_with_fsync_a_power_cut_takes_nothing():
    both = (PowerCut(5, "cs1"), PowerCut(5, "cs2"))
    assert judged(cut_past(), cut_facts(*both, durability="fsync")) == ["contents"]


def test_before_the_power_cut_nothing_is_missing():
    both = (PowerCut(5, "cs1"), PowerCut(6, "cs2"))
    assert judged(cut_past(read_at=3.5), cut_facts(*both)) == ["contents"]


def test_a_server_that_stood_still_synced_later():
    both = (PowerCut(20, "cs1"), PowerCut(20, "cs2"))
    still = tuple(Hindrance(4, 19, server) for server in ("cs1", "cs2"))
    assert judged(cut_past(), cut_facts(*both, hindrances=still)) == []


def test_the_grant_of_the_write_decides_which_servers_count():
    losses = Losses("replicated", (GRANT, Grant(8, 42, ("cs3",))), (PowerCut(12, "cs3"),))
    assert losses.may_be_lost_from(42, 2, 3) == FOREVER
    assert losses.may_be_lost_from(42, 10, 11) == 12


def given_up(past: Past, *, is_taken: bool, later: Answer) -> tuple[Operation, Operation]:
    """A write whose caller gave up, and a later one through the same open file."""
    file = past.create("/a", (0, 1))
    first = past.write(file, 0, 1000, (2, 3), answer=Answer.DOUBTFUL)
    first.is_given_up, first.is_taken, first.handle = True, is_taken, file.number
    second = past.write(file, 1000, 10, (200, 201), answer=later)
    second.handle = file.number
    return first, second


def test_a_given_up_write_whose_bytes_were_taken_is_acknowledged_by_the_next_call_that_flushes():
    past = Past()
    _, second = given_up(past, is_taken=True, later=Answer.VALUE)
    past.read_file("/a", bytes(1000) + written(second), (204, 205))
    assert judged(past) == ["contents"]


def test_a_given_up_write_whose_bytes_were_not_all_taken_stays_in_doubt():
    past = Past()
    first, second = given_up(past, is_taken=False, later=Answer.VALUE)
    past.read_file("/a", bytes(1000) + written(second), (204, 205))
    past.read_file("/a", written(first, 0, 500) + bytes(500) + written(second), (206, 207))
    assert judged(past) == []


def test_a_given_up_write_may_be_sent_by_a_later_call_however_late():
    past = Past()
    first, second = given_up(past, is_taken=True, later=Answer.DOUBTFUL)
    past.read_file("/a", bytes(1000) + written(second), (204, 205))
    past.read_file("/a", written(first) + written(second), (300, 301))
    assert judged(past) == []
