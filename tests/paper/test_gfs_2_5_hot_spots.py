"""GFS 2.5: a small file that everybody reads makes its few chunkservers a hot spot; more copies cure it."""

from master.balance.heat import Heat
from tests.unit.master_fakes import Scene, played


def test_the_rate_decides_how_many_copies_there_are_within_a_bound() -> None:
    heat = Heat(hot=100, most_copies=2, seconds=1.0)
    heat.note(1, 350, now=0.0)
    assert heat.judge(1, goal=3, now=0.0) == 1
    heat.note(1, 5000, now=0.0)
    assert heat.judge(1, goal=3, now=0.0) == 2, "bounded"


def test_a_chunk_that_is_just_warm_enough_does_not_gain_and_lose_a_copy_in_turns() -> None:
    heat = Heat(hot=100, most_copies=3, seconds=1.0)
    extras = []
    for now in range(40):
        heat.note(1, 205 if now % 2 else 195, now=float(now))
        extras.append(heat.judge(1, goal=3, now=float(now)))
    assert len(set(extras[6:])) == 1


def test_a_rate_of_zero_turns_it_off() -> None:
    heat = Heat(hot=0, most_copies=3, seconds=1.0)
    heat.note(1, 10**9, now=0.0)
    assert heat.judge(1, goal=3, now=0.0) == 0 and heat.chunks() == []


@played(chunkservers=6, lease_seconds=4.0, survey_seconds=1.0, hot_bytes_per_second=1000, hot_copies=2)
async def test_a_hot_chunk_has_more_copies_than_its_goal_for_a_while_and_the_goal_stays(
    scene: Scene,
) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await scene.pass_time(5)
    for server in scene.chunkservers.values():
        server.reads[handle] = 10_000
    await scene.until(lambda: len(scene.replicas(handle)) == 5, 30)
    assert (await scene.stat("/a")).replication_goal == 3
    assert not [record for record in scene.sink.records if type(record.event).__name__ == "ReplicationSet"]
    await scene.pass_time(10)
    assert len(scene.replicas(handle)) == 5, "as long as it is read"
    for server in scene.chunkservers.values():
        server.reads.clear()
    await scene.until(lambda: len(scene.holders(handle)) == 3, 120)
    assert len(scene.replicas(handle)) == 3


@played(chunkservers=6, lease_seconds=60.0, survey_seconds=1.0, hot_bytes_per_second=1000, hot_copies=2)
async def test_a_hot_chunk_is_not_copied_while_somebody_writes_it(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    for server in scene.chunkservers.values():
        server.reads[lease.handle] = 10_000
    await scene.pass_time(20)
    assert len(scene.replicas(lease.handle)) == 3 and scene.events("ChunkHeated")
    assert scene.server.core.leases.lease(lease.handle) is not None
