"""Figure 3 of the GFS paper in small: what more clients get comes out of contention, and of nothing else (GFS 6.1)."""

from dataclasses import replace
from functools import cache

import pytest

from cluster.paper.comparing import compare
from cluster.paper.machines import Machines
from cluster.paper.printed import APPENDS, FIGURE_3, READS, WRITES
from cluster.paper.throughput import Curve, Plan, measure

SMALL = Machines(page_cache_bytes=5 << 20)
CLIENTS = {READS: (1, 16), WRITES: (1, 8), APPENDS: (4, 12)}


@cache
def rates(kind, machines=SMALL, operations=16):
    """MB/s by number of clients."""
    [curve] = measure(Plan((kind,), CLIENTS[kind], operations, machines=machines))
    return curve.rates


@pytest.mark.parametrize("kind", [READS, WRITES])
def test_one_client_is_as_fast_as_the_papers_because_it_was_calibrated_by_it(kind):
    assert rates(kind)[1] == pytest.approx(FIGURE_3[kind][0], rel=0.06)


def test_many_readers_meet_on_servers_and_stay_below_the_limit():
    found = rates(READS)
    assert 8 * found[1] < found[16] < 11 * found[1], "neither sixteen times as much, nor held up by one server"
    row = compare(Curve(READS, 0.0, found))[-1]
    assert row.clients == 16 and row.ours < row.limit and abs(row.deviation) < 0.15


def test_writers_meet_because_each_byte_goes_to_three_servers():
    found = rates(WRITES)
    assert 3 < found[8] / found[1] < 6


def test_appends_to_one_file_stay_below_the_card_of_the_servers_of_its_last_chunk():
    found = rates(APPENDS)
    assert max(found.values()) < 12.5
    assert found[12] < 1.1 * found[4], "more clients bring nothing more"


def test_with_cards_ten_times_as_fast_nothing_of_this_is_seen():
    """The bends come from the cards: without them writers do not hinder one another."""
    fast = replace(SMALL, card_bytes_per_second=125e6, link_bytes_per_second=0.0, disk_bytes_per_second=1e9)
    found = rates(WRITES, fast)
    assert found[8] > 7 * found[1]
