"""The virtual loop: time, order, ends in an error, and everything that it refuses."""

import asyncio
import gc
import threading

import pytest

from runtime.simulated import loop as loop_module
from runtime.simulated.loop import RealWorldTouched, SimulatedLoop, SimulationDeadlock, SimulationStuck
from runtime.simulated.tape import Tape


def run(main, seed=0, *, quiet=True):
    """Run a coroutine on a loop of its own, as asyncio would order it unless the tape is to choose."""
    loop = SimulatedLoop(Tape(seed, quiet=quiet))
    try:
        return loop.run(main)
    finally:
        loop.close()


def test_time_jumps_to_the_next_timer():
    async def nap():
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(3600)
        return loop.time() - began

    assert run(nap()) == 3600.0


def test_time_stands_still_while_something_is_ready():
    async def busy():
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert run(busy()) == 0.0


def test_timers_of_one_moment_fire_in_the_order_in_which_they_were_set():
    async def story():
        loop, fired = asyncio.get_running_loop(), []
        for number in range(50):
            loop.call_at(1.0, fired.append, number)
        await asyncio.sleep(2)
        return fired

    assert run(story()) == list(range(50))


def test_callbacks_that_no_node_owns_keep_their_order_whatever_the_tape_says():
    async def story():
        loop, fired = asyncio.get_running_loop(), []
        for number in range(200):
            loop.call_soon(fired.append, number)
        await asyncio.sleep(1)
        return fired

    assert run(story(), quiet=False) == list(range(200))


def test_timeouts_locks_queues_and_task_groups_work():
    async def story():
        queue: asyncio.Queue = asyncio.Queue(1)
        lock = asyncio.Lock()
        got = []

        async def produce():
            for number in range(5):
                await queue.put(number)

        async def consume():
            for _ in range(5):
                async with lock:
                    got.append(await queue.get())

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(consume())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.Event().wait()
        return got, asyncio.get_running_loop().time()

    assert run(story()) == ([0, 1, 2, 3, 4], 10.0)


def test_a_cancelled_timer_does_not_fire_and_many_of_them_take_no_room():
    async def story():
        loop, fired = asyncio.get_running_loop(), []
        for _ in range(20_000):
            loop.call_later(100, fired.append, 1).cancel()
        loop.call_later(50, fired.append, 2)
        room = len(loop._timers)
        await asyncio.sleep(200)
        return fired, room

    fired, room = run(story())
    assert fired == [2] and room < 3000


def test_sets_of_tasks_and_futures_are_ordered_by_their_numbers():
    async def story():
        loop = asyncio.get_running_loop()
        tasks = [asyncio.ensure_future(asyncio.sleep(0)) for _ in range(30)]
        futures = [loop.create_future() for _ in range(30)]
        await asyncio.gather(*tasks)
        assert [hash(task) for task in tasks] == sorted(hash(task) for task in tasks)
        assert [hash(future) for future in futures] == sorted(hash(future) for future in futures)
        return [task.get_name() for task in tasks], hash(tasks[0])

    assert run(story()) == run(story())


def test_a_loop_names_its_tasks_by_itself():
    async def main() -> list[str]:
        async def nothing() -> None:
            return None

        tasks = [asyncio.create_task(nothing()), asyncio.create_task(nothing(), name="mine")]
        await asyncio.gather(*tasks)
        return [task.get_name() for task in tasks]

    first, second = run(main()), run(main())
    assert first == second
    assert first[0].startswith("task ") and first[1] == "mine"


def test_a_standstill_is_an_error_that_says_who_waits_where():
    async def wait_for_nobody():
        await asyncio.Event().wait()

    async def wait():
        await wait_for_nobody()

    async def story():
        await asyncio.create_task(wait(), name="the waiting one")

    with pytest.raises(SimulationDeadlock, match=r"the waiting one at test_simulated_loop\.py:\d+ in wait_for_nobody"):
        run(story())


def test_tasks_that_wake_each_other_for_ever_are_an_error(monkeypatch):
    monkeypatch.setattr(loop_module, "STEPS_AT_ONE_INSTANT", 1000)

    async def spin():
        while True:  # noqa: ASYNC110 - this is the fault
            await asyncio.sleep(0)

    with pytest.raises(SimulationStuck, match="1000 steps"):
        run(spin())


def test_the_real_world_is_refused_by_name():
    async def story():
        loop = asyncio.get_running_loop()
        refused = []
        for name, attempt in {
            "run_in_executor": lambda: loop.run_in_executor(None, print),
            "call_soon_threadsafe": lambda: loop.call_soon_threadsafe(print),
            "add_signal_handler": lambda: loop.add_signal_handler(2, print),
            "add_reader": lambda: loop.add_reader(0, print),
            "create_connection": lambda: loop.create_connection(None, "localhost", 1),
            "create_server": lambda: loop.create_server(None, "localhost", 1),
            "sock_recv": lambda: loop.sock_recv(None, 1),
            "subprocess_exec": lambda: loop.subprocess_exec(None, "true"),
        }.items():
            with pytest.raises(RealWorldTouched, match=name):
                attempt()
            refused.append(name)
        with pytest.raises(RealWorldTouched, match="run_in_executor"):
            await asyncio.to_thread(print)
        return refused

    assert len(run(story())) == 8
    assert threading.active_count() >= 1


def test_what_the_main_coroutine_raises_comes_out():
    async def fail():
        await asyncio.sleep(1)
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        run(fail())


def test_the_garbage_collector_is_as_it_was_afterwards():
    async def look():
        return gc.isenabled()

    assert gc.isenabled()
    assert run(look()) is False
    assert gc.isenabled()


def test_an_abandoned_asynchronous_generator_is_closed_by_the_loop():
    async def story():
        ended = []

        async def numbers():
            try:
                for number in range(10):
                    yield number
            finally:
                await asyncio.sleep(1)
                ended.append(True)

        async for number in numbers():
            if number == 3:
                break
        await asyncio.sleep(2)
        return ended

    assert run(story()) == [True]


def test_closing_ends_what_is_left_and_twice_is_harmless():
    ended = []

    async def linger():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def story():
        lingering.append(asyncio.create_task(linger()))
        await asyncio.sleep(1)

    lingering: list = []
    loop = SimulatedLoop(Tape(0))
    loop.run(story())
    assert not ended
    loop.close()
    loop.close()
    assert ended == [True]


def test_the_tape_gives_each_purpose_a_stream_of_its_own():
    one, other = Tape(7), Tape(7)
    other.stream("something else").below(10)
    assert [one.stream("disk").below(1000) for _ in range(20)] == [other.stream("disk").below(1000) for _ in range(20)]
    assert [Tape(8).stream("disk").below(1000) for _ in range(20)] != [Tape(7).stream("disk").below(1000)] * 20
    assert one.draws() == {"disk": 20} and other.draws() == {"disk": 20, "something else": 1}


def test_a_quiet_tape_always_chooses_the_ordinary():
    stream = Tape(7, quiet=True).stream("any")
    assert not any(stream.chance(0.99) for _ in range(20))
    assert {stream.below(5) for _ in range(20)} == {0} and stream.between(2.0, 3.0) == 2.0
