"""Scenarios in the simulated world: the examples, verdicts, the judges of recorded histories, shrinking."""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.faultplan import Kill, Node, PowerCut, RottenBlock
from cluster.scenarios import Scenario, chance, check, eventually, examples, judging, recorded, scenario
from cluster.scenarios.loading import load_scenarios
from cluster.scenarios.recording import payload_of
from cluster.scenarios.running import ScenarioPlan, ScenarioResult, run_simulated
from cluster.scenarios.shrinking import TapeShrinker, read_tape, write_tape
from cluster.scenarios.telling import story, table_1, verdict_lines
from cluster.swarm.bugs import planted
from cluster.swarm.history import Answer, Kind
from runtime.errors import IncompatibleFormat, NotFound, TabletopError
from runtime.simulated.tape import ALL_STREAMS, Plain

EXAMPLES = [found for name in examples.names() for found in load_scenarios(examples.path(name))]


def run(one: Scenario, seed: int = 0, **options: Any) -> ScenarioResult:
    return run_simulated(ScenarioPlan(one, seed), **options)


def judges(result: ScenarioResult) -> list[str]:
    return [verdict.judge for verdict in result.verdicts]


def said(result: ScenarioResult) -> str:
    return "\n".join(verdict_lines(result))


# The examples.


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: one.name)
@pytest.mark.parametrize("seed", range(4))
def test_an_example_holds(one: Scenario, seed: int):
    result = run(one, seed)
    assert not result.failed, f"{said(result)}\ntabletop scenario run {one.file} --seed {seed}"
    assert result.struck, "a scenario whose faults never strike shows nothing"
    assert not result.is_undecided


@pytest.mark.parametrize("one", EXAMPLES[:2], ids=lambda one: one.name)
def test_the_same_seed_gives_the_same_run_watched_or_not(one: Scenario):
    first, second = run(one, 5), run(one, 5, recorded=True, watched=True)
    assert [record.to_json() for _, record in first.records] == [record.to_json() for _, record in second.records]
    assert [one.told() for one in first.history.operations] == [one.told() for one in second.history.operations]
    assert second.traffic is not None and second.unusual["network latency"]


def test_a_planted_bug_is_found_by_a_scenario_and_told_with_its_evidence():
    [many_append] = load_scenarios(examples.path("many_append"))
    with planted("failed-append-is-acknowledged"):
        result = run(many_append, 3)
    assert "lengths" in judges(result) or "appends" in judges(result)
    evidence = [line for line in verdict_lines(result) if line.startswith("    ")]
    assert any("append a record" in line for line in evidence)
    assert any("***" in line and "kill" in line.lower() for line in story(result, "again"))


# How a scenario can end.


def test_a_claim_that_does_not_hold_is_the_verdict():
    @scenario
    async def claims(cluster: Any, seed: int) -> None:
        check(1 + 1 == 3, "one and one are three")

    result = run(claims)
    assert judges(result) == ["check"]
    assert result.verdicts[0].text.startswith("one and one are three (test_scenarios.py:")


def test_an_assertion_is_a_claim_too():
    @scenario
    async def claims(cluster: Any, seed: int) -> None:
        assert seed == 1, "the seed is one"

    assert judges(run(claims, 0)) == ["check"] and judges(run(claims, 1)) == []


def test_an_exception_is_a_verdict_with_its_place():
    @scenario
    async def reads(cluster: Any, seed: int) -> None:
        await recorded(cluster).read_file("/nothing")

    @scenario
    async def breaks(cluster: Any, seed: int) -> None:
        {}["x"]

    assert "NotFound (definite) at test_scenarios.py:" in said(run(reads))
    assert "KeyError at test_scenarios.py:" in said(run(breaks))


def test_a_task_that_fails_and_that_nobody_awaits_is_a_verdict():
    @scenario
    async def forgets(cluster: Any, seed: int) -> None:
        async def fail() -> None:
            raise KeyError("lost")

        asyncio.create_task(fail())  # noqa: RUF006
        await asyncio.sleep(1)

    assert "KeyError('lost')" in said(run(forgets)) and judges(run(forgets)) == ["loop"]


def test_a_scenario_without_an_end_is_told_where_it_waits():
    @scenario(longest_seconds=50)
    async def waits(cluster: Any, seed: int) -> None:
        await asyncio.Event().wait()

    result = run(waits)
    assert judges(result) == ["endless"]
    assert "within 50 s of the cluster's time: it waits at test_scenarios.py:" in said(result)
    assert result.virtual_seconds < 60


