"""Blocks and checksums, against a plain model that computes everything anew."""

import random

from hypothesis import given
from hypothesis import strategies as st

from chunkserver.storage.blocks import (
    BLOCK_BYTES,
    block_count,
    block_extent,
    plan_write,
    updated_checksums,
)
from chunkserver.storage.payload_checksums import PayloadChecksums
from runtime.bulk import checksums_of

NEAR_EDGES = st.sampled_from([0, 1, 100, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 150_000])


@given(
    length=NEAR_EDGES,
    offset=NEAR_EDGES,
    count=NEAR_EDGES.filter(bool),
    seed=st.integers(0, 3),
    come_with_checksums=st.booleans(),
)
def test_checksums_after_a_write_are_those_of_the_whole_chunk_computed_anew(
    length, offset, count, seed, come_with_checksums
):
    source = random.Random(seed)
    old, data = source.randbytes(length), source.randbytes(count)
    new = bytearray(old) + bytes(max(0, offset + count - length))
    new[offset : offset + count] = data
    plan = plan_write(length=length, offset=offset, count=count)
    checksums = checksums_of(old)
    verified = {block: old[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES] for block in plan.to_verify}
    known = checksums_of(data) if come_with_checksums else None
    updated = updated_checksums(checksums, data, length=length, offset=offset, verified=verified, known=known)
    checksums[plan.first_block : plan.end_block] = updated
    assert checksums == checksums_of(new)
    assert plan.length == len(new)
    assert plan.overwrites == (offset < length)


@given(parts=st.lists(st.binary(min_size=1, max_size=90_000), max_size=5))
def test_payload_checksums_do_not_depend_on_how_the_payload_was_cut(parts):
    payload = PayloadChecksums()
    for part in parts:
        payload.add(memoryview(part))
    assert payload.all() == checksums_of(b"".join(parts))


def test_an_append_needs_no_block_to_be_read():
    assert plan_write(length=100, offset=100, count=3 * BLOCK_BYTES).to_verify == ()


def test_an_overwrite_reads_exactly_the_blocks_of_which_a_part_stays():
    assert plan_write(length=5 * BLOCK_BYTES, offset=BLOCK_BYTES, count=BLOCK_BYTES).to_verify == ()
    assert plan_write(length=5 * BLOCK_BYTES, offset=BLOCK_BYTES + 1, count=3 * BLOCK_BYTES).to_verify == (1, 4)
    assert plan_write(length=5 * BLOCK_BYTES, offset=BLOCK_BYTES + 1, count=5).to_verify == (1,)


def test_extents_add_up_to_the_length():
    length = 3 * BLOCK_BYTES + 17
    assert sum(block_extent(block, length) for block in range(10)) == length
    assert block_count(length) == 4 and block_count(0) == 0
