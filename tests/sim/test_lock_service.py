"""The lock service in trouble: it or its clients die, stand still, are cut off, or messages get lost (Chubby 2.4, 2.8,
2.9). Times are true virtual seconds unless a clock is named."""

import asyncio

import pytest

from lockservice.interface import ChangeKind, SessionState
from runtime.errors import Conflict, Superseded
from runtime.faults.disk import SyncError
from runtime.faults.links import Kind
from runtime.simulated.messages import Delay, Double, Message
from tests.unit.lock_service_support import LOCK, SESSION_SECONDS, SETTINGS, LockCell

SAFE, JEOPARDY, EXPIRED = SessionState


def told(cell: LockCell, story) -> None:
    cell.tell(story())


@pytest.mark.parametrize("power_cut", [False, True])
def test_what_was_answered_survives_the_death_of_the_service(power_cut: bool):
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        held = await session.acquire("/m")
        await session.create("/here", b"me", ephemeral=True)
        stat = await session.create("/config", b"1")
        before = cell.kept()
        await cell.restart(power_cut=power_cut)
        assert cell.kept() == before
        assert await session.check(held) and await other.check(held)
        assert await session.read("/config") == (b"1", stat)
        with pytest.raises(Conflict):
            await other.acquire("/m")
        await asyncio.sleep(3 * SESSION_SECONDS)
        assert session.state is SAFE and await other.check(held)

    told(cell, story)


def test_a_session_that_does_not_come_back_after_a_restart_is_lost():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        held = await session.acquire("/m")
        await session.create("/here", ephemeral=True)
        cell.simulation.kill("client1")
        await cell.restart()
        began = cell.simulation.loop.time()
        after = await other.acquire("/m", wait_seconds=60.0)
        waited = cell.simulation.loop.time() - began
        assert waited >= SESSION_SECONDS + SETTINGS.lock_delay_seconds
        assert after.generation > held.generation and await other.list("/") == []

    told(cell, story)


def test_a_service_that_stands_still_for_less_than_the_grace_costs_no_session():
    cell = LockCell()

    async def story():
        session = await cell.session()
        held = await session.acquire("/m")
        states = []
        session.on_change(states.append)
        cell.simulation.pause(LOCK)
        await asyncio.sleep(4.3)  # More than the lease, less than lease and grace, by the client's careful clock.
        assert session.state is JEOPARDY
        cell.simulation.resume(LOCK)
        await asyncio.sleep(1.0)
        assert states == [JEOPARDY, SAFE] and await session.check(held)

    told(cell, story)


def test_a_client_that_stood_still_finds_its_session_over_at_once():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        await session.acquire("/m")
        seen = []
        world = cell.simulation.world("client1")

        async def look_when_awake():
            await world.clock.sleep(0.1)
            seen.append(session.state)

        cell.simulation.pause("client1")
        world.spawn(look_when_awake(), "look")
        await other.acquire("/m", wait_seconds=60.0)
        assert session.state is EXPIRED
        cell.simulation.resume("client1")
        await asyncio.sleep(1.0)
        assert seen == [EXPIRED] and session.expired.is_set()
        with pytest.raises(Superseded):
            await cell.simulation.on(world, session.release("/m"))

    told(cell, story)


@pytest.mark.parametrize(("client_drift", "service_drift"), [(-0.09, 0.09), (0.09, -0.09), (0.0, 0.0), (-0.09, -0.09)])
@pytest.mark.parametrize("after", [0.3, 1.1, 1.9])
def test_a_client_that_is_cut_off_stops_believing_before_anybody_else_is_given_its_lock(
    client_drift: float, service_drift: float, after: float
):
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        cell.simulation.world("client1").simulated_clock.drift(client_drift)
        cell.simulation.world(LOCK).simulated_clock.drift(service_drift)
        await session.acquire("/m", lock_delay_seconds=0)
        await asyncio.sleep(after)
        cell.simulation.isolate("client1")
        await other.acquire("/m", wait_seconds=60.0)
        assert session.state is EXPIRED

    told(cell, story)


