"""What a directory says for all that is below it."""

import pytest

from master.namespace.policies import Policies, Policy
from runtime.errors import InSafeMode, InvalidRequest, NotADirectory, NotFound, TooFewServers
from runtime.wire import master_pb2
from tests.unit.master_fakes import Scene, played


async def set_policy(scene: Scene, path: str, **said: object) -> None:
    await scene.master.SetPolicy(master_pb2.SetPolicyRequest(path=path, **said), timeout=30)  # type: ignore[arg-type]


def test_the_nearest_directory_that_says_something_decides() -> None:
    policies = Policies()
    policies.set("/", Policy(goal=3))
    policies.set("/a", Policy(trash_seconds=10))
    policies.set("/a/b", Policy(goal=1))
    assert policies.goal("/a/b/c/d") == (1, "/a/b") and policies.goal("/a/x") == (3, "/")
    assert policies.trash_seconds("/a/b/c") == (10, "/a") and policies.trash_seconds("/ab") == (None, "")


def test_a_policy_moves_with_its_tree_and_goes_with_it() -> None:
    policies = Policies()
    for path in ("/a", "/a/b", "/ab"):
        policies.set(path, Policy(goal=1))
    policies.move("/a", "/c/d")
    assert [path for path, _ in policies.items()] == ["/ab", "/c/d", "/c/d/b"]
    policies.forget("/c/d")
    assert [path for path, _ in policies.items()] == ["/ab"]
    policies.set("/ab", Policy())
    assert policies.items() == []


def test_a_tree_is_kept_for_the_longest_time_that_anything_in_it_is_kept() -> None:
    policies = Policies()
    policies.set("/a", Policy(trash_seconds=0))
    assert policies.kept_seconds("/a", default=50) == 0
    policies.set("/a/b", Policy(trash_seconds=7))
    assert policies.kept_seconds("/a", default=50) == 7 and policies.kept_seconds("/a/x", default=50) == 0
    assert policies.kept_seconds("/", default=50) is None, "the cluster's 50 s are longer"


@played(chunkservers=4)
async def test_new_files_get_the_goal_of_the_nearest_directory_and_others_keep_theirs(scene: Scene) -> None:
    await scene.make_directory("/lab/scratch", parents=True)
    await scene.create("/lab/before", 0)
    await set_policy(scene, "/lab", new_file_goal=2)
    await set_policy(scene, "/lab/scratch", new_file_goal=1)
    for path, goal, expected in (("/lab/a", 0, 2), ("/lab/scratch/a", 0, 1), ("/lab/b", 4, 4), ("/c", 0, 3)):
        assert (await scene.create(path, goal)).replication_goal == expected
    assert (await scene.stat("/lab/before")).replication_goal == 3
    told = await scene.stat("/lab/scratch")
    assert (told.new_file_goal, told.new_file_goal_from) == (1, "/lab/scratch")
    await set_policy(scene, "/lab/scratch", new_file_goal=0)
    told = await scene.stat("/lab/scratch")
    assert (told.new_file_goal, told.new_file_goal_from) == (2, "/lab")


@played(trash_grace_seconds=100.0, namespace_scan_seconds=1.0)
async def test_each_tree_keeps_deleted_files_for_its_own_time(scene: Scene) -> None:
    for path, seconds in (("/short", 10), ("/long", 300), ("/none", 0)):
        await scene.make_directory(path)
        await set_policy(scene, path, trash_seconds=seconds)
    for path in ("/short/a", "/long/a", "/none/a", "/a"):
        await scene.create(path)
        await scene.delete(path)
    origins = [("/short/a", 10), ("/long/a", 300), ("/a", 100)]
    reply = await scene.master.ListTrash(master_pb2.ListTrashRequest(), timeout=30)
    assert [
        (entry.origin, (entry.goes_microseconds - entry.deleted_microseconds) // 10**6) for entry in reply.entries
    ] == origins
    await set_policy(scene, "/long", trash_seconds=0)  # What was deleted before keeps its time.
    for seconds, left in ((9.0, 3), (3.0, 2), (100.0, 1), (150.0, 1), (50.0, 0)):
        await scene.pass_time(seconds)
        assert len(await scene.deleted()) == left, seconds


@played(trash_grace_seconds=100.0, namespace_scan_seconds=1.0)
async def test_a_replaced_file_of_a_tree_without_trash_goes_with_the_next_look(scene: Scene) -> None:
    await scene.make_directory("/none")
    await set_policy(scene, "/none", trash_seconds=0)
    for path in ("/none/a", "/none/b"):
        await scene.create(path)
    await scene.rename("/none/a", "/none/b", replace=True)
    await scene.pass_time(2.0)
    assert await scene.deleted() == []


@played(chunkservers=4, checkpoint_log_bytes=1024)
async def test_policies_are_renamed_deleted_and_restored_with_their_tree_also_over_restarts(scene: Scene) -> None:
    await scene.make_directory("/a/b", parents=True)
    await set_policy(scene, "/a/b", new_file_goal=1, trash_seconds=5)
    for number in range(40):  # So that a checkpoint is written.
        await scene.create(f"/file{number}")
    await scene.rename("/a", "/c")
    await scene.restart_master()
    await scene.until(lambda: scene.server.core.is_settled())
    told = await scene.stat("/c/b")
    assert (told.new_file_goal, told.trash_seconds, told.trash_from) == (1, 5.0, "/c/b")
    await scene.delete("/c", recursive=True)
    await scene.make_directory("/c/b", parents=True)
    assert (await scene.stat("/c/b")).new_file_goal == 3, "a new directory of this name is another one"
    (hidden,) = await scene.deleted()
    await scene.rename(hidden, "/d")
    assert (await scene.stat("/d/b")).new_file_goal_from == "/d/b"
    assert scene.server.core.state.policies.own("/d/b") == Policy(goal=1, trash_seconds=5)


@played(chunkservers=3)
async def test_a_policy_that_makes_no_sense_is_refused(scene: Scene) -> None:
    await scene.create("/file")
    await scene.make_directory("/gone")
    await scene.delete("/gone")
    (hidden,) = await scene.deleted()
    for path, error in (("/file", NotADirectory), ("/nothing", NotFound), (hidden, InvalidRequest)):
        with pytest.raises(error):
            await set_policy(scene, path, new_file_goal=1)
    with pytest.raises(TooFewServers):
        await set_policy(scene, "/", new_file_goal=4)
    with pytest.raises(InvalidRequest):
        await set_policy(scene, "/", trash_seconds=2**60)
    await scene.master.ChangeSafeMode(master_pb2.SafeModeRequest(action=master_pb2.SafeModeRequest.ENTER), timeout=30)
    with pytest.raises(InSafeMode):
        await set_policy(scene, "/", new_file_goal=1)
