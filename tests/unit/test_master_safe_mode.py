"""Safe mode: the master serves, and orders neither copies nor removals."""

import asyncio

import pytest

from master.events import SafeModeLeft
from master.namespace.namespace_locks import plan_locks
from master.servers.safe_mode import SafeMode
from runtime.errors import InSafeMode
from runtime.wire import master_pb2
from tests.unit.master_fakes import Scene, played

_SAFE = master_pb2.SafeModeRequest


async def change(scene: Scene, action: int) -> master_pb2.SafeMode:
    reply: master_pb2.SafeMode = await scene.master.ChangeSafeMode(_SAFE(action=action), timeout=30)  # type: ignore[arg-type]
    return reply


def mode() -> SafeMode:
    return SafeMode(settling_seconds=5.0, longest_seconds=15.0, threshold=0.9, interval=1.0, began=0.0)


def passed(found: SafeMode, seconds: int, *, share: float) -> str:
    for second in range(1, seconds + 1):
        found.attention.tick(float(second))
        if reason := found.look(float(second), all_registered=False, found=lambda: share):
            return f"{second}: {reason}"
    return ""


def test_it_is_left_when_enough_chunks_have_a_replica_but_not_before_its_least_time() -> None:
    assert passed(mode(), 30, share=0.95) == "5: 95.0% of the chunks have a replica"
    assert passed(mode(), 30, share=0.5).startswith("15: it has waited for 15 s")


def test_it_is_left_at_once_when_nobody_is_missing_and_never_entered_again_by_itself() -> None:
    found = mode()
    assert found.look(1.0, all_registered=True, found=lambda: 0.0) == "every chunkserver has registered"
    assert not found.is_starting(all_registered=False)
    assert found.look(2.0, all_registered=False, found=lambda: 0.0) == "" and not found.leave()


@played(chunkservers=4)
async def test_in_safe_mode_no_name_changes_and_what_is_there_is_read_and_written(scene: Scene) -> None:
    await scene.make_directory("/d")
    await scene.create("/a")
    await scene.lease("/a")
    await scene.create("/empty")
    found = await change(scene, _SAFE.ENTER)
    assert found.is_on and found.by_hand and found.chunks_found == 1.0
    before = scene.server.core.log.next_sequence
    for attempt in (
        scene.create("/b"),
        scene.make_directory("/e"),
        scene.delete("/a"),
        scene.delete("/d", immediately=True),
        scene.rename("/a", "/b"),
        scene.set_replication("/a", 2),
        scene.lease("/empty"),
    ):
        with pytest.raises(InSafeMode) as caught:
            await attempt
        assert caught.value.definite and "safemode leave" in caught.value.message
    assert scene.server.core.log.next_sequence == before, "nothing was logged"
    assert (await scene.where("/a")).chunks[0].replicas
    assert (await scene.lease("/a")).primary.server
    assert not (await change(scene, _SAFE.LEAVE)).is_on
    await scene.create("/b")
    await scene.lease("/empty")


@played(chunkservers=4, dead_after_seconds=5.0)
async def test_in_safe_mode_nothing_is_copied_until_it_is_left(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await change(scene, _SAFE.ENTER)
    gone = scene.replicas(handle)[0]
    await scene.chunkservers[gone].kill()
    await scene.pass_time(60.0)
    assert len(scene.replicas(handle)) == 2
    status = await scene.status(chunks=True)
    assert status.safe_mode.by_hand and status.chunks[0].waits_for == "the master is in safe mode"
    assert list(status.chunks[0].unreachable) == [gone]
    await change(scene, _SAFE.LEAVE)
    await scene.until(lambda: len(scene.replicas(handle)) == 3)


@played(chunkservers=3, trash_grace_seconds=10.0, namespace_scan_seconds=1.0)
async def test_in_safe_mode_nothing_is_forgotten_and_no_replica_removed(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await scene.create("/b")
    orphan = (await scene.lease("/b")).handle
    await scene.delete("/a")
    await scene.delete("/b", immediately=True)
    await change(scene, _SAFE.ENTER)
    await scene.pass_time(60.0)
    assert len(await scene.deleted()) == 1 and len(scene.holders(handle)) == 3
    assert len(scene.holders(orphan)) in (0, 3), "an order may have gone out before"
    await change(scene, _SAFE.LEAVE)
    await scene.until(lambda: not scene.holders(handle) and not scene.holders(orphan))


@played(chunkservers=3, checkpoint_log_bytes=1024)
async def test_it_outlives_the_master_and_its_log(scene: Scene) -> None:
    for number in range(40):
        await scene.create(f"/file{number}")
    await change(scene, _SAFE.ENTER)
    await scene.restart_master()
    assert (await change(scene, _SAFE.GET)).by_hand
    with pytest.raises(InSafeMode):
        await scene.create("/b")
    assert not (await change(scene, _SAFE.LEAVE)).by_hand
    await scene.restart_master()
    assert not (await change(scene, _SAFE.GET)).by_hand


@played(chunkservers=3)
async def test_a_change_that_waits_for_its_locks_is_refused_when_safe_mode_begins_meanwhile(scene: Scene) -> None:
    core = scene.server.core
    async with core.locks.hold(plan_locks(write=["/a"])):
        creating = asyncio.ensure_future(scene.create("/a"))
        await scene.pass_time(0.1)
        await change(scene, _SAFE.ENTER)
    with pytest.raises(InSafeMode):
        await creating
    assert core.state.namespace.find("/a") is None


@played(chunkservers=4)
async def test_a_restarted_master_says_that_it_waits_and_an_operator_may_end_that(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    for name in list(scene.chunkservers):
        await scene.chunkservers[name].kill()
    await scene.restart_master()
    found = await change(scene, _SAFE.GET)
    assert found.is_on and not found.by_hand and found.chunks_found == 0.0
    await scene.pass_time(6.0)
    assert (await change(scene, _SAFE.GET)).is_on, "no chunk has been found"
    assert not (await change(scene, _SAFE.LEAVE)).is_on
    assert scene.server.core.is_settled() and not scene.replicas(handle)
    assert SafeModeLeft("an operator does not wait for more servers") in [record.event for record in scene.sink.records]


@played(chunkservers=4)
async def test_without_any_server_it_ends_after_its_longest_time(scene: Scene) -> None:
    await scene.create("/a")
    await scene.lease("/a")
    for name in list(scene.chunkservers):
        await scene.chunkservers[name].kill()
    await scene.restart_master()
    await scene.pass_time(14.0)
    assert (await change(scene, _SAFE.GET)).is_on
    await scene.pass_time(2.0)
    assert not (await change(scene, _SAFE.GET)).is_on