def test_the_lock_of_a_lost_session_is_withheld_for_its_lock_delay():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        await session.acquire("/m")
        await session.acquire("/quick", lock_delay_seconds=0)
        cell.simulation.kill("client1")
        await other.acquire("/quick", wait_seconds=60.0)
        lost = cell.simulation.loop.time()
        with pytest.raises(Conflict, match="lock-delay"):
            await other.acquire("/m")
        await other.acquire("/m", wait_seconds=60.0)
        assert cell.simulation.loop.time() - lost >= SETTINGS.lock_delay_seconds - 1.0

    told(cell, story)


def test_a_refused_request_that_arrives_twice_is_not_done_the_second_time():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        await session.acquire("/m")

        def double(message: Message):
            fits = message.method.endswith("AcquireLock") and message.kind is Kind.REQUEST
            return Double(2.0) if fits and message.source == "client2" else None

        cell.simulation.on_message(double)
        with pytest.raises(Conflict):
            await other.acquire("/m")
        await session.release("/m")
        await asyncio.sleep(3.0)
        assert cell.server.core.state.locks == {}

    told(cell, story)


def test_a_change_whose_answer_was_lost_is_made_once_also_over_a_restart():
    cell = LockCell()

    async def story():
        session = await cell.session()
        made = await session.create("/counter", b"0")
        lost = []

        def lose(message: Message):
            if message.method.endswith("WriteLockFile") and message.kind is Kind.REPLY and len(lost) < 2:
                lost.append(message)
                return Delay(30.0)
            return None

        cell.simulation.on_message(lose)
        writing = asyncio.ensure_future(session.write("/counter", b"1", generation=made.generation))
        await asyncio.wait([writing], timeout=0.5)
        await cell.restart()
        written = await writing
        assert lost and written.generation == made.generation + 1
        assert await session.read("/counter") == (b"1", written)

    told(cell, story)


def test_a_request_of_an_epoch_that_has_passed_is_refused_and_asked_again():
    cell = LockCell()

    async def story():
        session = await cell.session()
        session._epoch -= 1
        await session.create("/a")
        assert session._epoch == cell.server.core.state.epoch

    told(cell, story)


def test_a_caller_who_is_cancelled_while_the_lock_is_given_to_it_gives_it_back():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()

        def late(message: Message):
            fits = message.method.endswith("AcquireLock") and message.kind is Kind.REPLY
            return Delay(0.3) if fits and message.target == "client1" else None

        cell.simulation.on_message(late)
        asking = asyncio.ensure_future(session.acquire("/m"))
        await asyncio.wait([asking], timeout=0.1)
        assert "/m" in cell.server.core.state.locks
        asking.cancel()
        await asyncio.wait([asking])
        assert await other.acquire("/m", wait_seconds=3.0)
        await asyncio.sleep(SESSION_SECONDS)
        assert session.state is SAFE

    told(cell, story)


def test_watches_outlive_the_service():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        await other.create("/a", b"1")
        heard = []

        async def hear():
            async for change in session.watch("/a"):
                heard.append(change.kind)

        hearing = asyncio.ensure_future(hear())
        await asyncio.sleep(0.5)
        await cell.restart()
        await asyncio.sleep(3.0)
        assert heard == [ChangeKind.READ_AGAIN, ChangeKind.READ_AGAIN]
        await other.write("/a", b"2")
        await asyncio.sleep(0.5)
        assert heard[2:] == [ChangeKind.CONTENTS]
        hearing.cancel()

    told(cell, story)


def test_an_event_whose_answer_was_lost_is_told_again():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        heard = []

        async def hear():
            async for change in session.watch("/a"):
                heard.append(change.kind)

        hearing = asyncio.ensure_future(hear())
        await asyncio.sleep(0.5)
        block = cell.simulation.partition([LOCK], ["client1"], one_way=True)
        await other.create("/a")
        await asyncio.sleep(0.2)
        block()
        await asyncio.sleep(SETTINGS.lease_seconds)
        assert heard == [ChangeKind.READ_AGAIN, ChangeKind.CREATED] and session.state is SAFE
        hearing.cancel()

    told(cell, story)


