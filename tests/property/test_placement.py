"""Both placement policies against all sets of servers that they could have chosen."""

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from master.balance.placement import Candidate, Policy, Stored
from master.balance.placement_policies import POLICIES, policy_of
from master.balance.racks import Place, Topology
from master.balance.standing import misplaced_replica

PLACES = [Place("x", "a"), Place("x", "b"), Place("y", "c"), Place("y", "d"), Place("z", "e")]


@st.composite
def servers(draw: st.DrawFn) -> list[Candidate]:
    places = draw(st.lists(st.sampled_from(PLACES[: draw(st.integers(1, 5))]), min_size=1, max_size=7))
    return [
        Candidate(
            f"cs{number}", place.rack, 100, draw(st.integers(0, 100)), draw(st.integers(0, 9)), False, place.data_centre
        )
        for number, place in enumerate(places)
    ]


def policies() -> st.SearchStrategy[Policy]:
    return st.sampled_from(POLICIES).map(policy_of)


def breaks(chosen: Sequence[Candidate], known: Sequence[Candidate]) -> int:
    return Topology(server.place for server in known).breaks([server.place for server in chosen])


@settings(deadline=None)
@given(servers(), policies(), st.integers(1, 4), st.integers(0, 50))
def test_what_is_chosen_has_room_and_no_other_set_keeps_the_rule_better(
    known: list[Candidate], policy: Policy, count: int, handle: int
) -> None:
    names = policy.choose(known, handle=handle, count=count, needed_bytes=20)
    fitting = [server for server in known if server.free >= 20]
    assert len(names) == len(set(names)) == min(count, len(fitting))
    chosen = [server for server in fitting if server.name in names]
    assert len(chosen) == len(names)
    least = min((breaks(some, fitting) for some in combinations(fitting, len(names))), default=0)
    assert breaks(chosen, fitting) == least


@settings(deadline=None)
@given(servers(), policies(), st.integers(0, 50), st.data())
def test_what_is_removed_leaves_a_set_that_no_other_removal_betters(
    holders: list[Candidate], policy: Policy, handle: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, 1 if len(holders) > 1 else 0))
    topology = Topology(server.place for server in holders)
    gone = policy.remove(holders, handle=handle, count=count, topology=topology)
    assert len(gone) == len(set(gone)) == count
    left = [server.place for server in holders if server.name not in gone]
    others = combinations([server.place for server in holders], len(holders) - count)
    assert topology.breaks(left) == min(map(topology.breaks, map(list, others)))


@settings(deadline=None)
@given(servers(), policies(), st.lists(st.integers(1, 30), min_size=1, max_size=12), st.data())
def test_moves_end_and_never_break_the_rule(
    known: list[Candidate], policy: Policy, sizes: list[int], data: st.DataObject
) -> None:
    chunks = {}
    for handle, size in enumerate(sizes):
        names = data.draw(st.permutations([server.name for server in known]))[:2]
        chunks[handle] = Stored(handle, size, tuple(names))
    {server.name: server for server in known}
    for _ in range(200):
        loads: dict[str, int] = {}
        for chunk in chunks.values():
            for name in chunk.replicas:
                loads[name] = loads.get(name, 0) + chunk.length
        planned = policy.moves(known, list(chunks.values()), loads=loads, most=3)
        if not planned:
            return
        for move in planned:
            before = chunks[move.handle]
            assert move.source in before.replicas and move.destination not in before.replicas
            kept = tuple(name for name in before.replicas if name != move.source)
            chunks[move.handle] = Stored(move.handle, before.length, (*kept, move.destination))
    raise AssertionError("moves without end")


@settings(deadline=None)
@given(servers(), st.data())
def test_a_chunk_is_misplaced_exactly_if_one_move_would_keep_the_rule_better(
    known: list[Candidate], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(known))
    holders, others = order[:2], order[2:]
    topology = Topology(server.place for server in known)
    before = topology.breaks([server.place for server in holders])
    able = [server for server in others if server.free >= 20]
    better = any(
        topology.breaks([*(other.place for other in holders if other is not gone), new.place]) < before
        for gone in holders
        for new in able
    )
    assert bool(misplaced_replica(holders, others, topology, needed_bytes=20)) == better
