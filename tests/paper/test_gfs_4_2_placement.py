"""GFS 4.2: where the replicas of a new chunk go."""

import pytest

from master.balance.placement import Candidate, plan_placement
from master.balance.placement_policies import POLICIES, policy_of
from tests.unit.master_fakes import Scene, played


def server(name: str, rack: str, *, use: float = 0.5, recent: float = 0.0) -> Candidate:
    return Candidate(name, rack, total=1000, free=int(1000 * (1 - use)), recent_creations=recent)


def test_servers_with_below_average_disk_use_come_first() -> None:
    servers = [server("cs1", "a", use=0.9), server("cs2", "a", use=0.2), server("cs3", "a", use=0.3)]
    assert set(plan_placement(servers, count=2, needed_bytes=1)) == {"cs2", "cs3"}


def test_recent_creations_on_each_server_are_limited() -> None:
    # cs1 has just joined, empty: it does not receive every new chunk.
    servers = [server("cs1", "a", use=0.4, recent=5.0), server("cs2", "a", use=0.41), server("cs3", "a", use=0.42)]
    assert "cs1" not in plan_placement(servers, count=2, needed_bytes=1)


def test_replicas_are_spread_across_racks() -> None:
    servers = [server(f"cs{number}", "ab"[number > 3], use=0.1 * number) for number in range(1, 7)]
    chosen = plan_placement(servers, count=3, needed_bytes=1)
    racks = [candidate.rack for name in chosen for candidate in servers if candidate.name == name]
    assert sorted(racks) in (["a", "a", "b"], ["a", "b", "b"])


def test_with_one_rack_the_rule_about_racks_stops_nothing() -> None:
    servers = [server(f"cs{number}", "") for number in range(3)]
    assert len(plan_placement(servers, count=3, needed_bytes=1)) == 3


@played(racks={"cs1": "a", "cs2": "a", "cs3": "a", "cs4": "b"})
async def test_every_chunk_survives_the_loss_of_a_rack(scene: Scene) -> None:
    for number in range(20):
        await scene.create(f"/{number}")
        lease = await scene.lease(f"/{number}")
        assert "cs4" in scene.replicas(lease.handle)


@played(chunkservers=6)
async def test_new_chunks_and_primaries_are_shared_out_evenly(scene: Scene) -> None:
    for number in range(60):
        await scene.create(f"/{number}")
        await scene.lease(f"/{number}")
    counts = [len(server.chunks) for server in scene.chunkservers.values()]
    assert sum(counts) == 180 and max(counts) - min(counts) <= 12
    primaries = scene.server.core.leases.counts(scene.server.core.now)
    assert len(primaries) == 6 and max(primaries.values()) <= 20
    sets = {tuple(sorted(scene.replicas(handle))) for handle in scene.server.core.state.chunks.handles()}
    assert len(sets) > 10, "many servers share in restoring what one of them loses"


@pytest.mark.parametrize("name", POLICIES)
def test_of_three_copies_two_are_in_one_data_centre_and_one_in_another(name: str) -> None:
    """The paper speaks of racks; the rule for data centres is the same, one level up."""
    servers = [
        Candidate(f"cs{number}", f"r{number % 4}", 1000, 900, 0.0, data_centre="ab"[number % 4 > 1])
        for number in range(1, 13)
    ]
    for handle in range(50):
        chosen = policy_of(name).choose(servers, handle=handle, count=3, needed_bytes=1)
        places = [server.place for server in servers if server.name in chosen]
        assert len({place.data_centre for place in places}) == 2
        assert len({(place.data_centre, place.rack) for place in places}) == 3


@pytest.mark.parametrize("name", POLICIES)
def test_with_racks_only_not_all_copies_are_in_one(name: str) -> None:
    servers = [Candidate(f"cs{number}", "ab"[number == 9], 1000, 900, 0.0) for number in range(10)]
    for handle in range(50):
        assert "cs9" in policy_of(name).choose(servers, handle=handle, count=3, needed_bytes=1)


@played(chunkservers=5)
async def test_a_server_that_is_drained_gets_nothing_new(scene: Scene) -> None:
    await scene.drain("cs1")
    for number in range(20):
        await scene.create(f"/{number}")
        lease = await scene.lease(f"/{number}")
        assert "cs1" not in scene.replicas(lease.handle) and len(scene.replicas(lease.handle)) == 3
