"""Consistent hashing, as pure functions."""

import random

from master.balance.hashing import ByHash, Ring
from master.balance.placement import Candidate, Move, Stored

SERVERS = [Candidate(f"cs{number}", "", 1000, 900, 0.0) for number in range(1, 9)]


def chosen(servers: list[Candidate], count: int = 3) -> dict[int, tuple[str, ...]]:
    policy = ByHash()
    return {handle: policy.choose(servers, handle=handle, count=count, needed_bytes=1) for handle in range(400)}


def test_the_order_of_the_candidates_changes_nothing() -> None:
    shuffled = random.Random(1).sample(SERVERS, k=len(SERVERS))
    assert chosen(SERVERS) == chosen(shuffled)


def test_when_a_server_joins_few_copies_belong_elsewhere_and_all_of_them_to_it() -> None:
    before, after = chosen(SERVERS[:7]), chosen(SERVERS)
    moved = [set(after[handle]) - set(before[handle]) for handle in before]
    assert all(names <= {"cs8"} for names in moved)
    assert 400 * 3 / 8 * 0.5 < sum(map(len, moved)) < 400 * 3 / 8 * 1.6


def test_servers_that_were_known_once_do_not_disturb_the_order() -> None:
    policy = ByHash()
    policy.choose(SERVERS, handle=1, count=3, needed_bytes=1)
    found = {handle: policy.choose(SERVERS[:5], handle=handle, count=3, needed_bytes=1) for handle in range(400)}
    assert found == chosen(SERVERS[:5])


def test_a_server_without_room_is_passed_over() -> None:
    full = [Candidate("cs1", "", 1000, 0, 0.0), *SERVERS[1:]]
    assert all("cs1" not in names for names in chosen(full).values())


def test_a_move_leads_to_where_the_ring_has_the_chunk() -> None:
    policy = ByHash()
    belongs = policy.choose(SERVERS, handle=5, count=3, needed_bytes=10)
    other = next(server.name for server in SERVERS if server.name not in belongs)
    astray = Stored(5, 10, (*belongs[:2], other))
    assert policy.moves(SERVERS, [astray], loads={}, most=9) == [Move(5, other, belongs[2])]
    assert policy.moves(SERVERS, [Stored(5, 10, belongs)], loads={}, most=9) == []


def test_every_server_is_on_the_ring_once_in_each_order() -> None:
    ring = Ring([server.name for server in SERVERS], 4)
    for handle in range(50):
        assert sorted(ring.order(handle)) == sorted(server.name for server in SERVERS)
