"""Calls to chunkservers: many chunks in one."""

import asyncio

from runtime.errors import NoSpace, Unavailable
from runtime.wire import chunkserver_pb2
from tests.unit.master_fakes import Scene, played


def item(handle: int) -> chunkserver_pb2.Advance:
    return chunkserver_pb2.Advance(handle=handle, from_version=0, to_version=1)


@played(chunkservers=1)
async def test_what_gathers_during_a_call_travels_in_the_next_one(scene: Scene) -> None:
    calls = scene.server.core.calls
    outcomes = await asyncio.gather(*(calls.advance("cs1", item(handle)) for handle in range(1, 1001)))
    assert all(outcome.error is None and outcome.held.version == 1 for outcome in outcomes)
    assert calls.items == 1000 and calls.calls <= 5


@played(chunkservers=1)
async def test_each_chunk_succeeds_or_fails_on_its_own(scene: Scene) -> None:
    scene.chunkservers["cs1"].mishaps = [None, NoSpace("full"), None]
    outcomes = await asyncio.gather(*(scene.server.core.calls.advance("cs1", item(handle)) for handle in (1, 2, 3)))
    assert [type(outcome.error) for outcome in outcomes] == [type(None), NoSpace, type(None)]


@played(chunkservers=2)
async def test_a_server_that_does_not_answer_becomes_suspect_and_fails_only_its_own_items(scene: Scene) -> None:
    calls = scene.server.core.calls
    scene.chunkservers["cs1"].silence(beating=True)
    bad, good = await asyncio.gather(calls.advance("cs1", item(1)), calls.advance("cs2", item(2)))
    assert bad.error is not None and good.error is None
    assert scene.events("ChunkserverSuspected")
    assert not await calls.answers("cs1") and await calls.answers("cs2")


@played(chunkservers=1)
async def test_nobody_calls_a_server_that_never_registered(scene: Scene) -> None:
    outcome = await scene.server.core.calls.advance("cs9", item(1))
    assert isinstance(outcome.error, Unavailable) and outcome.error.definite
