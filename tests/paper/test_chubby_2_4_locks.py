"""Chubby 2.4: locks, sequencers and the lock-delay, claim by claim."""

import asyncio

import pytest

from lockservice.interface import Sequencer
from lockservice.settings import LockServiceSettings
from runtime.errors import Conflict, InvalidRequest, Superseded
from tests.unit.lock_service_support import SETTINGS, LockCell


def test_a_lock_conflicts_only_with_other_attempts_to_acquire_it():
    """Locks are advisory: holding one neither is needed to use a file, nor keeps others from it."""
    cell = LockCell()

    async def story():
        holder, other = await cell.session(), await cell.session()
        await holder.create("/f", b"1")
        await holder.acquire("/f")
        await other.write("/f", b"2")
        assert (await other.read("/f"))[0] == b"2"
        with pytest.raises(Conflict):
            await other.acquire("/f")

    cell.tell(story())


def test_a_sequencer_is_an_opaque_byte_string_that_a_third_party_can_check():
    """A holder may ask for one at any time, and hands it to servers, which check that it is still valid."""
    cell = LockCell()

    async def story():
        holder, server = await cell.session(), await cell.session()
        shown = (await holder.acquire("/f")).to_bytes()
        assert await server.check(Sequencer.from_bytes(shown))
        await holder.release("/f")
        assert not await server.check(Sequencer.from_bytes(shown))

    cell.tell(story())


def test_a_server_can_compare_with_the_most_recent_sequencer_that_it_has_seen():
    """For that the lock generation number rises with every change from free to held."""
    cell = LockCell()

    async def story():
        one, two = await cell.session(), await cell.session()
        seen = []
        for session in (one, two, one):
            seen.append((await session.acquire("/f")).generation)
            await session.release("/f")
        assert seen == sorted(seen) and len(set(seen)) == 3

    cell.tell(story())


def test_an_order_that_is_late_is_refused_by_its_sequencer():
    cell = LockCell()

    async def story():
        one, two, server = await cell.session(), await cell.session(), await cell.session()
        await server.create("/state", b"")
        late = await one.acquire("/f", lock_delay_seconds=0)
        cell.simulation.isolate("client1")
        await two.acquire("/f", wait_seconds=60.0)
        with pytest.raises(Superseded):
            await server.write("/state", b"as one said", sequencer=late)

    cell.tell(story())


def test_a_lock_that_is_released_is_free_at_once():
    cell = LockCell()

    async def story():
        one, two = await cell.session(), await cell.session()
        await one.acquire("/f")
        await one.release("/f")
        await two.acquire("/f")

    cell.tell(story())


def test_a_lock_whose_holder_failed_is_withheld_for_the_lock_delay():
    """So that a message that is late does no harm to who uses no sequencers."""
    cell = LockCell()

    async def story():
        one, two = await cell.session(), await cell.session()
        await one.acquire("/f")
        cell.simulation.kill("client1")
        await asyncio.sleep(SETTINGS.session_seconds + 1.0)
        assert not [number for number in cell.server.core.state.sessions if number == one.number]
        with pytest.raises(Conflict):
            await two.acquire("/f")
        await asyncio.sleep(SETTINGS.lock_delay_seconds)
        await two.acquire("/f")

    cell.tell(story())


def test_a_client_may_ask_for_any_lock_delay_up_to_a_bound_of_one_minute():
    assert LockServiceSettings().lock_delay_seconds == 60.0
    cell = LockCell()

    async def story():
        session = await cell.session()
        await session.acquire("/f", lock_delay_seconds=SETTINGS.lock_delay_seconds)
        with pytest.raises(InvalidRequest):
            await session.acquire("/g", lock_delay_seconds=SETTINGS.lock_delay_seconds + 0.001)

    cell.tell(story())
