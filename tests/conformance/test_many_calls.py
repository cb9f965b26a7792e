"""Many calls between two peers, and the ends of what they travel in: alike in both worlds and both ways."""

import asyncio

import pytest

from runtime.errors import TabletopError, TimedOut, Unauthenticated, Unavailable
from runtime.events import because, current_cause
from tests.conformance.both_worlds import echo, in_both_ways, in_both_worlds, serving, settled, stub_for, text


class Gate:
    """A behaviour that notes what it begins, and waits with the answer until it is opened."""

    def __init__(self):
        self.begun, self.ended = [], []
        self.open = asyncio.Event()

    async def __call__(self, request, context):
        self.begun.append(request.value)
        try:
            await self.open.wait()
        finally:
            self.ended.append(request.value)
        return text(f"echo {request.value}")


@in_both_ways
async def test_a_slow_call_does_not_hold_up_others(place, desk):
    gate = Gate()

    async def some(request, context):
        return await (gate if request.value == "slow" else echo)(request, context)

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=some))
    slow = asyncio.create_task(stub.unary(text("slow"), timeout=30))
    await settled(lambda: gate.begun)
    for number in range(20):
        assert (await stub.unary(text(str(number)), timeout=30)).value == f"echo {number}"
    assert not slow.done()
    gate.open.set()
    assert (await slow).value == "echo slow"


@in_both_ways
async def test_a_thousand_calls_at_once_get_each_their_own_answer(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Unary=echo))
    replies = await asyncio.gather(*(stub.unary(text(str(number)), timeout=60) for number in range(1000)))
    assert [reply.value for reply in replies] == [f"echo {number}" for number in range(1000)]


@in_both_ways
async def test_large_and_small_messages_are_mixed(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Unary=echo))
    sizes = [1, 3_000_000, 0, 70_000, 5, 500_000, 64, 65_536] * 3
    replies = await asyncio.gather(*(stub.unary(text("x" * size), timeout=60) for size in sizes))
    assert [len(reply.value) for reply in replies] == [size + 5 for size in sizes]


@in_both_ways
async def test_a_caller_that_waits_for_each_answer_has_its_calls_served_in_order(place, desk):
    seen = []

    async def note(request, context):
        seen.append(int(request.value))
        return request

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=note))
    for number in range(50):
        await stub.unary(text(str(number)), timeout=5)
    assert seen == list(range(50))


@in_both_ways
async def test_each_call_has_its_own_cause_and_its_own_deadline(place, desk):
    seen = {}

    async def note(request, context):
        seen[request.value] = current_cause(), context.time_remaining()
        return request

    async def ask(number):
        with because(f"desk.{number}"):
            await stub.unary(text(str(number)), timeout=10.0 * number)

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=note))
    await asyncio.gather(*(ask(number) for number in range(1, 6)))
    for number in range(1, 6):
        cause, remaining = seen[str(number)]
        # gRPC rounds what it sends of a timeout up, by a hundredth or so.
        assert cause == f"desk.{number}" and 10.0 * number - 9.0 < remaining <= 10.2 * number


@in_both_ways
async def test_the_deadline_of_one_call_ends_no_other(place, desk):
    gate = Gate()
    stub = stub_for(desk, await serving(place, place.node("server"), Unary=gate))
    long = asyncio.create_task(stub.unary(text("long"), timeout=30))
    with pytest.raises(TimedOut) as caught:
        await stub.unary(text("short"), timeout=0.3)
    assert not caught.value.definite
    await settled(lambda: gate.ended == ["short"])
    gate.open.set()
    assert (await long).value == "echo long"


@in_both_ways
async def test_a_cancelled_call_cancels_its_own_handler_alone(place, desk):
    gate = Gate()
    stub = stub_for(desk, await serving(place, place.node("server"), Unary=gate))
    calls = [asyncio.create_task(stub.unary(text(name), timeout=30)) for name in ("one", "other")]
    await settled(lambda: len(gate.begun) == 2)
    calls[0].cancel()
    await settled(lambda: gate.ended == ["one"])
    gate.open.set()
    assert (await calls[1]).value == "echo other"
    with pytest.raises(asyncio.CancelledError):
        await calls[0]


