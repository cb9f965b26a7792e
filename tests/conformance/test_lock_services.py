"""Lock services are alike: sessions, files, locks, sequencers and watches (Chubby 2)."""

import asyncio

import pytest

from lockservice.interface import Sequencer, SessionState
from runtime.errors import Conflict, InvalidRequest, NotFound, Superseded
from tests.conformance.lock_services import PATIENCE_SECONDS, Heard, in_every_lock_service


async def two_sessions(house):
    """Two sessions of two clients."""
    return await house.service("one").open_session(), await house.service("two").open_session()


@in_every_lock_service
async def test_a_file_is_made_read_written_and_deleted(house):
    one, two = await two_sessions(house)
    made = await one.create("/config", b"first")
    assert (made.length, made.is_ephemeral, made.lock_generation) == (5, False, 0)
    assert await two.read("/config") == (b"first", made)
    written = await two.write("/config", b"second!")
    assert written.generation > made.generation and written.length == 7
    assert (await one.read("/config"))[0] == b"second!"
    await one.delete("/config")
    for refused in (two.read("/config"), two.write("/config", b""), two.delete("/config")):
        with pytest.raises(NotFound):
            await refused


@in_every_lock_service
async def test_a_name_is_made_once(house):
    one, two = await two_sessions(house)
    await one.create("/a", b"mine")
    with pytest.raises(Conflict):
        await two.create("/a", b"mine!")
    assert (await two.read("/a"))[0] == b"mine"


@in_every_lock_service
async def test_compare_and_set_refuses_another_generation(house):
    one, two = await two_sessions(house)
    made = await one.create("/counter", b"0")
    written = await one.write("/counter", b"1", generation=made.generation)
    with pytest.raises(Conflict):
        await two.write("/counter", b"9", generation=made.generation)
    with pytest.raises(Conflict):
        await two.delete("/counter", generation=made.generation)
    assert (await two.read("/counter")) == (b"1", written)
    await two.delete("/counter", generation=written.generation)


@in_every_lock_service
async def test_a_generation_never_comes_back(house):
    one, _ = await two_sessions(house)
    before = await one.create("/a", b"x")
    await one.delete("/a")
    after = await one.create("/a", b"x")
    assert after.generation > before.generation
    with pytest.raises(Conflict):
        await one.write("/a", b"y", generation=before.generation)


@in_every_lock_service
async def test_a_directory_is_there_while_something_is_in_it(house):
    one, two = await two_sessions(house)
    assert await one.list("/servers") == []
    await one.create("/servers/cs2")
    await two.create("/servers/cs1")
    await one.create("/servers/deep/er")
    await one.create("/serversside")
    assert await one.list("/servers") == ["cs1", "cs2", "deep"]
    assert await one.list("/") == ["servers", "serversside"]
    await one.delete("/servers/deep/er")
    assert await two.list("/servers") == ["cs1", "cs2"]


@in_every_lock_service
async def test_paths_that_can_never_be_are_refused(house):
    one, _ = await two_sessions(house)
    for path in ("", "a", "/", "/a/", "//a", "/a\nb", "/" + "x" * 2000):
        for refused in (one.create(path), one.read(path), one.acquire(path), one.delete(path)):
            with pytest.raises(InvalidRequest):
                await refused
    with pytest.raises(InvalidRequest):
        await one.create("/large", bytes(256 * 1024 + 1))
    await one.create("/just", bytes(256 * 1024))


@in_every_lock_service
async def test_a_lock_has_one_holder(house):
    one, two = await two_sessions(house)
    held = await one.acquire("/master")
    assert held == Sequencer("/master", held.generation, one.number)
    with pytest.raises(Conflict):
        await two.acquire("/master")
    assert await two.check(held)
    await one.release("/master")
    assert not await two.check(held)
    after = await two.acquire("/master")
    assert after.generation > held.generation
    with pytest.raises(Conflict):
        await one.release("/master")
    assert await one.check(after) and not await one.check(held)


@in_every_lock_service
async def test_acquiring_a_lock_that_one_has_gives_the_same_sequencer(house):
    one, _ = await two_sessions(house)
    assert await one.acquire("/master") == await one.acquire("/master")
    await one.release("/master")
    with pytest.raises(Conflict):
        await one.release("/master")


@in_every_lock_service
async def test_a_lock_needs_no_file_and_a_file_shows_its_lock(house):
    one, two = await two_sessions(house)
    held = await one.acquire("/master")
    await two.create("/master", b"cs1")
    assert (await two.read("/master"))[1].lock_generation == held.generation
    await two.delete("/master")
    assert await two.check(held)
    with pytest.raises(Conflict):
        await two.acquire("/master")


@in_every_lock_service
async def test_who_waits_gets_the_lock_when_it_is_released(house):
    one, two = await two_sessions(house)
    held = await one.acquire("/master")
    waiting = asyncio.ensure_future(two.acquire("/master", wait_seconds=PATIENCE_SECONDS))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    await one.release("/master")
    assert (await waiting).generation > held.generation


@in_every_lock_service
async def test_who_waits_in_vain_is_told(house):
    one, two = await two_sessions(house)
    await one.acquire("/master")
    with pytest.raises(Conflict):
        await two.acquire("/master", wait_seconds=0.3)


