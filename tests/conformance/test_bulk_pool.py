"""The pool of bulk connections, in both worlds: what is kept, what is dropped, and what a restarted server does."""

import asyncio

import pytest

from runtime.bulk import receive_hello
from runtime.bulk_pool import BulkPool
from runtime.errors import Unavailable
from tests.conformance.both_worlds import in_both_worlds


class Peer:
    """A server that greets, and sends back every four bytes; it counts its connections, and can hang up."""

    def __init__(self, place, world):
        self.place, self.world = place, world
        self.connections = []

    async def serve(self, stream):
        self.connections.append(stream)
        await receive_hello(self.world, stream)
        while True:
            await stream.write(await stream.read_exactly(4))

    async def listen(self):
        listener = await self.place.on(
            self.world, self.world.network.listen(self.place.address(self.world), self.serve)
        )
        return listener.address

    def hang_up(self):
        for stream in self.connections:
            stream.abort()


async def transfer(pool, address, *, clean=True):
    """One round; tells whether its connection was new."""
    async with pool.borrow(address, b"ping") as link:
        assert await link.stream.read_exactly(4) == b"ping"
        link.is_clean = clean
        return link.is_new


@in_both_worlds
async def test_a_clean_connection_is_used_again_and_another_is_not(place, desk):
    peer = Peer(place, place.node("server"))
    address, pool = await peer.listen(), BulkPool(desk, idle_connections=8)
    assert await transfer(pool, address)
    assert not await transfer(pool, address)
    assert not await transfer(pool, address, clean=False)
    assert await transfer(pool, address)
    assert len(peer.connections) == 2
    pool.close()
    assert await transfer(pool, address)
    pool.close()


@in_both_worlds
async def test_transfers_at_once_have_connections_of_their_own_and_only_so_many_stay(place, desk):
    peer = Peer(place, place.node("server"))
    address, pool = await peer.listen(), BulkPool(desk, idle_connections=2)
    all_at_once = asyncio.Barrier(4)

    async def together():
        async with pool.borrow(address, b"ping") as link:
            await all_at_once.wait()
            assert await link.stream.read_exactly(4) == b"ping"
            link.is_clean = True
            return link.is_new

    assert await asyncio.gather(*(together() for _ in range(4))) == [True] * 4
    assert sorted(await asyncio.gather(*(together() for _ in range(4)))) == [False, False, True, True]
    pool.close()


@in_both_worlds
async def test_a_connection_that_died_while_it_lay_idle_takes_the_other_idle_ones_with_it(place, desk):
    peer = Peer(place, place.node("server"))
    address, pool = await peer.listen(), BulkPool(desk, idle_connections=8)
    async with pool.borrow(address, b"ping") as one, pool.borrow(address, b"ping") as other:
        for link in (one, other):
            await link.stream.read_exactly(4)
            link.is_clean = True
    peer.hang_up()
    for _ in range(2):  # At the latest the answer that does not come tells; after that there is no old one left.
        try:
            is_new = await transfer(pool, address)
            break
        except (Unavailable, EOFError):
            continue
    assert is_new and len(peer.connections) == 3
    pool.close()


@in_both_worlds
async def test_an_error_of_the_borrower_costs_its_own_connection_only(place, desk):
    peer = Peer(place, place.node("server"))
    address, pool = await peer.listen(), BulkPool(desk, idle_connections=8)
    with pytest.raises(ZeroDivisionError):
        async with pool.borrow(address, b"ping"):
            assert await transfer(pool, address)
            raise ZeroDivisionError
    assert not await transfer(pool, address)
    pool.close()


@in_both_worlds
async def test_nobody_listening_is_unavailable_and_definite(place, desk):
    world = place.node("server")
    listener = await place.on(world, world.network.listen(place.address(world), Peer(place, world).serve))
    await place.on(world, listener.close())
    with pytest.raises(Unavailable) as caught:
        await transfer(BulkPool(desk, idle_connections=8), listener.address)
    assert caught.value.definite
