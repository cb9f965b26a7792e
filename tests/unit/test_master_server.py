"""The master as a server, in the real world, over gRPC."""

import asyncio
from pathlib import Path

import pytest

from master.server import MasterServer
from master.settings import MasterSettings
from runtime.errors import Conflict, NotFound, TooFewServers, Unauthenticated
from runtime.real.world import RealWorld
from runtime.wire import master_pb2, master_pb2_grpc, node_pb2, node_pb2_grpc

SETTINGS = MasterSettings(cluster="desk")


async def test_it_serves_restarts_and_stops(tmp_path: Path) -> None:
    for round_number in range(2):
        world = RealWorld(node="master", root=tmp_path, token="secret")
        server = MasterServer(world, SETTINGS)
        await server.start()
        stub = master_pb2_grpc.MasterStub(world.network.channel(server.control_address))
        if round_number == 0:
            await stub.MakeDirectory(master_pb2.MakeDirectoryRequest(path="/home"), timeout=5)
        assert (await stub.Stat(master_pb2.StatRequest(path="/home"), timeout=5)).is_directory
        with pytest.raises(NotFound):
            await stub.Stat(master_pb2.StatRequest(path="/absent"), timeout=5)
        with pytest.raises(TooFewServers):
            await stub.Create(master_pb2.CreateRequest(path="/a"), timeout=5)
        status = await stub.GetClusterStatus(master_pb2.ClusterStatusRequest(), timeout=5)
        assert bool(status.recovery_note) == (round_number == 1)
        await server.stop()
        await world.close()


async def test_it_says_who_it_is_and_stops_when_told(tmp_path: Path) -> None:
    world = RealWorld(node="master", root=tmp_path, token="secret")
    server = MasterServer(world, SETTINGS)
    await server.start()
    stub = node_pb2_grpc.NodeStub(world.network.channel(server.control_address))
    description = await stub.Describe(node_pb2.DescribeRequest(), timeout=5)
    assert (description.node, description.role, description.cluster) == ("master", "master", "desk")
    assert description.counters["log_records"] == 3
    await stub.Shutdown(node_pb2.ShutdownRequest(), timeout=5)
    async with asyncio.timeout(5):
        await server.wait_for_shutdown()
    await server.stop()
    await world.close()


async def test_two_masters_cannot_share_a_folder(tmp_path: Path) -> None:
    world = RealWorld(node="master", root=tmp_path, token="secret")
    server = MasterServer(world, SETTINGS)
    await server.start()
    other = RealWorld(node="master", root=tmp_path, token="secret")
    with pytest.raises(Conflict, match="in use"):
        await MasterServer(other, SETTINGS).start()
    await server.stop()
    await world.close()
    await other.close()


async def test_a_caller_without_the_token_is_turned_away(tmp_path: Path) -> None:
    world = RealWorld(node="master", root=tmp_path / "m", token="secret")
    server = MasterServer(world, SETTINGS)
    await server.start()
    stranger = RealWorld(node="x", root=tmp_path / "x", token="guess")
    stub = master_pb2_grpc.MasterStub(stranger.network.channel(server.control_address))
    with pytest.raises(Unauthenticated):
        await stub.Stat(master_pb2.StatRequest(path="/"), timeout=5)
    await stranger.close()
    await server.stop()
    await world.close()
