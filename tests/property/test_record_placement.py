"""Where records go, against a model of three replicas, each of which may miss any mutation (GFS 3.3)."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from chunkserver.mutation.appending import Place, plan_append
from chunkserver.mutation.leases import LeaseTable

CAPACITY = 40
REPLICAS = 3


@dataclass
class Mutation:
    """A mutation that was ordered, and on which replicas it is applied when its turn comes."""

    serial: int
    offset: int
    data: bytes
    where: frozenset[int]
    is_padding: bool


def apply(replica: bytearray, mutation: Mutation) -> None:
    """As a chunkserver does: a gap reads as zeros."""
    end = mutation.offset + len(mutation.data)
    replica.extend(bytes(max(0, end - len(replica))))
    replica[mutation.offset : end] = mutation.data


@st.composite
def events(draw: st.DrawFn) -> list[tuple[str, int, frozenset[int]]]:
    """Records that are appended, with the replicas that will apply them, and mutations in flight that are decided."""
    found = []
    for _ in range(draw(st.integers(1, 60))):
        kind = draw(st.sampled_from(["append", "append", "decide"]))
        everywhere = frozenset(range(REPLICAS))
        where = everywhere if draw(st.booleans()) else draw(st.frozensets(st.integers(0, REPLICAS - 1)))
        found.append((kind, draw(st.integers(0, CAPACITY // 4 - 1)), where))
    return found


@given(st.integers(0, CAPACITY), events())
@settings(deadline=None)
def test_what_was_acknowledged_stays_on_every_replica_and_full_means_full(
    begin: int, drawn: list[tuple[str, int, frozenset[int]]]
):
    table = LeaseTable()
    table.begin_version(7, 1)
    lease = table.grant(7, version=1, secondaries=(), seconds=60.0, now=0.0)
    replicas = [bytearray(b"o" * begin) for _ in range(REPLICAS)]
    table.begin_mutation(lease, begin)
    flight: list[Mutation] = []
    acknowledged: dict[int, bytes] = {0: b"o" * begin}
    for letter, (kind, number, where) in enumerate(drawn, 1):
        if kind == "decide":
            if flight:
                mutation = flight.pop(number % len(flight))
                is_everywhere = len(mutation.where) == REPLICAS
                table.decided(lease, mutation.serial, is_everywhere=is_everywhere, is_nowhere=not mutation.where)
                if is_everywhere and not mutation.is_padding:
                    acknowledged[mutation.offset] = mutation.data
        else:
            record = bytes([letter]) * (number + 1)
            placed = plan_append(lease, len(record), CAPACITY)
            if placed.place is Place.LATER:
                assert flight, "somebody's end is waited for"
            elif placed.place is Place.FULL:
                assert all(len(replica) == CAPACITY for replica in replicas)
            else:
                is_padding = placed.place is Place.PADDING
                data = bytes(CAPACITY - placed.offset) if is_padding else record
                end = placed.offset + len(data)
                assert end <= CAPACITY
                for other in flight:
                    assert other.offset + len(other.data) <= placed.offset, "it overlaps one that is in flight"
                serial = table.next_serial(lease, 0.0, end=end)
                flight.append(Mutation(serial, placed.offset, data, where, is_padding))
                for index in sorted(where):  # Each replica applies in the order of the numbers.
                    assert len(replicas[index]) >= lease.sound_end, "a replica is shorter than it must be"
                    apply(replicas[index], flight[-1])
        for offset, data in acknowledged.items():
            assert all(replica[offset : offset + len(data)] == data for replica in replicas)
        table.check_invariants()
