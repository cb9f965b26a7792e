"""The virtual loop's guard against time that stands still, the watch over real time, and tapes that are replayed."""

import asyncio
import itertools
import math

import pytest

from runtime.simulated import loop as loop_module
from runtime.simulated.loop import SimulatedLoop, SimulationStuck
from runtime.simulated.tape import Plain, Tape
from runtime.simulated.world import Simulation


def run(main):
    """Run a coroutine on a loop of its own, in the plain order."""
    loop = SimulatedLoop(Tape(0, quiet=True))
    try:
        return loop.run(main)
    finally:
        loop.close()


def test_who_waits_for_a_time_finds_that_it_has_come_however_little_was_missing():
    async def story():
        loop = asyncio.get_running_loop()
        for _ in range(1000):
            await asyncio.sleep(1.234567)
            before = loop.time()
            for when in (math.nextafter(before, math.inf), before + 1e-10, before + 1e-9 + 1e-12):
                woke: asyncio.Future[None] = loop.create_future()
                loop.call_at(when, woke.set_result, None)
                await woke
                assert loop.time() >= when > before

    run(story())


def test_timers_that_are_always_due_now_are_noticed(monkeypatch):
    monkeypatch.setattr(loop_module, "STEPS_AT_ONE_INSTANT", 1000)

    async def story():
        loop = asyncio.get_running_loop()
        for turn in itertools.count():
            assert turn < 5000, "time stands still, and nobody notices"
            woke: asyncio.Future[None] = loop.create_future()
            loop.call_at(loop.time(), woke.set_result, None)
            await woke

    with pytest.raises(SimulationStuck, match="1000 steps at"):
        run(story())


def test_a_run_that_takes_too_long_is_ended_and_says_who_waits_where():
    async def wait_for_ever():
        await asyncio.Event().wait()

    async def story(desk):
        desk.spawn(wait_for_ever(), "the one that waits")
        for _ in itertools.count():
            await asyncio.sleep(1)

    with Simulation(0) as simulation:
        desk = simulation.add_node("desk")
        with pytest.raises(SimulationStuck, match=r"takes too long(.|\n)*the one that waits at .*wait_for_ever"):
            simulation.run(story(desk), processor_seconds=0.05)
        simulation.run(asyncio.sleep(1e6), processor_seconds=1e6)


def choices(tape: Tape) -> list[int]:
    return [tape.stream("loop order").below(5) for _ in range(100)]


def test_a_recorded_tape_chooses_as_any_other_and_notes_what_was_unusual():
    tape = Tape(3, recorded=True)
    found = choices(tape)
    assert found == choices(Tape(3))
    assert tape.unusual() == {"loop order": [number for number, choice in enumerate(found) if choice]}
    assert not Tape(3).unusual()


def test_a_plain_range_is_all_zeros_and_what_follows_stays():
    found = choices(Tape(3))
    assert choices(Tape(3, plain=[Plain("loop order", 20, 60)])) == found[:20] + [0] * 40 + found[60:]
    assert choices(Tape(3, plain=[Plain("loop order", 20)])) == found[:20] + [0] * 80
    assert choices(Tape(3, plain=[Plain("*", 99)])) == [*found[:99], 0]
    assert choices(Tape(3, plain=[Plain("another stream")])) == found
    tape = Tape(3, plain=[Plain("faults")])
    assert not any(tape.stream("faults").chance(0.9) for _ in range(50))
    assert {tape.stream("faults").between(2.0, 3.0) for _ in range(50)} == {2.0}


def test_a_simulation_without_its_unusual_orders_runs_first_in_first_out():
    def order(**options) -> list[str]:
        with Simulation(5, **options) as simulation:
            ran: list[str] = []

            async def work(name: str) -> None:
                for _ in range(50):
                    ran.append(name)
                    await asyncio.sleep(0)

            async def story() -> None:
                for name in ("a", "b", "c"):
                    simulation.add_node(name).spawn(work(name), "work")
                await asyncio.sleep(1)

            simulation.run(story())
            return ran

    assert order() != ["a", "b", "c"] * 50
    assert order(plain=[Plain("loop order")]) == ["a", "b", "c"] * 50


def test_records_carry_the_true_time_beside_the_time_of_a_clock_that_is_wrong():
    with Simulation(0) as simulation:
        desk = simulation.add_node("desk")
        desk.simulated_clock.offset_wall(60)

        async def fail() -> None:
            await asyncio.sleep(1)
            raise ValueError("a record")

        async def story() -> None:
            desk.spawn(fail(), "work")
            await asyncio.sleep(2)

        simulation.run(story())
        (record,) = simulation.sink.records
        assert record.true_microseconds == simulation.true_microseconds() - 1_000_000
        assert record.wall_microseconds - record.true_microseconds == 60_000_000
