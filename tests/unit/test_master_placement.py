"""Placement, as a pure function (the paper's rules are in tests/paper/test_gfs_4_2_placement.py)."""

from master.balance.placement import Candidate, plan_placement, plan_removal


def server(name: str, rack: str = "", *, free: int = 90, recent: float = 0.0, total: int = 100) -> Candidate:
    return Candidate(name, rack, total, free, recent)


def test_a_server_without_space_is_never_chosen() -> None:
    assert plan_placement([server("cs1", free=5), server("cs2")], count=2, needed_bytes=10) == ("cs2",)
    assert plan_placement([server("cs1", free=5)], count=1, needed_bytes=10) == ()
    assert plan_placement([server("cs1", free=0, total=0)], count=1, needed_bytes=1) == ()


def test_holders_are_not_chosen_again_and_their_racks_count_as_taken() -> None:
    servers = [server("cs1", "a"), server("cs2", "a"), server("cs3", "b")]
    assert plan_placement(servers, count=1, needed_bytes=1, present=[servers[0]]) == ("cs3",)


def test_a_hundred_creations_are_spread_evenly() -> None:
    counts = {f"cs{number}": 0 for number in range(5)}
    for _ in range(100):
        servers = [server(name, recent=float(count)) for name, count in counts.items()]
        for name in plan_placement(servers, count=3, needed_bytes=1):
            counts[name] += 1
    assert sum(counts.values()) == 300 and max(counts.values()) - min(counts.values()) <= 4


def test_removal_takes_from_the_crowded_rack_then_from_the_fullest_disk() -> None:
    holders = [server("cs1", "a", free=90), server("cs2", "a", free=20), server("cs3", "b", free=5)]
    assert plan_removal(holders, count=1) == ("cs2",)
    assert plan_removal(holders, count=2) == ("cs2", "cs3")


def test_a_server_at_which_a_replica_could_not_be_made_is_the_last_choice() -> None:
    servers = [
        Candidate("cs1", "a", total=100, free=90, recent_creations=0),
        Candidate("cs2", "a", total=100, free=20, recent_creations=9),
        Candidate("cs3", "b", total=100, free=99, recent_creations=0, is_troubled=True),
    ]
    assert plan_placement(servers, count=2, needed_bytes=10) == ("cs1", "cs2")
    assert plan_placement(servers, count=3, needed_bytes=10) == ("cs1", "cs2", "cs3")
