"""Whoever is not one of our own programs calls a node as plain gRPC, and may ask it what it offers."""

import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from runtime.errors import Conflict
from runtime.node import NodeService
from runtime.real.reflection import VARIABLE
from runtime.real.world import RealWorld
from runtime.wire import node_pb2, node_pb2_grpc
from runtime.world import RpcServer

AUTHORIZATION = (("authorization", "Bearer secret"),)


class Node:
    """A node that serves, as long as the block lasts."""

    def __init__(self, folder: Path) -> None:
        self.world = RealWorld(node="server", root=folder, token="secret")
        self.rpc: RpcServer = self.world.network.rpc_server("127.0.0.1:0")

    async def __aenter__(self) -> grpc.aio.Channel:
        service = NodeService(self.world, role="test", cluster="c", control_address=lambda: self.rpc.address)
        node_pb2_grpc.add_NodeServicer_to_server(service, self.rpc.registrar)
        await self.rpc.start()
        self.channel = grpc.aio.insecure_channel(self.rpc.address)
        return self.channel

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self.rpc.stop(0)
        await self.world.close()


async def services(channel: grpc.aio.Channel, metadata: Any = AUTHORIZATION) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = [answer async for answer in stub.ServerReflectionInfo(iter([question]), metadata=metadata)]
    return [service.name for service in answers[0].list_services_response.service]


async def test_a_plain_unary_call_is_served_with_the_token_and_refused_without(tmp_path: Path):
    async with Node(tmp_path) as channel:
        stub = node_pb2_grpc.NodeStub(channel)
        description = await stub.Describe(node_pb2.DescribeRequest(), metadata=AUTHORIZATION)
        assert description.node == "server"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Describe(node_pb2.DescribeRequest())
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_reflection_is_there_on_request_and_wants_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with Node(tmp_path / "without") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await services(channel)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    monkeypatch.setenv(VARIABLE, "1")
    async with Node(tmp_path / "with") as channel:
        assert "tabletop.Node" in await services(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await services(channel, metadata=())
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_reflection_that_is_not_installed_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setitem(sys.modules, "grpc_reflection.v1alpha", None)
    world = RealWorld(node="server", root=tmp_path, token="secret")
    with pytest.raises(Conflict, match="pip install grpcio-reflection"):
        await world.network.rpc_server("127.0.0.1:0").start()
    await world.close()