@in_both_worlds
async def test_a_connection_that_breaks_in_the_middle_leaves_the_caller_in_doubt_and_the_next_call_works(place, desk):
    gate = Gate()
    server = await serving(place, place.node("server"), Unary=gate)
    stub = stub_for(desk, await place.breakable(server))
    calls = [asyncio.create_task(stub.unary(text(str(number)), timeout=30)) for number in range(3)]
    await settled(lambda: len(gate.begun) == 3)
    place.break_connections()
    for call in calls:
        with pytest.raises(Unavailable) as caught:
            await call
        assert not caught.value.definite and not caught.value.is_answer
    await settled(lambda: len(gate.ended) == 3)
    gate.open.set()
    assert (await stub.unary(text("again"), timeout=30)).value == "echo again"
    assert sorted(gate.begun) == ["0", "1", "2", "again"]


@in_both_worlds
async def test_calls_find_a_new_connection_after_each_of_several_breaks(place, desk):
    server = await serving(place, place.node("server"), Unary=echo)
    stub = stub_for(desk, await place.breakable(server))
    for number in range(5):
        assert (await stub.unary(text(str(number)), timeout=30)).value == f"echo {number}"
        place.break_connections()
        await asyncio.sleep(0.02)


@in_both_ways
async def test_every_call_of_a_stranger_is_refused_for_certain(place, desk):
    seen = []

    async def note(request, context):
        seen.append(request.value)
        return request

    server = await serving(place, place.node("server"), Unary=note)
    stranger = place.node("stranger", token="another token")
    stub = stub_for(stranger, server)
    calls = [place.on(stranger, stub.unary(text(str(number)), timeout=5)) for number in range(5)]
    errors = await asyncio.gather(*calls, return_exceptions=True)
    errors.append(
        (await asyncio.gather(place.on(stranger, stub.unary(text("x"), timeout=5)), return_exceptions=True))[0]
    )
    assert [(type(error), error.definite, error.is_answer) for error in errors] == [(Unauthenticated, True, True)] * 6
    assert len({id(error) for error in errors}) == 6 and seen == []


@in_both_worlds
async def test_a_stranger_is_refused_for_certain_though_it_has_much_to_say(place, desk):
    server = await serving(place, place.node("server"), Unary=echo)
    for number in range(20):
        stranger = place.node(f"stranger{number}", token="another token")
        calls = [
            place.on(stranger, stub_for(stranger, server).unary(text("x" * 300_000), timeout=20)) for _ in range(4)
        ]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert (type(error), error.definite) == (Unauthenticated, True)


@in_both_worlds
async def test_a_server_that_drains_answers_what_it_began_and_refuses_the_rest_for_certain(place, desk):
    gate, seen = Gate(), []
    world = place.node("server")
    server = await serving(place, world, Unary=gate)
    stub = stub_for(desk, server)
    running = asyncio.create_task(stub.unary(text("running"), timeout=30))
    await settled(lambda: gate.begun)
    stopping = asyncio.create_task(place.on(world, server.stop(20)))
    for _ in range(20):
        try:
            await stub.unary(text("late"), timeout=5)
        except TabletopError as error:
            seen.append((type(error), error.definite))
        await asyncio.sleep(0.01)
    assert seen == [(Unavailable, True)] * 20
    assert gate.begun == ["running"] and not running.done()
    gate.open.set()
    assert (await running).value == "echo running"
    await stopping


@in_both_ways
async def test_calls_that_meet_a_stop_are_answered_or_certainly_never_began(place, desk):
    served = []

    async def note(request, context):
        served.append(request.value)
        await asyncio.sleep(0.01)
        return request

    answered, refused = [], []

    async def ask(name):
        for number in range(200):
            value = f"{name} {number}"
            try:
                await stub.unary(text(value), timeout=10)
                answered.append(value)
            except Unavailable as error:
                if error.definite:
                    refused.append(value)
                    if len(refused) > 40:  # Each of the others would wait for another connection that is refused.
                        return

    world = place.node("server")
    server = await serving(place, world, Unary=note)
    stub = stub_for(desk, server)
    asking = asyncio.gather(*(ask(name) for name in "abcdefgh"))
    await settled(lambda: len(answered) > 20)
    await place.on(world, server.stop(5))
    await asking
    assert set(answered) <= set(served) and refused
    assert not set(refused) & set(served)