def test_keepalives_are_few_for_they_are_held():
    cell = LockCell()

    async def story():
        await cell.session()
        seen = []

        def count(message: Message):
            if message.method.endswith("KeepAlive") and message.kind is Kind.REQUEST:
                seen.append(message)

        cell.simulation.on_message(count)
        await asyncio.sleep(60.0)
        assert 60 / (SETTINGS.lease_seconds / 2) - 2 <= len(seen) <= 60 / (SETTINGS.lease_seconds / 2) + 2

    told(cell, story)


def test_a_service_whose_log_fails_ends_and_the_next_has_what_was_answered():
    cell = LockCell()

    async def story():
        session = await cell.session()
        await session.create("/a", b"answered")
        disk = cell.simulation.world(LOCK).simulated_disk
        heal = disk.impose(SyncError("log", loses_pages=True))
        writing = asyncio.ensure_future(session.write("/a", b"asked again"))
        await cell.server.wait_for_shutdown()
        assert cell.server.failure and not writing.done()
        heal()
        await cell.restart()
        written = await writing
        assert await session.read("/a") == (b"asked again", written)

    told(cell, story)


def test_a_long_log_is_begun_again_with_the_state():
    cell = LockCell(settings=type(SETTINGS).from_dict({**SETTINGS.to_dict(), "log_bytes": 2048}))

    async def story():
        session = await cell.session()
        await session.acquire("/m")
        await session.create("/a", b"0")
        for number in range(100):
            await session.write("/a", str(number).encode())
        world = cell.simulation.world(LOCK)
        assert cell.server.core.log.log_bytes < 4096
        [name] = await world.disk.list("log")
        assert name != "00000000000000000001.log"
        before = cell.kept()
        await cell.restart(power_cut=True)
        assert cell.kept() == before

    told(cell, story)


@pytest.mark.parametrize("other_is_under_way", [False, True])
def test_a_request_that_was_given_up_takes_no_lock_when_it_arrives_late(other_is_under_way: bool):
    """Whatever else of the same session waits for its answer meanwhile."""
    cell = LockCell()

    async def story():
        session = await cell.session()
        await session.create("/f")

        def trouble(message: Message):
            if message.kind is not Kind.REQUEST:
                return None
            if message.method.endswith("WriteLockFile"):
                return Delay(20.0)
            return Delay(3.0) if message.method.endswith("AcquireLock") else None

        cell.simulation.on_message(trouble)
        writing = asyncio.ensure_future(session.write("/f", b"1") if other_is_under_way else asyncio.sleep(0))
        await asyncio.sleep(0.01)
        asking = asyncio.ensure_future(session.acquire("/m"))
        await asyncio.wait([asking], timeout=0.1)
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.sleep(5.0)
        assert cell.server.core.state.locks == {} and session.state is SAFE
        writing.cancel()
        await asyncio.wait([writing])

    told(cell, story)


def test_a_lock_in_doubt_is_given_back_however_long_the_service_is_away():
    cell = LockCell(settings=type(SETTINGS).from_dict({**SETTINGS.to_dict(), "grace_seconds": 60.0}))

    async def story():
        session, other = await cell.session(patience_seconds=1.0), await cell.session()

        def late(message: Message):
            fits = message.method.endswith("AcquireLock") and message.kind is Kind.REPLY
            return Delay(30.0) if fits and message.target == "client1" else None

        end = cell.simulation.on_message(late)
        asking = asyncio.ensure_future(session.acquire("/m"))
        await asyncio.wait([asking], timeout=0.1)
        asking.cancel()
        cell.simulation.kill(LOCK)
        await asyncio.wait([asking])
        end()
        await asyncio.sleep(10.0)
        cell.simulation.restart(LOCK)
        await cell.start()
        await other.acquire("/m", wait_seconds=5.0)
        assert session.state is SAFE

    told(cell, story)
