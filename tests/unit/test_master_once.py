"""A named request is carried out once, however often it arrives, and also across a restart of the master."""

import asyncio
from typing import Any

import pytest

from runtime.errors import AlreadyExists, Conflict, NoSpace, NotFound, Unavailable
from runtime.wire.master_pb2 import RequestId
from tests.unit.master_fakes import Scene, played


def named(number: int, *, client: int = 0xC1, oldest: int = 1) -> Any:
    return RequestId(client=client, number=number, oldest=oldest)


@played()
async def test_a_creation_that_is_asked_for_again_gets_the_first_answer(scene: Scene) -> None:
    first = await scene.create("/a", request=named(1))
    again = await scene.create("/a", request=named(1))
    assert again.file_id == first.file_id and scene.events("RequestRepeated")
    with pytest.raises(AlreadyExists):
        await scene.create("/a", request=named(2))
    with pytest.raises(AlreadyExists):
        await scene.create("/a", request=named(1, client=0xC2))


@played()
async def test_the_answer_of_a_creation_is_the_same_after_the_file_has_another_name(scene: Scene) -> None:
    first = await scene.create("/a", request=named(1))
    await scene.rename("/a", "/b")
    other = await scene.create("/a")
    again = await scene.create("/a", request=named(1))
    assert again.file_id == first.file_id != other.file_id


@played()
async def test_a_deletion_that_is_asked_for_again_does_not_hit_a_new_file_of_that_name(scene: Scene) -> None:
    await scene.create("/a")
    assert (await scene.delete("/a", request=named(1))).files == 1
    await scene.create("/a")
    assert (await scene.delete("/a", request=named(1))).files == 1
    assert await scene.listed("/") == ["/a"]


@played()
async def test_a_renaming_that_is_asked_for_again_does_not_hit_a_new_file_of_that_name(scene: Scene) -> None:
    await scene.create("/a")
    await scene.rename("/a", "/b", request=named(1))
    new = await scene.create("/a")
    await scene.rename("/a", "/b", request=named(1))
    assert (await scene.stat("/a")).file_id == new.file_id


@played(checkpoint_log_bytes=2000)
async def test_the_first_answer_is_given_also_after_a_restart_and_a_checkpoint(scene: Scene) -> None:
    await scene.make_directory("/d", request=named(1))
    first = await scene.create("/a", request=named(2))
    await scene.create("/x", request=named(3))
    await scene.delete("/x", request=named(4), immediately=True)
    await scene.rename("/a", "/b", request=named(5))
    for with_checkpoint in (False, True):
        if with_checkpoint:
            await scene.server.core.log.checkpoint()
        await scene.restart_master()
        await scene.until(lambda: len(scene.server.core.servers.alive()) == 4)
        await scene.create("/x")
        await scene.make_directory("/d", request=named(1))
        assert (await scene.create("/a", request=named(2))).file_id == first.file_id
        assert (await scene.delete("/x", request=named(4), immediately=True)).files == 1
        await scene.rename("/a", "/b", request=named(5))
        assert await scene.listed("/") == ["/b", "/d", "/x"]
        await scene.delete("/x")


@played()
async def test_a_message_that_comes_while_the_first_is_worked_on_waits_for_its_answer(scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.create("/a", request=named(1)) for _ in range(5)))
    assert len({answer.file_id for answer in answers}) == 1


@played()
async def test_a_refusal_stays_a_refusal(scene: Scene) -> None:
    """Its client has been told, and has acted on it: a doubled message must not do it later."""
    with pytest.raises(NotFound):
        await scene.delete("/a", request=named(1))
    await scene.create("/a")
    with pytest.raises(NotFound):
        await scene.delete("/a", request=named(1))
    assert await scene.listed("/") == ["/a"]


@played()
async def test_what_was_there_already_is_not_made_by_a_doubled_message(scene: Scene) -> None:
    await scene.make_directory("/d")
    await scene.make_directory("/d", parents=True, request=named(1))
    await scene.delete("/d")
    await scene.make_directory("/d", parents=True, request=named(1))
    assert await scene.listed("/") == []


@played()
async def test_a_message_that_comes_after_its_client_has_the_answer_does_nothing(scene: Scene) -> None:
    await scene.create("/a", request=named(1))
    await scene.create("/b", request=named(2, oldest=2))
    await scene.delete("/a")
    with pytest.raises(Conflict, match="nothing was done"):
        await scene.create("/a", request=named(1))
    assert await scene.listed("/") == ["/b"]


@played(lease_seconds=5.0)
async def test_after_a_failure_that_calls_for_another_try_the_same_request_is_carried_out(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    for name in scene.replicas(lease.handle):
        scene.chunkservers[name].silence(beating=True)
    with pytest.raises(Unavailable):
        await scene.delete("/a", request=named(1))
    for server in scene.chunkservers.values():
        server.speak()
    assert (await scene.delete("/a", request=named(1))).files == 1


@played()
async def test_a_full_log_refuses_a_request_for_good(scene: Scene) -> None:
    scene.disk.fail_writes = NoSpace("the disk is full")
    with pytest.raises(NoSpace):
        await scene.create("/a", request=named(1))
    scene.disk.fail_writes = None
    with pytest.raises(NoSpace):
        await scene.create("/a", request=named(1))
    await scene.create("/a", request=named(2))


@played()
async def test_requests_without_a_name_are_carried_out_each_time(scene: Scene) -> None:
    await scene.create("/a", request=named(1, client=0))
    with pytest.raises(AlreadyExists):
        await scene.create("/a", request=named(1, client=0))
