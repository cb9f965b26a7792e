"""Several masters: the log on all that are in sync before an answer, shadows that answer reads, and who takes over."""

import asyncio

import pytest

from master.events import CheckpointInstalled, LogCut, MasterTookOver
from runtime.errors import NotActing, TabletopError
from runtime.faults.disk import SlowDisk
from runtime.faults.links import LinkFaults
from tests.sim.several_masters import ADDRESSES, NAMES, Masters, play


@pytest.mark.parametrize("seed", range(3))
def test_what_was_answered_is_in_the_log_of_every_master_in_sync(seed: int):
    async def story(masters: Masters) -> None:
        for number in range(20):
            assert await masters.make("master", f"/d{number:02d}") is None
            lasts = {name: (await masters.standing(name)).last_sequence for name in NAMES}
            assert len(set(lasts.values())) == 1, lasts
        await asyncio.sleep(0.5)
        expected = await masters.names("master")
        assert len(expected) == 20
        for name in NAMES[1:]:
            reply = await masters.listed(name)
            assert [entry.path for entry in reply.entries] == expected
            assert reply.shadow.master == name and reply.shadow.lag_seconds < 1.0
            assert isinstance(error := await masters.make(name, "/x"), NotActing)
            assert error.servers == (ADDRESSES["master"],)

    play(seed, story)


@pytest.mark.parametrize("seed", range(4))
def test_a_shadow_takes_over_with_all_that_was_answered(seed: int):
    async def story(masters: Masters) -> None:
        answered: list[str] = []
        down: list[str] = []
        for round_number in range(4):
            [acting] = masters.acting()
            writing = asyncio.create_task(write(masters, acting, f"/r{round_number}-", answered))
            await asyncio.sleep(0.013 * (seed + 1))
            masters.kill(acting)
            down.append(acting)
            await writing
            await masters.until(lambda: bool(masters.acting()), "another one acts")
            [after] = masters.acting()
            found = await masters.names(after)
            assert set(answered) <= set(found)
            await masters.start(down.pop(0))
            await masters.until(lambda: masters.in_sync() == NAMES, "all are in sync again")
        epochs = [
            record.event.epoch for record in masters.simulation.sink.records if isinstance(record.event, MasterTookOver)
        ]
        assert epochs == sorted(set(epochs)) and len(epochs) == 5
        await asyncio.sleep(1.0)
        listed = [await masters.names(name) for name in NAMES]
        assert listed[0] == listed[1] == listed[2]

    play(seed, story)


async def write(masters: Masters, name: str, prefix: str, answered: list[str]) -> None:
    """Make directories until the master does not answer."""
    for number in range(1000):
        if await masters.make(name, f"{prefix}{number:03d}", seconds=1.0) is not None:
            return
        answered.append(f"{prefix}{number:03d}")


@pytest.mark.parametrize("seed", range(4))
def test_a_master_that_is_cut_off_answers_nothing_and_its_records_are_cut_off(seed: int):
    async def story(masters: Masters) -> None:
        simulation = masters.simulation
        heal = simulation.partition(["master"], ["master2", "master3"])
        masters.service.cut_off["master"] = None
        lost = await asyncio.gather(*(masters.make("master", f"/lost{number}") for number in range(5)))
        assert all(isinstance(error, TabletopError) and not error.definite for error in lost)
        await masters.until(lambda: bool(masters.acting()), "another one acts")
        [acting] = masters.acting()
        assert acting != "master"
        assert isinstance(await masters.make("master", "/no"), NotActing)
        assert await masters.make(acting, "/kept") is None
        heal()
        masters.service.cut_off.clear()
        await masters.until(lambda: masters.in_sync() == NAMES, "all are in sync again")
        cuts = [record for record in simulation.sink.records if isinstance(record.event, LogCut)]
        assert [record.node for record in cuts] == ["master"]
        await asyncio.sleep(1.0)
        assert [await masters.names(name) for name in NAMES] == [["/kept"]] * 3

    play(seed, story)


def test_a_shadow_that_is_silent_is_taken_out_before_anything_is_answered_without_it():
    async def story(masters: Masters) -> None:
        masters.kill("master3")
        assert await masters.make("master", "/a") is None
        assert masters.in_sync() == ("master", "master2")
        masters.kill("master2")
        assert await masters.make("master", "/b") is None
        assert masters.in_sync() == ("master",)
        masters.kill("master")
        await masters.start("master2")
        await masters.start("master3")
        await asyncio.sleep(10)
        assert masters.acting() == [], "neither has what was answered last"
        await masters.start("master")
        await masters.until(lambda: masters.acting() == ["master"], "the one that has everything acts")
        await masters.until(lambda: masters.in_sync() == NAMES, "all are in sync again")
        await asyncio.sleep(1.0)
        assert [await masters.names(name) for name in NAMES] == [["/a", "/b"]] * 3

    play(1, story)


