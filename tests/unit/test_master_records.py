"""The operation log's records as bytes."""

import contextlib
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.log.records import (
    FORMAT,
    KINDS,
    READABLE_FORMATS,
    AdmissionAttempted,
    AdmissionConfirmed,
    ChunkAllocated,
    ChunkReplaced,
    DirectoriesMade,
    EntryMoved,
    EntryRemoved,
    EpochBegun,
    FileCreated,
    FileSystemFounded,
    FileWithChunkCreated,
    GoalChanged,
    HandlesReserved,
    LogOpened,
    NamespaceFounded,
    PolicySet,
    Record,
    ReplicaAdded,
    SafeModeSet,
    SnapshotTaken,
    SnapshotTakenAt,
    TenureBegun,
    VersionConfirmed,
    decode,
    encode,
)
from runtime.errors import Corrupted, IncompatibleFormat

INTS = st.integers(0, 2**64 - 1)
TEXTS = st.text(max_size=50).filter(lambda text: text.isprintable())
BY_TYPE = {int: INTS, str: TEXTS, tuple[str, ...]: st.lists(TEXTS, max_size=5).map(tuple)}
RECORDS = st.one_of(*(st.builds(kind, *(BY_TYPE[field.type] for field in fields(kind))) for kind in KINDS.values()))


@given(RECORDS)
def test_every_record_comes_back_as_it_was(record: Record) -> None:
    assert decode(encode(record)) == record


@given(RECORDS, st.data())
def test_a_shortened_record_is_refused(record: Record, data: st.DataObject) -> None:
    whole = encode(record)
    with pytest.raises((Corrupted, IncompatibleFormat)):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(Corrupted, match="expected"):
        decode(whole + b"x")


@given(st.binary(max_size=60))
def test_foreign_bytes_are_refused_with_one_of_our_errors(payload: bytes) -> None:
    with contextlib.suppress(Corrupted, IncompatibleFormat):
        decode(payload)


def test_the_format_on_disk_does_not_change_by_accident() -> None:
    assert encode(LogOpened(1, "t")).hex() == "010100000000000000010074"
    request = "0700000000000000" + "0900000000000000" + "0800000000000000"
    assert (
        encode(FileCreated("/a", 3, 5, 4, 7, 9, 8)).hex()
        == "0202002f61" + "0300000000000000" + "0500000000000000" + "0400000000000000" + request
    )
    assert encode(DirectoriesMade(("/a",), 5, 7, 9, 8)).hex() == "03010002002f610500000000000000" + request
    assert encode(EntryMoved("/a", "/b", "", 1, 7, 9, 8)).hex() == "0402002f6102002f6200000100000000000000" + request
    assert encode(EntryRemoved("/a", 1, 7, 9, 8)).hex() == "0502002f610100000000000000" + request
    assert encode(HandlesReserved(9)).hex() == "060900000000000000"
    assert (
        encode(ChunkAllocated("/a", 0, 9, 1, ("c",))).hex()
        == "0702002f61" + "0000000000000000" + "0900000000000000" + "0100000000000000" + "0100010063"
    )
    assert encode(VersionConfirmed(9, 1, ("c",))).hex() == "0909000000000000000100000000000000" + "0100010063"
    assert encode(NamespaceFounded(9)).hex() == "0b0900000000000000"
    assert encode(EpochBegun(9)).hex() == "0c0900000000000000"
    assert encode(ReplicaAdded(9, "c")).hex() == "0d0900000000000000010063"
    goals = "02000000000000000300000000000000"
    assert encode(GoalChanged("/a", 2, 3, 7, 9, 8)).hex() == "0e02002f61" + goals + request
    confirmed = "0f09000000000000000100000000000000" + "0100010063"
    assert encode(AdmissionConfirmed(9, 1, ("c",), 7, 9, 8)).hex() == confirmed + request
    created = "1002002f61" + "0300000000000000" + "0500000000000000" + "0400000000000000" + "0900000000000000"
    assert encode(FileWithChunkCreated("/a", 3, 5, 4, 9, ("c",), 7, 9, 8)).hex() == created + "0100010063" + request
    assert encode(AdmissionAttempted(9, 2)).hex() == "1209000000000000000200000000000000"
    assert encode(FileSystemFounded(9, 65536)).hex() == "1109000000000000000000010000000000"
    assert encode(TenureBegun(9, 8, "m")).hex() == "1f0900000000000000080000000000000001006d"
    policy = "1802002f61" + "02000000000000000100000000000000100e000000000000"
    assert encode(PolicySet("/a", 2, 1, 3600, 7, 9, 8)).hex() == policy + request
    assert encode(SafeModeSet(1, 7, 9, 8)).hex() == "190100000000000000" + request
    shared = "1402002f6102002f62" + "0400000000000000" + "0100000000000000"
    assert encode(SnapshotTaken("/a", "/b", 4, 1, 7, 9, 8)).hex() == shared + request
    replaced = "1502002f61" + "0000000000000000" + "0900000000000000" + "0100000000000000" + "0100010063"
    assert encode(ChunkReplaced("/a", 0, 9, 1, ("c",))).hex() == replaced
    taken = SnapshotTakenAt("/a", "/b", 4, 1, 7, 9, 8, taken_microseconds=5)
    assert encode(taken).hex() == "28" + shared[2:] + request + "0500000000000000" and decode(encode(taken)) == taken
    assert (FORMAT, READABLE_FORMATS, max(KINDS)) == (8, (2, 3, 4, 5, 6, 7, 8), 40)


def test_a_kind_from_the_future_is_named() -> None:
    with pytest.raises(IncompatibleFormat, match="kind 200"):
        decode(bytes([200]))
