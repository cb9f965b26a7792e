"""The table of imposed faults that a real node asks, and the rules and the file that it comes from."""

import asyncio
from pathlib import Path

import pytest

from cluster.experiments import ImposedRules
from cluster.faultplan import BadLink, DiskTrouble, Isolate, Node, Partition, ReplicaTrouble, SlowNode, TheMaster
from cluster.imposed_file import ImposedFile, ImposedList, LastingFault
from cluster.interface import Imposed
from cluster.real_rules import link_rules, rules_for
from runtime.errors import DiskFailure, IncompatibleFormat, NoSpace
from runtime.faults.disk import (
    DiskFault,
    DroppedWrites,
    FullDisk,
    LyingSync,
    ReadError,
    ShortWrites,
    SlowDisk,
    WriteError,
)
from runtime.faults.links import Kind, LinkFaults
from runtime.faults.table import ANY, CLIENTS, FaultTable, LinkRule, Rule
from runtime.real.disk import RealDisk
from runtime.real.experiments.disk import FaultyDisk
from runtime.real.experiments.unsynced import UnsyncedFiles


class Wall:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_rules_combine_and_end_by_themselves():
    now = Wall()
    table = FaultTable(now)
    assert not table.way("cs1", "cs2", None).blocked
    table.set(
        [
            Rule(1, 110.0, links=(LinkRule("cs1", ANY, blocked=True),)),
            Rule(
                2,
                None,
                links=(LinkRule(ANY, "cs2", LinkFaults(delay=1.0)), LinkRule("cs1", "cs2", LinkFaults(delay=0.5))),
            ),
        ]
    )
    assert table.way("cs1", "cs2", None).blocked and not table.way("cs2", "cs1", None).blocked
    assert table.way("cs1", "cs2", None).faults == LinkFaults(delay=1.5)
    now.time = 110.0
    assert not table.way("cs1", "cs2", None).blocked and table.numbers() == [2]
    table.set([])
    assert table.way("cs1", "cs2", None).faults == LinkFaults()


def test_a_rule_of_one_kind_leaves_the_others_alone():
    table = FaultTable(Wall())
    table.set([Rule(1, links=(LinkRule("cs1", "master", LinkFaults(delay=0.3), kind=Kind.REPLY),))])
    assert table.way("cs1", "master", Kind.REPLY).faults.delay == 0.3
    assert table.way("cs1", "master", Kind.REQUEST).faults.delay == 0.0


def test_a_fault_of_the_disk_that_stays_goes_on_counting():
    table = FaultTable(Wall())
    stray = Rule(1, disk=(DroppedWrites(first=2),))
    table.set([stray])
    assert table.disk().stray("log") is None
    table.set([stray, Rule(2, disk=(FullDisk(),))])
    assert table.disk().stray("log") is not None and table.disk().full
    table.set([stray])
    assert not table.disk().full


def test_the_rules_of_links():
    assert link_rules(Partition(TheMaster()), "cs1", ("master", "cs1")) == [
        LinkRule("cs1", "master", blocked=True),
        LinkRule("master", "cs1", blocked=True),
    ]
    assert link_rules(Isolate(hears=True), "cs1", ()) == [LinkRule("cs1", ANY, blocked=True)]
    assert link_rules(Isolate(speaks=True), "cs1", ()) == [LinkRule(ANY, "cs1", blocked=True)]
    bad = LinkFaults(loss=0.5)
    assert link_rules(BadLink(bad, Node(CLIENTS), one_way=True), "cs1", (CLIENTS,)) == [LinkRule("cs1", CLIENTS, bad)]
    assert len(link_rules(SlowNode(0.1), "cs1", ())) == 2


def lasting(number, what, nodes, others=(), troubles=()) -> LastingFault:
    return LastingFault(Imposed(number, what, Node(nodes[0]), tuple(nodes), "words"), tuple(others), tuple(troubles))


