"""Compaction plans are pure; these are their properties and a few known cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InvalidRequest
from tablet.engine.maintenance.policies import (
    POLICIES,
    TableSize,
    everything,
    leveling,
    plan_around,
    plan_major,
    policy_named,
    size_tiered,
    too_many,
)
from tablet.engine.world.options import PolicySettings


def files(*megabytes: float) -> list[TableSize]:
    count = len(megabytes)
    return [TableSize(f"{count - n}", count - n, int(size * 2**20)) for n, size in enumerate(megabytes)]


@pytest.mark.parametrize("name", POLICIES)
@given(st.lists(st.floats(0.01, 5000), max_size=30), st.integers(2, 8))
def test_a_plan_takes_neighbours_in_age_and_at_least_two(name, sizes, fan_in):
    tables = files(*sizes)
    plan = POLICIES[name](tables, PolicySettings(fan_in=fan_in, max_tables=12))
    if plan is None:
        assert len(tables) <= 12
        return
    numbers = [table.number for table in tables]
    place = numbers.index(plan.numbers[0])
    assert tuple(numbers[place : place + len(plan.numbers)]) == plan.numbers
    assert len(plan.numbers) >= 2
    assert plan.drops_deletions == (plan.numbers[-1] == numbers[-1])
    assert plan.read_bytes == sum(table.file_bytes for table in tables if table.number in plan.numbers)


@pytest.mark.parametrize("name", POLICIES)
@given(st.lists(st.floats(0.5, 100), min_size=1, max_size=60))
def test_the_number_of_files_stays_bounded_under_any_policy(name, flushes):
    settings = PolicySettings()
    tables: list[TableSize] = []
    for number, size in enumerate(flushes, 1):
        tables.insert(0, TableSize(str(number), number, int(size * 2**20)))
        while (plan := POLICIES[name](tables, settings)) is not None:
            place = [table.number for table in tables].index(plan.numbers[0])
            end = place + len(plan.numbers)
            tables[place:end] = [TableSize("merged", plan.numbers[0], plan.read_bytes)]
    assert len(tables) <= settings.max_tables


def test_size_tiered_merges_neighbours_of_about_one_size():
    assert size_tiered(files(8, 8, 8), PolicySettings()) is None
    plan = size_tiered(files(8, 9, 7, 8, 32), PolicySettings())
    assert plan is not None
    assert plan.numbers == (5, 4, 3, 2)
    assert not plan.drops_deletions
    plan = size_tiered(files(1, 32, 30, 31, 33), PolicySettings())
    assert plan is not None
    assert plan.numbers == (4, 3, 2, 1)
    assert plan.drops_deletions


def test_leveling_keeps_each_run_several_times_larger_than_the_next_newer():
    assert leveling(files(8, 32, 128), PolicySettings()) is None
    plan = leveling(files(8, 31), PolicySettings())
    assert plan is not None
    plan = leveling(files(8, 40, 100, 1000), PolicySettings())
    assert plan is not None
    assert plan.numbers == (3, 2)


def test_everything_merges_everything():
    assert everything(files(1, 2, 3), PolicySettings()) is None
    plan = everything(files(1, 100, 3, 5000), PolicySettings())
    assert plan is not None
    assert plan.numbers == (4, 3, 2, 1)


def test_too_many_files_are_merged_where_it_is_cheapest():
    assert too_many(files(*[1] * 12), PolicySettings()) is None
    plan = too_many(files(*[1000] * 6, 1, 1, *[1000] * 5), PolicySettings())
    assert plan is not None
    assert plan.read_bytes == 2 * 2**20


def test_a_major_compaction_takes_all_even_one():
    assert plan_major([]) is None
    plan = plan_major(files(5))
    assert plan is not None
    assert plan.drops_deletions


@pytest.mark.parametrize("name", POLICIES)
@given(
    sizes=st.lists(st.floats(0.01, 1000), max_size=30),
    left_out=st.sets(st.integers(1, 30)),
    fan_in=st.integers(2, 6),
)
def test_a_plan_around_unreadable_files_leaves_them_and_takes_neighbours(name, sizes, left_out, fan_in):
    tables = files(*sizes)
    plan = plan_around(tables, left_out, POLICIES[name], PolicySettings(fan_in=fan_in))
    if plan is None:
        return
    numbers = [table.number for table in tables]
    place = numbers.index(plan.numbers[0])
    assert list(plan.numbers) == numbers[place : place + len(plan.numbers)]
    assert not left_out & set(plan.numbers)
    assert plan.drops_deletions == (plan.numbers[-1] == numbers[-1])


def test_without_unreadable_files_a_plan_is_the_policys():
    tables = files(10, 10, 10, 10, 80)
    assert plan_around(tables, (), size_tiered, PolicySettings()) == size_tiered(tables, PolicySettings())


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(InvalidRequest, match="size_tiered"):
        policy_named("lifo")
