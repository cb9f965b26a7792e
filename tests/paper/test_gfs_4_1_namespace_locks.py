"""GFS 4.1: namespace management and locking."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from master.log.records import Record
from master.namespace.namespace_locks import PathLock, plan_locks
from runtime.errors import AlreadyExists, NotFound
from tests.unit.master_fakes import Scene, played


def words(locks: tuple[PathLock, ...]) -> list[str]:
    return [("W " if lock.write else "R ") + lock.path for lock in locks]


def test_an_operation_reads_every_ancestor_and_reads_or_writes_the_full_path() -> None:
    assert words(plan_locks(write=["/d1/d2/leaf"])) == ["R /", "R /d1", "R /d1/d2", "W /d1/d2/leaf"]
    assert words(plan_locks(read=["/d1/d2/leaf"])) == ["R /", "R /d1", "R /d1/d2", "R /d1/d2/leaf"]


def test_the_papers_worked_case_conflicts_on_home_user() -> None:
    snapshot = plan_locks(write=["/home/user", "/save/user"])
    create = plan_locks(write=["/home/user/foo"])
    assert words(snapshot) == ["R /", "R /home", "R /save", "W /home/user", "W /save/user"]
    assert words(create) == ["R /", "R /home", "R /home/user", "W /home/user/foo"]
    conflicts = [a.path for a in snapshot for b in create if a.path == b.path and (a.write or b.write)]
    assert conflicts == ["/home/user"]


def test_locks_are_taken_by_level_and_then_by_name() -> None:
    locks = plan_locks(read=["/z/a", "/b/c/d"], write=["/a/z"])
    assert [lock.path for lock in locks] == ["/", "/a", "/b", "/z", "/a/z", "/b/c", "/z/a", "/b/c/d"]


def test_a_path_that_is_read_and_written_is_written() -> None:
    assert words(plan_locks(read=["/a/b"], write=["/a"])) == ["R /", "W /a", "R /a/b"]


@played()
async def test_two_files_are_created_in_one_directory_at_the_same_time(scene: Scene) -> None:
    await scene.make_directory("/home")
    syncs = scene.server.core.log.syncs
    await asyncio.gather(*(scene.create(f"/home/{number}") for number in range(50)))
    # Had they waited for each other, each would have cost a flush of its own.
    assert scene.server.core.log.syncs - syncs <= 3


@played()
async def test_of_two_creations_of_the_same_name_one_wins(scene: Scene) -> None:
    results = await asyncio.gather(*(scene.create("/same") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(result, AlreadyExists) for result in results) == 9


@played()
async def test_a_file_is_never_created_below_a_directory_that_is_being_moved(scene: Scene) -> None:
    for round_number in range(20):
        await scene.make_directory("/home/user", parents=True)
        results = await asyncio.gather(
            scene.create(f"/home/user/foo{round_number}"),
            scene.rename("/home/user", f"/home/saved{round_number}"),
            scene.create(f"/home/user/bar{round_number}"),
            return_exceptions=True,
        )
        assert all(
            result is None or not isinstance(result, Exception) or isinstance(result, NotFound) for result in results
        )
        scene.server.core.check_invariants()
        if "/home/user" in await scene.listed("/home"):
            await scene.delete("/home/user", recursive=True)


@played()
async def test_a_file_is_never_created_in_a_directory_while_a_snapshot_of_it_is_taken(scene: Scene) -> None:
    """The paper's worked example: /home/user is being snapshotted to /save/user, and /home/user/foo is created."""
    for name in ("/home/user", "/save"):
        await scene.make_directory(name, parents=True)
    await scene.create("/home/user/old")
    core = scene.server.core
    order: list[str] = []
    commit = core.commit_all

    async def noted(records: Sequence[Record]) -> Any:
        order.extend(type(record).__name__ for record in records)
        return await commit(records)

    core.commit_all = noted  # type: ignore[method-assign]
    lock = ["/home/user", "/save/user"]
    async with core.locks.hold(plan_locks(write=lock)):  # As while the leases are being revoked.
        creating = asyncio.ensure_future(scene.create("/home/user/foo"))
        beside = await scene.create("/home/beside")  # It needs the name of /home only, as does the snapshot.
        await scene.pass_time(1.0)
        assert beside is not None and not creating.done() and order == ["FileCreated"]
    await creating
    order.clear()
    results = await asyncio.gather(
        scene.snapshot("/home/user", "/save/user"), *(scene.create(f"/home/user/foo{number}") for number in range(5))
    )
    assert results[0] == len(await scene.listed("/save/user")) and len(await scene.listed("/home/user")) == 7
    # What was created before the snapshot is in it, and what was created after it is not.
    assert order.index("SnapshotTakenAt") == results[0] - 2
    core.check_invariants()


@played()
async def test_idle_paths_have_no_lock(scene: Scene) -> None:
    await asyncio.gather(*(scene.create(f"/{number}") for number in range(50)))
    assert scene.server.core.locks.busy_paths == 0


@played()
async def test_a_client_that_goes_away_does_not_leave_its_change_half_done(scene: Scene) -> None:
    for number in range(20):
        pending = asyncio.ensure_future(scene.create(f"/{number}"))
        await asyncio.sleep(0.001 + number * 0.00005)
        pending.cancel()
    await scene.server.core.drain()
    assert scene.server.core.locks.busy_paths == 0
    found = await scene.listed("/")
    await scene.restart_master()
    assert await scene.listed("/") == found, "what is in memory is in the log, and the other way round"
    with pytest.raises(AlreadyExists):
        await scene.create(found[0])
