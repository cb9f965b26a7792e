"""The four streaming kinds are alike in both worlds, with their errors, deadlines, ends and flow control."""

import asyncio

import pytest

from runtime.errors import NotFound, TimedOut, Unavailable
from runtime.events import because, current_cause
from tests.conformance.both_worlds import gathered, in_both_worlds, serving, settled, several, stub_for, text


async def count_down(request, context):
    for number in range(int(request.value), 0, -1):
        yield text(str(number))


async def joined(requests, context):
    return text("+".join([request.value async for request in requests]))


async def answered(requests, context):
    async for request in requests:
        yield text(f"re {request.value}")
    yield text("end")


@in_both_worlds
async def test_one_request_and_a_stream_of_replies(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Down=count_down))
    assert await gathered(stub.down(text("3"), timeout=5)) == ["3", "2", "1"]
    assert await gathered(stub.down(text("0"), timeout=5)) == []


@in_both_worlds
async def test_a_stream_of_requests_and_one_reply(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Up=joined))
    assert (await stub.up(several("a", "b", "c"), timeout=5)).value == "a+b+c"
    assert (await stub.up(several(), timeout=5)).value == ""


@in_both_worlds
async def test_streams_both_ways(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Both=answered))
    assert await gathered(stub.both(several("a", "b"), timeout=5)) == ["re a", "re b", "end"]


@in_both_worlds
async def test_streams_both_ways_can_be_a_conversation(place, desk):
    questions: asyncio.Queue = asyncio.Queue()

    async def asking():
        while (question := await questions.get()) is not None:
            yield text(question)

    stub = stub_for(desk, await serving(place, place.node("server"), Both=answered))
    heard = []
    questions.put_nowait("1")
    async for reply in stub.both(asking(), timeout=5):
        heard.append(reply.value)
        questions.put_nowait("2" if len(heard) == 1 else None)
    assert heard == ["re 1", "re 2", "end"]


@in_both_worlds
async def test_long_streams_keep_their_order(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Down=count_down, Up=joined))
    assert await gathered(stub.down(text("300"), timeout=30)) == [str(number) for number in range(300, 0, -1)]
    numbers = [str(number) for number in range(300)]
    assert (await stub.up(several(*numbers), timeout=30)).value == "+".join(numbers)


@in_both_worlds
async def test_an_error_in_the_middle_of_a_stream_comes_after_what_was_sent(place, desk):
    async def breaking(request, context):
        yield text("first")
        raise NotFound("no second")

    stub = stub_for(desk, await serving(place, place.node("server"), Down=breaking))
    heard = []
    with pytest.raises(NotFound, match="no second"):
        async for reply in stub.down(text("x"), timeout=5):
            heard.append(reply.value)
    assert heard == ["first"]


@in_both_worlds
async def test_an_error_ends_a_stream_of_requests(place, desk):
    async def refuse(requests, context):
        async for _ in requests:
            raise NotFound("not wanted")

    stub = stub_for(desk, await serving(place, place.node("server"), Up=refuse))
    with pytest.raises(NotFound, match="not wanted"):
        await stub.up(several("a", "b"), timeout=5)


@in_both_worlds
async def test_a_stream_has_one_deadline(place, desk):
    ended = []

    async def slowly(request, context):
        try:
            yield text("first")
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    stub = stub_for(desk, await serving(place, place.node("server"), Down=slowly))
    heard = []
    with pytest.raises(TimedOut):
        async for reply in stub.down(text("x"), timeout=0.3):
            heard.append(reply.value)
    assert heard == ["first"]
    await settled(lambda: ended)


@in_both_worlds
async def test_leaving_a_stream_early_cancels_its_handler(place, desk):
    ended = []

    async def forever(request, context):
        try:
            while True:
                yield text("more")
                await asyncio.sleep(0.01)
        finally:
            ended.append(True)

    stub = stub_for(desk, await serving(place, place.node("server"), Down=forever))
    stream = stub.down(text("x"), timeout=30)
    assert (await anext(stream)).value == "more"
    await stream.aclose()
    await settled(lambda: ended)


@in_both_worlds
async def test_a_slow_reader_stops_the_writer(place, desk):
    sent = []

    async def eager(request, context):
        for number in range(400):
            sent.append(number)
            yield text("x" * 100_000)

    stub = stub_for(desk, await serving(place, place.node("server"), Down=eager))
    stream = stub.down(text("x"), timeout=30)
    await anext(stream)
    await asyncio.sleep(0.5)
    assert len(sent) < 400
    await stream.aclose()


@in_both_worlds
async def test_streams_to_nobody_are_unavailable_and_definite(place, desk):
    world = place.node("server")
    server = await serving(place, world, Down=count_down, Up=joined)
    await place.on(world, server.stop(0))
    stub = stub_for(desk, server)
    with pytest.raises(Unavailable) as caught:
        await gathered(stub.down(text("3"), timeout=5))
    assert caught.value.definite
    with pytest.raises(Unavailable) as caught:
        await stub.up(several("a"), timeout=5)
    assert caught.value.definite


@in_both_worlds
async def test_a_stream_that_a_stopping_server_cuts_is_unavailable(place, desk):
    async def slowly(request, context):
        yield text("first")
        await asyncio.Event().wait()

    world = place.node("server")
    server = await serving(place, world, Down=slowly)
    stream = stub_for(desk, server).down(text("x"), timeout=30)
    await anext(stream)
    await place.on(world, server.stop(0))
    with pytest.raises(Unavailable):
        await anext(stream)


@in_both_worlds
async def test_cause_and_clock_cross_streams(place, desk):
    async def tell(request, context):
        yield text(current_cause())

    world = place.node("server")
    stub = stub_for(desk, await serving(place, world, Down=tell))
    with because("desk.9"):
        assert await gathered(stub.down(text("x"), timeout=5)) == ["desk.9"]
    assert desk.events.lamport > world.events.lamport - 1 > 0
