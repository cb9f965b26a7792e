"""GFS 6.2.1, Table 2: metadata at the master and at its chunkservers, of a cluster of hundreds of servers."""

import random
from dataclasses import replace

import pytest

from cluster.paper.metadata import filled, measure_metadata, replica_bytes
from cluster.paper.printed import MOST_BYTES_A_ENTRY, TABLE_2, TABLE_2_FACTOR
from runtime.errors import InvalidRequest

A = TABLE_2["A"]


def test_a_filled_master_holds_what_table_2_says_and_is_in_order():
    state = filled(A, 0.002, random.Random(1))
    state.check_invariants()
    totals = state.snapshot().totals
    assert (totals.files + totals.hidden_files, totals.hidden_files) == (1470 + 44, 44)
    assert len(state.chunks) == 1984
    assert all(len(state.chunks.replicas(handle)) == 3 for handle in state.chunks.handles())


def test_the_tables_are_within_a_factor_of_two_of_the_papers():
    found = measure_metadata(A, share=0.01)
    assert A.master_bytes / TABLE_2_FACTOR < found.tables < A.master_bytes * TABLE_2_FACTOR
    assert A.chunkserver_bytes / TABLE_2_FACTOR < found.chunkservers < A.chunkserver_bytes * TABLE_2_FACTOR
    assert found.names / (A.files + A.dead_files) < MOST_BYTES_A_ENTRY
    assert (found.chunks + found.locations) / A.chunks < MOST_BYTES_A_ENTRY
    assert found.tables < found.checkpoint + found.locations < found.memory, "Python's objects are larger"


def test_a_full_replica_has_a_checksum_for_each_of_its_1024_blocks():
    assert 4 * 1024 < replica_bytes() < 2 * 4 * 1024


def test_a_share_that_makes_no_sense_is_refused():
    for share in (0, -1, 1.5):
        with pytest.raises(InvalidRequest, match="share"):
            measure_metadata(replace(A, files=10), share=share)