def test_a_scenario_that_never_gives_way_is_interrupted():
    @scenario(wall_seconds=0.2)
    async def spins(cluster: Any, seed: int) -> None:
        while True:
            pass

    result = run(spins)
    assert judges(result) == ["endless"]
    assert "on the clock on the wall it is at test_scenarios.py:" in said(result)


def test_eventually_waits_for_a_condition_or_says_that_it_did_not_come_true():
    @scenario
    async def waits(cluster: Any, seed: int) -> None:
        begun = asyncio.get_running_loop().time()
        assert await eventually(lambda: asyncio.get_running_loop().time() - begun, "time goes on") > 0
        await eventually(lambda: False, "pigs fly", within_seconds=7)

    assert "check: pigs fly: it did not come true within 7 s (test_scenarios.py:" in said(run(waits))


def test_more_clients_than_were_declared_are_refused_in_words():
    @scenario(clients=1)
    async def asks(cluster: Any, seed: int) -> None:
        recorded(cluster)
        recorded(cluster)

    assert "write @scenario(clients=2)" in said(run(asks))


def test_what_a_scenario_leaves_broken_is_mended_before_the_end_is_judged():
    @scenario
    async def leaves(cluster: Any, seed: int) -> None:
        await recorded(cluster).write_file("/a", 1000)
        await cluster.impose(Kill(), Node("cs1"))
        await cluster.kill("cs2")
        await cluster.pause("cs3")

    result = run(leaves)
    assert judges(result) == []
    assert [row[:4] for row in table_1(result)] == [("/a", "0-1000", "defined", "defined")]


# The judges of recorded histories, each with a history that is wrong.


@scenario(chunkservers=3)
async def ordinary(cluster: Any, seed: int) -> None:
    """A bit of everything that can be recorded."""
    alice, bob = recorded(cluster), recorded(cluster)
    await alice.make_directory("/d")
    await alice.create("/d/empty")
    await alice.write_file("/d/a", b"hello")
    async with await bob.open("/d/b", "xb") as file:
        await file.write(300_000)
    offset = await bob.append_record("/log", b"a record")
    assert payload_of(await alice.read_file("/log"), offset) == b"a record"
    await alice.rename("/d/a", "/d/c")
    assert [entry.path for entry in await bob.list("/d")] == ["/d/b", "/d/c", "/d/empty"]
    await bob.delete("/d/empty")
    assert (await alice.stat("/d/c")).length == 5
    assert await alice.read_file("/d/c") == b"hello"


def judged_again(change: Callable[[ScenarioResult], None]) -> list[str]:
    """What the judges say about an ordinary run in whose history something was changed."""
    result = run(ordinary)
    assert judges(result) == [] and result.known is not None
    change(result)
    return [one.judge for one in judging.judge(result.history, result.known, result.records, []).verdicts]


def operation(result: ScenarioResult, kind: Kind, number: int = 0) -> Any:
    return [one for one in result.history.operations if one.kind is kind and not one.is_final][number]


def test_a_read_that_does_not_see_an_acknowledged_write_is_a_violation():
    def change(result: ScenarioResult) -> None:
        operation(result, Kind.READ_FILE, -1).data = b"hellO"

    assert judged_again(change) == ["contents"]


def test_a_short_file_is_a_violation():
    def change(result: ScenarioResult) -> None:
        found = operation(result, Kind.STAT)
        found.seen = (dataclasses.replace(found.seen[0], length=4),)

    assert judged_again(change) == ["lengths"]


def test_a_listing_without_a_file_that_was_made_is_a_violation():
    def change(result: ScenarioResult) -> None:
        operation(result, Kind.LIST).seen = operation(result, Kind.LIST).seen[1:]

    assert "namespace" in judged_again(change)


def test_a_refusal_of_something_that_happened_is_a_violation():
    def change(result: ScenarioResult) -> None:
        found = operation(result, Kind.CREATE)
        found.answer, found.error = Answer.REFUSED, "NoSpace"

    assert "definite failure" in judged_again(change)


def test_a_last_read_that_fails_is_a_violation():
    def change(result: ScenarioResult) -> None:
        last = [one for one in result.history.operations if one.is_final][-2]
        last.answer, last.error = Answer.REFUSED, "Unavailable"

    assert "final reads" in judged_again(change)


