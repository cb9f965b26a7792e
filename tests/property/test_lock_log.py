"""The lock service's log: replaying it gives what memory had, whatever was done; damage to it is an error, and never
another state."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockservice.server.lock_log import LockLog
from lockservice.settings import LockServiceSettings
from lockservice.state.lock_state import LockState, Request
from lockservice.state.records import Change, SessionEnded, decode, encode
from runtime.errors import Corrupted, IncompatibleFormat, TabletopError
from runtime.simulated.world import Simulation

PATHS = ("/a", "/b/c", "/b/d")
STEPS = st.tuples(
    st.sampled_from(["open", "create", "shown", "write", "delete", "acquire", "release", "close", "lose", "pass"]),
    st.integers(0, 3),  # which session
    st.integers(0, 2),  # which path
    st.binary(max_size=40),
)


class Model:
    """Plans random requests against a state."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.now = 0.0

    def plan(self, state: LockState, step: tuple[str, int, int, bytes]) -> list[Change]:
        """The records of a step, perhaps none."""
        what, which, where, contents = step
        self.now += 0.5
        if what == "open":
            return [state.plan_open(state.last_generation + 1)]
        if what == "pass":
            self.now += 30.0
            for number in list(state.sessions)[: which + 1]:
                state.extend(number, self.now)
            return list(state.overdue(self.now))
        sessions = list(state.sessions)
        if not sessions:
            return []
        session = sessions[which % len(sessions)]
        number = self.numbers[session] = self.numbers.get(session, 0) + 1
        request, path = Request(session, number, max(1, number - which)), PATHS[where]
        try:
            match what:
                case "create" | "shown":
                    return [state.plan_create(request, path, contents, ephemeral=what == "shown")]
                case "write":
                    return [state.plan_write(request, path, contents, generation=None, sequencer=None)]
                case "delete":
                    return [state.plan_delete(request, path, generation=None)]
                case "acquire":
                    found = state.plan_acquire(request, path, delay_milliseconds=1000 * where)
                    return [] if isinstance(found, int) else [found]
                case "release":
                    return [state.plan_release(request, path)]
        except TabletopError:
            return []
        return [SessionEnded(session, int(what == "lose"))]


def records_of(state: LockState) -> list[str]:
    return [repr(record) for record in state.as_records()]


@given(st.lists(STEPS, max_size=60))
@settings(max_examples=150, deadline=None)
def test_replaying_the_records_gives_the_same_state(steps: list[tuple[str, int, int, bytes]]):
    state, model, log = LockState(lease_seconds=10, grace_seconds=5), Model(), []
    generations = [0]
    for step in steps:
        for record in model.plan(state, step):
            log.append(encode(record))
            state.apply(record, model.now)
            state.check_invariants()
            assert state.last_generation >= generations[-1]
            generations.append(state.last_generation)
    replayed = LockState(lease_seconds=10, grace_seconds=5)
    for payload in log:
        replayed.apply(decode(payload), 0.0)
    assert records_of(replayed) == records_of(state)
    copied = LockState(lease_seconds=10, grace_seconds=5)
    for record in state.as_records():
        copied.apply(decode(encode(record)), 0.0)
    copied.check_invariants()
    assert sorted(records_of(copied)) == sorted(records_of(state))


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_bytes_that_are_no_record_are_refused(payload: bytes):
    try:
        record = decode(payload)
    except (Corrupted, IncompatibleFormat):
        return
    assert encode(record) == payload


def log_with(seed: int, log_bytes: int = 1 << 20) -> tuple[Any, str, list[list[str]]]:
    """A disk with a log, its newest file, and the state after each record."""
    simulation = Simulation(seed)
    world = simulation.add_node("lock")
    chance = random.Random(seed)
    states: list[list[str]] = []

    async def write() -> str:
        log, model = LockLog(world, LockServiceSettings(log_bytes=log_bytes)), Model()
        await log.recover()
        states.append(records_of(log.state))
        for _ in range(25):
            step = (chance.choice(["open", "create", "shown", "acquire", "write"]), *(chance.randrange(3),) * 2, b"xyz")
            for record in model.plan(log.state, step):
                await log.commit(record)
                states.append(records_of(log.state))
        await log.close()
        return "log/" + (await world.disk.list("log"))[-1]

    return simulation, simulation.run(write()), states


def without_epoch(records: list[str]) -> list[str]:
    return sorted(record for record in records if not record.startswith("StateBegins"))


@pytest.mark.parametrize("seed", range(40))
def test_damage_to_the_log_is_an_error_or_a_state_that_there_was(seed: int):
    simulation, path, states = log_with(seed, log_bytes=1024 if seed % 2 else 1 << 20)
    chance = random.Random(f"damage {seed}")
    world = simulation.world("lock")

    async def damage() -> None:
        file = await world.disk.open(path, "update")
        size = await file.size()
        place = chance.randrange(size)
        match chance.randrange(4):
            case 0:
                await file.truncate(place)
            case 1:
                byte = await file.read_at(place, 1)
                await file.write_at(place, bytes([byte[0] ^ 1 << chance.randrange(8)]))
            case 2:
                await file.write_at(place, bytes(min(50, size - place)))
            case 3:
                await file.write_at(size, chance.randbytes(chance.randrange(1, 100)))
        await file.close()

    async def read() -> list[str]:
        log = LockLog(world, LockServiceSettings())
        await log.recover()
        log.state.check_invariants()
        return records_of(log.state)

    simulation.run(damage())
    try:
        found = simulation.run(read())
    except (Corrupted, IncompatibleFormat):
        return
    assert without_epoch(found) in [without_epoch(state) for state in states]


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_in_the_place_of_the_log_are_refused(seed: int):
    simulation = Simulation(seed)
    world = simulation.add_node("lock")

    async def story() -> None:
        await world.disk.make_directory("log")
        file = await world.disk.open("log/00000000000000000001.log", "create")
        await file.append(random.Random(seed).randbytes(500))
        await file.close()
        with pytest.raises((Corrupted, IncompatibleFormat)):
            await LockLog(world, LockServiceSettings()).recover()

    simulation.run(story())
