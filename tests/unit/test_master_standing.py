"""How a chunk stands, and which replica breaks a rule of racks, as pure functions."""

from master.balance.placement import Candidate, Move
from master.balance.racks import Topology
from master.balance.standing import DRAINED, HOT, MISPLACED, MOVED, misplaced_replica, plan_standing

THREE = ("cs1", "cs2", "cs3")


def test_a_chunk_with_its_goal_needs_nothing() -> None:
    standing = plan_standing(goal=3, replicas=THREE)
    assert not standing.lacks and standing.excess == 0


def test_a_leaving_replica_is_needed_until_there_are_enough_others() -> None:
    before = plan_standing(goal=3, replicas=THREE, leaving=("cs1",))
    assert before.lacks and before.excess == 0 and before.leaving == ("cs1",)
    after = plan_standing(goal=3, replicas=(*THREE, "cs4"), leaving=("cs1",))
    assert not after.lacks and after.excess == 1


def test_the_most_urgent_reason_is_acted_upon_alone() -> None:
    move = Move(1, "cs2", "cs9")
    facts = {"goal": 3, "replicas": THREE, "extra": 0, "misplaced": "cs1", "move": move}
    assert plan_standing(**facts, leaving=("cs3",)).leaving == ("cs3",)  # type: ignore[arg-type]
    assert plan_standing(**facts).urgency == MISPLACED  # type: ignore[arg-type]
    assert plan_standing(**facts | {"misplaced": "", "extra": 1}).urgency == HOT  # type: ignore[arg-type]
    found = plan_standing(**facts | {"misplaced": ""})  # type: ignore[arg-type]
    assert (found.urgency, found.leaving, found.destination) == (MOVED, ("cs2",), "cs9")
    lacking = plan_standing(goal=3, replicas=("cs1", "cs2"), misplaced="cs1", move=move)
    assert (lacking.urgency, lacking.leaving) == (DRAINED, ()), "a chunk that lacks a copy has nothing to give away"


def test_a_move_is_over_when_its_source_has_left() -> None:
    move = Move(1, "cs2", "cs4")
    done = plan_standing(goal=3, replicas=("cs1", "cs2", "cs3", "cs4"), move=move)
    assert done.leaving == ("cs2",) and done.excess == 1
    assert plan_standing(goal=3, replicas=("cs1", "cs3", "cs4"), move=move).leaving == ()


def server(name: str, rack: str, centre: str = "", *, free: int = 90) -> Candidate:
    return Candidate(name, rack, 100, free, 0.0, data_centre=centre)


def test_a_copy_is_misplaced_only_if_a_better_place_has_room() -> None:
    holders = [server("cs1", "a"), server("cs2", "a")]
    near, far, full = server("cs3", "a"), server("cs4", "b"), server("cs4", "b", free=0)
    for others, expected in (([near], False), ([near, far], True), ([near, full], False)):
        topology = Topology(one.place for one in (*holders, *others))
        assert bool(misplaced_replica(holders, others, topology, needed_bytes=10)) == expected


def test_two_copies_in_one_rack_of_a_data_centre_are_one_too_many_there() -> None:
    holders = [server("cs1", "a", "x", free=50), server("cs2", "a", "x"), server("cs3", "c", "y")]
    others = [server("cs4", "b", "x")]
    topology = Topology(one.place for one in (*holders, *others))
    assert misplaced_replica(holders, others, topology, needed_bytes=10) == "cs1", "from the fuller disk"
