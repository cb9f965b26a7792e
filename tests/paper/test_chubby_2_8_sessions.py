"""Chubby 2.8 and 2.9: sessions, KeepAlives and fail-over, claim by claim."""

import asyncio

from lockservice.interface import SessionState
from lockservice.settings import LockServiceSettings
from runtime.faults.links import Kind
from runtime.simulated.messages import Message
from tests.unit.lock_service_support import LOCK, SETTINGS, LockCell

SAFE, JEOPARDY, EXPIRED = SessionState


def test_the_lease_is_12_seconds_and_the_grace_45():
    settings = LockServiceSettings()
    assert (settings.lease_seconds, settings.grace_seconds) == (12.0, 45.0)


def test_a_keepalive_is_held_until_the_lease_is_close_to_its_end_and_the_next_one_comes_at_once():
    """So there is almost always a KeepAlive at the service."""
    cell = LockCell()

    async def story():
        await cell.session()
        times: dict[Kind, list[float]] = {Kind.REQUEST: [], Kind.REPLY: []}

        def note(message: Message):
            if message.method.endswith("KeepAlive") and message.kind in times:
                times[message.kind].append(cell.simulation.loop.time())

        cell.simulation.on_message(note)
        await asyncio.sleep(20.0)
        for reply, request in zip(times[Kind.REPLY], times[Kind.REQUEST], strict=False):
            assert 0 <= request - reply < 0.1
        gaps = [later - before for before, later in zip(times[Kind.REPLY], times[Kind.REPLY][1:], strict=False)]
        assert all(SETTINGS.lease_seconds * 0.4 < gap < SETTINGS.lease_seconds * 0.7 for gap in gaps) and gaps

    cell.tell(story())


def test_events_ride_on_the_answer_to_a_keepalive_which_is_given_early_for_them():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        heard = asyncio.Event()

        async def hear():
            async for change in session.watch("/f"):
                if change.kind.name == "CREATED":
                    heard.set()
                    return

        hearing = asyncio.ensure_future(hear())
        await asyncio.sleep(0.1)
        await other.create("/f")
        async with asyncio.timeout(0.2):
            await heard.wait()
        await hearing

    cell.tell(story())


def test_jeopardy_then_safe_when_the_service_is_back_within_the_grace():
    cell = LockCell()

    async def story():
        session = await cell.session()
        await session.create("/here", ephemeral=True)
        states = []
        session.on_change(states.append)
        cell.simulation.kill(LOCK)
        await asyncio.sleep(SETTINGS.lease_seconds + 0.2)
        cell.simulation.restart(LOCK)
        await cell.start()
        await asyncio.sleep(1.0)
        assert states == [JEOPARDY, SAFE] and await session.list("/") == ["here"]

    cell.tell(story())


def test_jeopardy_then_expired_when_the_service_stays_away():
    cell = LockCell()

    async def story():
        session = await cell.session()
        states = []
        session.on_change(states.append)
        cell.simulation.kill(LOCK)
        await asyncio.sleep(SETTINGS.session_seconds)
        assert states == [JEOPARDY, EXPIRED] and session.expired.is_set()
        cell.simulation.restart(LOCK)
        await cell.start()

    cell.tell(story())


def test_a_new_run_has_a_new_epoch_and_rejects_calls_of_an_earlier_one():
    cell = LockCell()

    async def story():
        session = await cell.session()
        before = cell.server.core.state.epoch
        await cell.restart()
        assert cell.server.core.state.epoch == before + 1
        await session.create("/f")  # Refused under the old epoch, learned, asked again.
        assert await session.list("/") == ["f"]

    cell.tell(story())


def test_sessions_and_locks_are_rebuilt_and_leases_are_extended_to_the_longest_that_may_have_been_given():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        held = await session.acquire("/f")
        await cell.restart()
        entry = cell.server.core.state.session(session.number)
        now = cell.simulation.world(LOCK).clock.now()
        assert entry.ends_at - now > SETTINGS.session_seconds - 0.1
        assert await other.check(held)

    cell.tell(story())


def test_ephemeral_files_of_sessions_that_do_not_come_back_are_deleted_after_the_fail_over():
    cell = LockCell()

    async def story():
        session, other = await cell.session(), await cell.session()
        await session.create("/here", ephemeral=True)
        cell.simulation.kill("client1")
        await cell.restart()
        assert await other.list("/") == ["here"]
        await asyncio.sleep(SETTINGS.session_seconds + 1.0)
        assert await other.list("/") == []

    cell.tell(story())
