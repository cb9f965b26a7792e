"""Calls are alike in both worlds and both ways: answers, errors, tokens, causes, deadlines, dead servers."""

import asyncio

import grpc
import pytest

from runtime.errors import (
    Conflict,
    InternalError,
    InvalidRequest,
    MutationFailed,
    NotFound,
    NotPrimary,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from runtime.events import because, current_cause
from runtime.guard import HandlerFailed
from runtime.node import NodeService
from runtime.wire import node_pb2, node_pb2_grpc
from tests.conformance.both_worlds import echo, gathered, in_both_ways, serving, settled, several, stub_for, text


@in_both_ways
async def test_a_call_gets_its_answer(place, desk):
    server = await serving(place, place.node("server"), Unary=echo)
    assert (await stub_for(desk, server).unary(text("hello"), timeout=5)).value == "echo hello"


@in_both_ways
async def test_calls_at_the_same_time_get_each_its_own_answer(place, desk):
    async def patient(request, context):
        await asyncio.sleep(0.01 * (5 - int(request.value)))
        return request

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=patient))
    replies = await asyncio.gather(*(stub.unary(text(str(number)), timeout=5) for number in range(5)))
    assert [reply.value for reply in replies] == ["0", "1", "2", "3", "4"]


@in_both_ways
async def test_generated_stubs_and_servicers_run_unmodified(place, desk):
    world = place.node("server")
    server = world.network.rpc_server(place.address(world))
    place.will_stop(server)
    service = NodeService(world, role="test", cluster="c", control_address=lambda: server.address)
    node_pb2_grpc.add_NodeServicer_to_server(service, server.registrar)
    await place.on(world, server.start())
    stub = node_pb2_grpc.NodeStub(desk.network.channel(server.address))
    description = await stub.Describe(node_pb2.DescribeRequest(), timeout=5)
    assert (description.node, description.role, description.control_address) == ("server", "test", server.address)


@in_both_ways
async def test_messages_are_copies(place, desk):
    kept = []

    async def keep(request, context):
        kept.append(request)
        return request

    request = text("before")
    stub = stub_for(desk, await serving(place, place.node("server"), Unary=keep))
    reply = await stub.unary(request, timeout=5)
    request.value = "after"
    assert reply is not kept[0] and kept[0].value == "before" and reply.value == "before"


@in_both_ways
async def test_a_servicers_error_reaches_the_caller_as_the_same_class(place, desk):
    async def refuse(request, context):
        raise NotPrimary("no lease for chunk 0x2a", definite=request.value == "definite")

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=refuse))
    for definite in (True, False):
        with pytest.raises(NotPrimary, match="no lease for chunk 0x2a") as caught:
            await stub.unary(text("definite" if definite else ""), timeout=5)
        assert caught.value.definite is definite


@in_both_ways
async def test_the_servers_that_an_error_names_reach_the_caller(place, desk):
    async def fail(request, context):
        raise MutationFailed("not everywhere", servers=tuple(request.value.split()))

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=fail))
    for servers in (("cs1", "cs3"), ("cs2",), ()):
        with pytest.raises(MutationFailed, match="not everywhere") as caught:
            await stub.unary(text(" ".join(servers)), timeout=5)
        assert caught.value.servers == servers and not caught.value.definite


@in_both_ways
async def test_a_bug_in_a_servicer_is_an_internal_error_there_and_here(place, desk):
    async def broken(request, context):
        return request.value[99]

    world = place.node("server")
    stub = stub_for(desk, await serving(place, world, Unary=broken))
    with pytest.raises(InternalError, match="IndexError"):
        await stub.unary(text("x"), timeout=5)
    assert [record for record in place.records(world) if isinstance(record.event, HandlerFailed)]


@in_both_ways
async def test_an_aborting_servicer_gives_its_status(place, desk):
    async def abort(request, context):
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=abort))
    with pytest.raises(Exception, match="no more"):
        await stub.unary(text("x"), timeout=5)


@in_both_ways
async def test_a_method_that_is_not_there_is_an_error(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Up=echo))
    with pytest.raises(InternalError, match="Unary"):
        await stub.unary(text("x"), timeout=5)


@in_both_ways
async def test_a_wrong_token_is_refused(place, desk):
    server = await serving(place, place.node("server"), Unary=echo)
    stranger = place.node("stranger", token="another token")
    with pytest.raises(Unauthenticated, match="a wrong cluster token"):
        await place.on(stranger, stub_for(stranger, server).unary(text("x"), timeout=5))


@in_both_ways
async def test_the_cause_crosses_a_call_and_the_lamport_clock_advances(place, desk):
    causes = []

    async def note(request, context):
        causes.append(current_cause())
        return request

    world = place.node("server")
    stub = stub_for(desk, await serving(place, world, Unary=note))
    with because("desk.7"):
        await stub.unary(text("x"), timeout=5)
    await stub.unary(text("x"), timeout=5)
    assert causes == ["desk.7", ""]
    assert desk.events.lamport > world.events.lamport - 1 >= 4


@in_both_ways
async def test_a_call_that_takes_too_long_times_out_and_its_handler_is_cancelled(place, desk):
    ended = []

    async def never(request, context):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(request.value)

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=never))
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimedOut) as caught:
        await stub.unary(text("x"), timeout=0.2)
    assert not caught.value.definite and asyncio.get_running_loop().time() - began >= 0.19
    await settled(lambda: ended == ["x"])