@in_every_lock_service
async def test_a_waiter_who_is_cancelled_takes_no_lock(house):
    one, two = await two_sessions(house)
    await one.acquire("/master")
    waiting = asyncio.ensure_future(two.acquire("/master", wait_seconds=PATIENCE_SECONDS))
    await asyncio.wait([waiting], timeout=0.1)
    waiting.cancel()
    await asyncio.wait([waiting])
    await one.release("/master")
    assert await one.acquire("/master", wait_seconds=PATIENCE_SECONDS)


@in_every_lock_service
async def test_a_sequencer_fences_a_write(house):
    one, two = await two_sessions(house)
    await one.create("/data", b"")
    held = await one.acquire("/master")
    await two.write("/data", b"as told by one", sequencer=held)
    await one.release("/master")
    with pytest.raises(Superseded):
        await two.write("/data", b"too late", sequencer=held)
    newer = await two.acquire("/master")
    with pytest.raises(Superseded):
        await one.write("/data", b"too late", sequencer=held)
    await one.write("/data", b"as told by two", sequencer=newer)
    assert (await one.read("/data"))[0] == b"as told by two"


@in_every_lock_service
async def test_a_closed_session_leaves_nothing_and_frees_its_locks_at_once(house):
    one, two = await two_sessions(house)
    await one.create("/here", ephemeral=True)
    await one.create("/stays")
    await one.acquire("/master", lock_delay_seconds=0.5)
    assert (await two.read("/here"))[1].is_ephemeral
    states = []
    one.on_change(states.append)
    await one.close()
    await one.close()
    assert one.state is SessionState.EXPIRED and one.expired.is_set() and states == [SessionState.EXPIRED]
    assert await two.list("/") == ["stays"]
    await two.acquire("/master")
    for refused in (one.read("/stays"), one.create("/b"), one.acquire("/c"), one.release("/master"), one.list("/")):
        with pytest.raises(Superseded):
            await refused


@in_every_lock_service
async def test_a_lost_session_loses_its_locks_after_the_lock_delay_and_its_files(house):
    one, two = await two_sessions(house)
    await one.create("/here", ephemeral=True)
    held = await one.acquire("/master")
    quick = await one.acquire("/quick", lock_delay_seconds=0)
    await house.lose(one)
    gone = Heard(two, "/here")
    await gone.until(lambda heard: "DELETED" in heard.kinds())
    await gone.stop()
    assert not await two.check(held) and not await two.check(quick)
    assert (await two.acquire("/quick", wait_seconds=PATIENCE_SECONDS)).generation > quick.generation
    with pytest.raises(Conflict):
        await two.acquire("/master")
    after = await two.acquire("/master", wait_seconds=PATIENCE_SECONDS)
    assert after.generation > held.generation


@in_every_lock_service
async def test_a_watch_tells_of_every_kind_of_change(house):
    one, two = await two_sessions(house)
    heard, above = Heard(two, "/dir/file"), Heard(two, "/dir")
    for told in (heard, above):
        await told.until(lambda heard: heard.kinds() == ["READ_AGAIN"])
    await one.create("/dir/file", b"1")
    await heard.until(lambda heard: "CREATED" in heard.kinds())
    await above.until(lambda heard: "CHILDREN" in heard.kinds())
    await one.write("/dir/file", b"2")
    await heard.until(lambda heard: "CONTENTS" in heard.kinds())
    await one.acquire("/dir/file")
    await heard.until(lambda heard: heard.kinds().count("LOCK") == 1)
    await one.release("/dir/file")
    await heard.until(lambda heard: heard.kinds().count("LOCK") == 2)
    await one.delete("/dir/file")
    await heard.until(lambda heard: "DELETED" in heard.kinds())
    await above.until(lambda heard: heard.kinds().count("CHILDREN") == 2)
    await two.close()
    for told in (heard, above):
        await told.until(lambda heard: heard.is_over)


@in_every_lock_service
async def test_who_reads_after_each_change_ends_with_the_last_state(house):
    one, two = await two_sessions(house)
    await one.create("/counter", b"0")
    seen = []

    async def follow():
        async for _ in two.watch("/counter"):
            seen.append((await two.read("/counter"))[0])
            if seen[-1] == b"30":
                return

    following = asyncio.ensure_future(follow())
    for number in range(1, 31):
        await one.write("/counter", str(number).encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await following
    assert sorted(seen, key=int) == seen


@in_every_lock_service
async def test_many_clients_raise_a_counter_by_compare_and_set(house):
    sessions = [await house.service(f"client{number}").open_session() for number in range(4)]
    await sessions[0].create("/counter", b"0")

    async def raise_it(session, times):
        while times:
            value, stat = await session.read("/counter")
            try:
                await session.write("/counter", str(int(value) + 1).encode(), generation=stat.generation)
                times -= 1
            except Conflict:
                pass

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(raise_it(session, 5) for session in sessions))
    assert (await sessions[0].read("/counter"))[0] == b"20"


@in_every_lock_service
async def test_a_session_stays_while_nothing_is_done(house):
    one, two = await two_sessions(house)
    held = await one.acquire("/master")
    states = []
    one.on_change(states.append)
    await asyncio.sleep(3)
    assert await two.check(held) and one.state is SessionState.SAFE and states == []