def test_two_acknowledged_records_at_one_offset_are_a_violation():
    def change(result: ScenarioResult) -> None:
        first = operation(result, Kind.RECORD_APPEND)
        second = result.history.new(
            "client1", Kind.RECORD_APPEND, first.responded + 0.001, path="/log", data=b"another"
        )
        second.responded, second.answer, second.count = first.responded + 0.002, Answer.VALUE, 7
        second.file, second.offset, second.handle = first.file, first.offset, first.handle

    assert "appends" in judged_again(change)


def test_a_replica_that_differs_at_the_end_breaks_table_1(monkeypatch: pytest.MonkeyPatch):
    read = judging._read_replicas

    async def read_one_wrongly(cluster: Any, files: Any) -> Any:
        held, problems = await read(cluster, files)
        [of_c] = [one for one in held if one.path == "/d/c"]
        server = sorted(of_c.chunks[0])[0]
        of_c.chunks[0][server] = b"jello"
        return held, problems

    monkeypatch.setattr(judging, "_read_replicas", read_one_wrongly)
    result = run(ordinary)
    assert judges(result) == ["regions"]
    assert "/d/c: bytes 0 to 5" in said(result) and "inconsistent, promised defined" in said(result)


def test_what_a_power_cut_of_all_replicas_takes_is_no_violation_and_what_it_may_not_take_is():
    def power_cut(durability: str) -> Scenario:
        @scenario(chunkservers=3, durability=durability)
        async def loses_power(cluster: Any, seed: int) -> None:
            alice = recorded(cluster)
            await alice.create("/a")
            async with await alice.open("/a", "r+b") as file:
                await file.pwrite(0, 100_000)
                for node in ("cs1", "cs2", "cs3"):
                    await cluster.impose(PowerCut(loses_all=True), Node(node), seconds=2)
                await asyncio.sleep(5)

        return loses_power

    assert judges(run(power_cut("replicated"))) == []
    assert judges(run(power_cut("fsync"))) == []


def test_rot_on_all_replicas_is_found_at_the_end():
    @scenario(chunkservers=3)
    async def rots(cluster: Any, seed: int) -> None:
        await recorded(cluster).write_file("/a", 1000)
        for node in ("cs1", "cs2", "cs3"):
            await cluster.impose(RottenBlock("/a", 0, block=0), Node(node))

    assert "final reads" in judges(run(rots))


# What a client gives up, and what fails.


def test_a_call_that_was_given_up_is_in_doubt_and_a_failure_is_written_down():
    @scenario
    async def gives_up(cluster: Any, seed: int) -> None:
        alice = recorded(cluster)
        await alice.write_file("/a", 1000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0005), await alice.open("/a", "r+b") as file:
                await file.pwrite(0, 900)
        with pytest.raises(NotFound):
            await alice.rename("/b", "/c")
        with pytest.raises(TabletopError):
            await alice.write_file("/a", 10)

    result = run(gives_up)
    assert judges(result) == []
    answers = [one.answer for one in result.history.operations if not one.is_final]
    assert answers.count(Answer.REFUSED) == 2 and Answer.DOUBTFUL in answers


# Shrinking.


@scenario
async def unlucky(cluster: Any, seed: int) -> None:
    """Fails if it draws a three."""
    await recorded(cluster).write_file("/a", 1000)
    check(chance(seed).below(5) != 3, "no three was drawn")


def test_a_failing_run_is_shrunk_to_the_choice_that_matters():
    seed = next(seed for seed in range(50) if run(unlucky, seed).failed)
    shrunk = TapeShrinker(ScenarioPlan(unlucky, seed), lambda plan: run_simulated(plan, recorded=True)).shrink()
    assert shrunk.left == (("scenario", 0),)
    assert shrunk.before > 20 and "1 of its" in shrunk.in_words()
    assert judges(run_simulated(shrunk.plan)) == ["check"]


def test_a_failure_that_no_choice_causes_is_shrunk_to_the_plainest_schedule():
    @scenario
    async def always(cluster: Any, seed: int) -> None:
        check(False, "no")

    shrunk = TapeShrinker(ScenarioPlan(always, 3), lambda plan: run_simulated(plan, recorded=True)).shrink()
    assert shrunk.plan.plain == (Plain(ALL_STREAMS),) and shrunk.left == () and shrunk.tries == 1


def test_a_shrunk_run_survives_being_written_down(tmp_path: Path):
    plan = ScenarioPlan(unlucky, 7, plain=(Plain("disk", 0, 5), Plain("network latency")))
    write_tape(tmp_path / "a" / "tape.json", plan)
    assert read_tape(tmp_path / "a" / "tape.json") == ("unlucky", 7, plan.plain)
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(IncompatibleFormat):
        read_tape(tmp_path / "b.json")