@in_both_ways
async def test_a_cancelled_call_cancels_its_handler(place, desk):
    begun, ended = [], []

    async def never(request, context):
        begun.append(request.value)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(request.value)

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=never))
    call = asyncio.create_task(stub.unary(text("x"), timeout=30))
    await settled(lambda: begun)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await settled(lambda: ended == ["x"])


@in_both_ways
async def test_nobody_listening_is_unavailable_and_definite(place, desk):
    world = place.node("server")
    server = await serving(place, world, Unary=echo)
    await place.on(world, server.stop(0))
    with pytest.raises(Unavailable) as caught:
        await stub_for(desk, server).unary(text("x"), timeout=5)
    assert caught.value.definite


@in_both_ways
async def test_every_kind_of_call_says_for_certain_that_nobody_listens(place, desk):
    world = place.node("server")
    server = await serving(place, world, Unary=echo)
    await place.on(world, server.stop(0))
    stub = stub_for(desk, server)
    for _ in range(2):
        for answer in (
            stub.unary(text("x"), timeout=5),
            stub.up(several("x"), timeout=5),
            gathered(stub.down(text("x"), timeout=5)),
            gathered(stub.both(several("x"), timeout=5)),
        ):
            with pytest.raises(Unavailable, match=server.address) as caught:
                await answer
            assert caught.value.definite


@in_both_ways
async def test_a_servicers_words_do_not_decide_whether_its_call_was_made(place, desk):
    """It was made: the servicer itself could not connect, to somebody else."""

    async def abort(request, context):
        await context.abort(grpc.StatusCode.UNAVAILABLE, "failed to connect to cs2: connection refused")

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=abort))
    with pytest.raises(Unavailable, match="connection refused") as caught:
        await stub.unary(text("x"), timeout=5)
    assert not caught.value.definite


@in_both_ways
async def test_many_first_calls_at_once_each_get_their_answer(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Unary=echo))
    replies = await asyncio.gather(*(stub.unary(text(str(number)), timeout=5) for number in range(20)))
    assert [reply.value for reply in replies] == [f"echo {number}" for number in range(20)]


@in_both_ways
async def test_a_first_call_that_is_cancelled_before_it_is_connected_harms_no_other(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Unary=echo))
    first = asyncio.create_task(stub.unary(text("first"), timeout=5))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await stub.unary(text("second"), timeout=5)).value == "echo second"


@in_both_ways
async def test_a_call_that_a_stopping_server_cuts_is_unavailable_and_not_definite(place, desk):
    begun = []

    async def never(request, context):
        begun.append(request.value)
        await asyncio.Event().wait()

    world = place.node("server")
    server = await serving(place, world, Unary=never)
    call = asyncio.create_task(stub_for(desk, server).unary(text("x"), timeout=30))
    await settled(lambda: begun)
    await place.on(world, server.stop(0))
    with pytest.raises(Unavailable) as caught:
        await call
    assert not caught.value.definite


@in_both_ways
async def test_a_stopping_server_waits_for_its_calls_as_long_as_the_grace(place, desk):
    async def slow(request, context):
        await asyncio.sleep(0.2)
        return request

    world = place.node("server")
    server = await serving(place, world, Unary=slow)
    call = asyncio.create_task(stub_for(desk, server).unary(text("x"), timeout=30))
    await asyncio.sleep(0.1)
    await place.on(world, server.stop(5))
    assert (await call).value == "x"


@in_both_ways
async def test_a_server_is_reached_again_at_its_old_address_after_a_restart(place, desk):
    world = place.node("server")
    server = await serving(place, world, Unary=echo)
    stub = stub_for(desk, server)
    await stub.unary(text("x"), timeout=5)
    await place.on(world, server.stop(0))
    with pytest.raises(Unavailable):
        await stub.unary(text("x"), timeout=5)
    again = world.network.rpc_server(server.address)
    place.will_stop(again)
    node_pb2_grpc.add_NodeServicer_to_server(
        NodeService(world, role="again", cluster="c", control_address=lambda: again.address), again.registrar
    )
    await place.on(world, again.start())
    node = node_pb2_grpc.NodeStub(desk.network.channel(server.address))
    for _ in range(100):
        try:
            description = await node.Describe(node_pb2.DescribeRequest(), timeout=5)
            break
        except Unavailable:
            await asyncio.sleep(0.05)
    assert description.role == "again"


@in_both_ways
async def test_a_taken_port_is_a_conflict_and_a_bad_address_invalid(place, desk):
    world = place.node("server")
    server = await serving(place, world, Unary=echo)
    with pytest.raises(Conflict, match="in use"):
        await place.on(world, world.network.rpc_server(server.address).start())
    with pytest.raises(InvalidRequest, match="is not an address"):
        await place.on(world, world.network.rpc_server("nowhere").start())


@in_both_ways
async def test_large_messages_pass(place, desk):
    stub = stub_for(desk, await serving(place, place.node("server"), Unary=echo))
    assert len((await stub.unary(text("x" * 8_000_000), timeout=30)).value) == 8_000_005


@in_both_ways
async def test_not_found_is_definite_by_default(place, desk):
    async def missing(request, context):
        raise NotFound(f"no file {request.value}")

    stub = stub_for(desk, await serving(place, place.node("server"), Unary=missing))
    with pytest.raises(NotFound, match="no file /a") as caught:
        await stub.unary(text("/a"), timeout=5)
    assert caught.value.definite