def test_the_file_keeps_faults_and_each_node_finds_its_own(tmp_path: Path):
    file = ImposedFile(tmp_path)
    assert file.read() == ImposedList()
    faults = (
        lasting(1, Partition(TheMaster()), ["cs1"], ["master"]),
        lasting(2, BadLink(LinkFaults(delay=0.3), TheMaster(), True, Kind.REPLY), ["cs1"], ["master"]),
        lasting(3, DiskTrouble(FullDisk()), ["cs2"], (), [FullDisk()]),
        lasting(4, ReplicaTrouble(ReadError(), "/a", 1), ["cs2"], (), [ReadError("chunks/02/")]),
    )
    assert file.change(lambda _: ImposedList(4, faults)) == ImposedList()
    assert file.read() == ImposedList(4, faults)
    first, second = rules_for("cs1", faults), rules_for("cs2", faults)
    assert [len(rule.links) for rule in first] == [2, 1, 0, 0] and not any(rule.disk for rule in first)
    assert [rule.disk for rule in second] == [(), (), (FullDisk(),), (ReadError("chunks/02/"),)]
    rules = ImposedRules(file, "cs2")
    assert rules.read() == second
    file.path.write_text("{}", encoding="utf-8")
    assert rules.read() == second  # A node goes on with what it knows.
    with pytest.raises(IncompatibleFormat, match=r"no list of faults.*; remove it"):
        file.read()


def faulty(tmp_path: Path, *faults: DiskFault) -> tuple[FaultyDisk, FaultTable]:
    table = FaultTable(Wall())
    table.set([Rule(number, disk=(fault,)) for number, fault in enumerate(faults)])
    return FaultyDisk(RealDisk(tmp_path / "data"), table, UnsyncedFiles(tmp_path)), table


def test_a_disk_fails_where_it_is_told_to(tmp_path: Path):
    async def story() -> None:
        disk, table = faulty(tmp_path)
        file = await disk.open("a", "create")
        await file.write_at(0, b"0123456789")
        table.set([Rule(1, disk=(ReadError("a", offset=4, count=2),)), Rule(2, disk=(WriteError("a"),))])
        assert await file.read_at(0, 4) == b"0123"
        with pytest.raises(DiskFailure, match=r"cannot read .*/a: Input/output error"):
            await file.read_at(3, 2)
        with pytest.raises(DiskFailure, match="cannot write"):
            await file.write_at(0, b"x")
        with pytest.raises(DiskFailure, match="cannot rename"):
            await disk.rename("a", "b")
        table.set([])
        assert await file.read_at(0, 10) == b"0123456789"

    asyncio.run(story())


def test_a_full_disk_takes_nothing_new_and_lets_old_bytes_change(tmp_path: Path):
    async def story() -> None:
        disk, table = faulty(tmp_path)
        file = await disk.open("a", "create")
        await file.write_at(0, b"0123456789")
        table.set([Rule(1, disk=(FullDisk(),)), Rule(2, disk=(ShortWrites(),))])
        assert (await disk.usage()).free_bytes == 0
        await file.write_at(0, b"abc")
        with pytest.raises(NoSpace):
            await file.write_at(8, b"wxyz")
        assert await file.read_at(0, 20) == b"abc34567wx"

    asyncio.run(story())


def test_a_slow_disk_serves_one_operation_after_the_other(tmp_path: Path):
    async def story() -> None:
        disk, _ = faulty(tmp_path, SlowDisk(seconds_per_operation=0.01))
        await asyncio.gather(*(disk.exists("a") for _ in range(3)))

    asyncio.run(story())


def test_what_a_lying_sync_did_not_write_is_lost_at_a_kill_and_only_then(tmp_path: Path):
    async def story() -> None:
        disk, table = faulty(tmp_path)
        old = await disk.open("old", "create")
        await old.append(b"kept")
        await old.sync()
        table.set([Rule(1, disk=(LyingSync(),))])
        await old.append(b" lost")
        await old.sync()
        new = await disk.open("part", "create")
        await new.append(b"lost as well")
        await new.sync()
        await disk.rename("part", "new")
        table.set([])
        honest = await disk.open("honest", "create")
        await honest.append(b"kept")
        await honest.sync()

    asyncio.run(story())
    unsynced = UnsyncedFiles(tmp_path)
    assert (tmp_path / "data/old").read_bytes() == b"kept lost"
    assert unsynced.lose() == ["new", "old"] and unsynced.losses() == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == {
        "old": b"kept",
        "new": b"",
        "honest": b"kept",
    }
    assert unsynced.lose() == [] and unsynced.losses() == 1


def test_an_honest_sync_makes_stable_what_lies_had_left(tmp_path: Path):
    async def story() -> None:
        disk, table = faulty(tmp_path, LyingSync())
        file = await disk.open("a", "create")
        await file.append(b"bytes")
        await file.sync()
        table.set([])
        await file.sync()

    asyncio.run(story())
    assert UnsyncedFiles(tmp_path).lose() == []
    assert (tmp_path / "data/a").read_bytes() == b"bytes"
