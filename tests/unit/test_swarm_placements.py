"""The judges of where copies are refuse what they must."""

from typing import Any

from cluster.swarm.history import Kind
from cluster.swarm.placements import STORIES, left_on_drained, unspread
from cluster.swarm.plan import PlannedOperation, Setup
from master.balance.racks import Place
from master.chunks.chunk_table import ChunkTable
from master.chunks.replicas import ReplicaState, ReplicaTable


class _Named:
    def __init__(self, **facts: Any) -> None:
        self.__dict__.update(facts)


def core(places: dict[str, Place], *replicas: str, draining: tuple[str, ...] = ()) -> Any:
    """A master's memory with one chunk."""
    chunks = ChunkTable()
    handle = chunks.reserve_handle()
    chunks.create(handle, goal=len(replicas))
    table = ReplicaTable(chunks)
    for name in replicas:
        table.change(handle, name, ReplicaState.CURRENT)
    servers = [_Named(name=name, place=place) for name, place in places.items()]
    state = _Named(chunks=chunks, draining=dict.fromkeys(draining))
    return _Named(state=state, servers=_Named(all=lambda: servers))


RACKS = {"cs1": Place("", "a"), "cs2": Place("", "a"), "cs3": Place("", "b")}
CENTRES = {
    "cs1": Place("x", "a"),
    "cs2": Place("x", "a"),
    "cs3": Place("x", "b"),
    "cs4": Place("y", "c"),
}


def test_copies_in_one_rack_of_several_are_found() -> None:
    assert unspread(core(RACKS, "cs1", "cs2"))
    assert not unspread(core(RACKS, "cs1", "cs3"))
    assert not unspread(core({name: Place("", "a") for name in RACKS}, "cs1", "cs2"))


def test_copies_in_one_data_centre_or_in_one_rack_of_it_are_found() -> None:
    assert unspread(core(CENTRES, "cs1", "cs3"))
    assert unspread(core(CENTRES, "cs1", "cs2", "cs4"))
    assert not unspread(core(CENTRES, "cs1", "cs3", "cs4"))


def test_a_copy_on_a_drained_server_is_found_and_does_not_count_for_the_rule() -> None:
    assert left_on_drained(core(RACKS, "cs1", "cs3", draining=("cs3",)))
    assert not left_on_drained(core(RACKS, "cs1", "cs2", draining=("cs3",)))
    assert not unspread(core(RACKS, "cs1", "cs2", draining=("cs3",))), "the other rack has nobody who stays"


def test_seeds_without_these_stories_are_what_they_would_be_without() -> None:
    setup = Setup()
    operations = tuple(PlannedOperation(f"client{number}", 0.0, Kind.STAT, "/a") for number in (1, 2, 3))
    found = [[story(seed, setup, operations, ()) for story in STORIES] for seed in range(300)]
    unchanged = [seed for seed, drawn in enumerate(found) if all(one == (setup, operations, ()) for one in drawn)]
    assert 60 <= len(unchanged) <= 200