def test_a_paused_shadow_holds_nobody_up_for_longer_than_its_patience():
    async def story(masters: Masters) -> None:
        now = masters.simulation.loop.time
        resume = masters.simulation.pause("master2")
        begun = now()
        assert await masters.make("master", "/a") is None
        assert now() - begun < 2.0
        begun = now()
        assert await masters.make("master", "/b") is None
        assert now() - begun < 0.1
        resume()
        await masters.until(lambda: masters.in_sync() == NAMES, "it is back")

    play(2, story)


def test_a_master_that_was_away_for_long_catches_up_by_a_checkpoint():
    async def story(masters: Masters) -> None:
        masters.kill("master3")
        for number in range(300):
            assert await masters.make("master", f"/d{number:03d}") is None
        oldest = min(name for name in masters.simulation.world("master").simulated_disk.paths() if "log/" in name)
        assert oldest > "log/00000000000000000001"
        await masters.start("master3")
        await masters.until(lambda: masters.in_sync() == NAMES, "it has caught up")
        installed = [
            record for record in masters.simulation.sink.records if isinstance(record.event, CheckpointInstalled)
        ]
        assert [record.node for record in installed] == ["master3"]
        masters.kill("master")
        masters.kill("master2")
        await masters.until(lambda: masters.acting() == ["master3"], "it acts")
        assert len(await masters.names("master3")) == 300

    play(3, story, checkpoint_log_bytes=4096, shadow_memory_bytes=512)


def test_shadows_answer_old_names_while_nobody_acts_and_say_how_old():
    async def story(masters: Masters) -> None:
        assert await masters.make("master", "/a") is None
        await asyncio.sleep(0.5)
        masters.kill("master")
        await asyncio.sleep(1.0)
        assert masters.acting() == []
        reply = await masters.listed("master2")
        assert [entry.path for entry in reply.entries] == ["/a"]
        assert 0.5 < reply.shadow.lag_seconds < 2.0

    play(4, story)


def test_a_master_whose_disk_was_emptied_does_not_take_over():
    async def story(masters: Masters) -> None:
        assert await masters.make("master", "/a") is None
        masters.kill("master")
        for name in ("master2", "master3"):
            masters.kill(name)
        masters.simulation.world("master2").simulated_disk.erase()
        await masters.start("master2")
        await asyncio.sleep(10)
        assert masters.acting() == []
        await masters.start("master3")
        await masters.until(lambda: masters.acting() == ["master3"], "the one that has everything acts")
        await masters.start("master")
        await masters.until(lambda: masters.in_sync() == NAMES, "all are in sync again")
        await asyncio.sleep(1.0)
        assert [await masters.names(name) for name in NAMES] == [["/a"]] * 3

    play(5, story)


@pytest.mark.parametrize("seed", range(3))
def test_a_record_that_is_being_written_counts_for_nothing_when_logs_are_compared(seed: int):
    """It has a number already, and is the one that begins the tenure: the old master has another under that number."""

    async def story(masters: Masters) -> None:
        simulation = masters.simulation
        heal = simulation.partition(["master"], list(NAMES[1:]))
        making = asyncio.create_task(masters.make("master", "/lost", seconds=0.5))
        await asyncio.sleep(0.2)
        masters.kill("master")
        heal()
        error = await making
        assert error is not None and not error.definite
        await masters.start("master")
        for name in NAMES[1:]:
            simulation.world(name).simulated_disk.impose(SlowDisk(seconds_per_sync=0.2))
        await masters.until(lambda: bool(masters.acting()), "another one acts")
        await masters.until(lambda: masters.in_sync() == NAMES, "all are in sync again")
        await asyncio.sleep(1.0)
        listed = [await masters.names(name) for name in NAMES]
        assert listed[0] == listed[1] == listed[2]
        extents = [(await masters.standing(name)).last_sequence for name in NAMES]
        assert len(set(extents)) == 1

    play(seed, story)


def test_a_master_in_the_charter_whose_disk_was_emptied_is_taken_out_before_it_gets_the_state_again():
    async def story(masters: Masters) -> None:
        for number in range(5):
            assert await masters.make("master", f"/{number}") is None
        masters.kill("master2")
        masters.simulation.world("master2").simulated_disk.erase()
        late = masters.simulation.impose(LinkFaults(delay=0.4), "master", "master2")
        await masters.start("master2")
        for _ in range(100):
            await asyncio.sleep(0.05)
            shadow = masters.servers["master2"].shadow
            assert shadow is not None
            may_take_over = "master2" in masters.in_sync() and shadow.log.last_epoch == 1
            assert not may_take_over or shadow.log.last_sequence >= 8
        late()
        await masters.until(lambda: masters.in_sync() == NAMES, "it is in sync again")

    play(6, story)
