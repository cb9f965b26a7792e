"""Faults of a narrow place: what is drawn, what may be struck, and how an operator mends a rotten record."""

import random
from dataclasses import replace

from cluster.faultplan import At, BadLink, Fault, Kill, Node, Partition, ReplicaTrouble, RottenRecord
from cluster.swarm.narrow_faults import RotInLog, is_vouched_for, with_narrow_faults
from cluster.swarm.run import draw_plan, run_plan
from cluster.swarm.workload import draw_setup
from runtime.faults.links import Kind
from runtime.record_log import encode_frame
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.world import Simulation

LOG = "log/00000000000000000001.log"


def test_every_kind_is_drawn_and_what_was_drawn_before_stays():
    setup = replace(draw_setup(random.Random(1)), lease_seconds=8.0)
    before = (Fault(At(1.0), Kill(), Node("cs1"), 1.0),)
    drawn = [with_narrow_faults(seed, setup, before, ["/a", "/b"]) for seed in range(300)]
    assert all(faults[:1] == before for faults in drawn)
    more = [fault.what for faults in drawn for fault in faults[1:]]
    assert {type(what) for what in more} == {ReplicaTrouble, RottenRecord, BadLink, Partition}
    assert {what.kind for what in more if isinstance(what, BadLink)} == {Kind.REQUEST, Kind.REPLY, None}
    assert 0.1 < sum(len(faults) > 1 for faults in drawn) / len(drawn) < 0.3
    assert drawn == [with_narrow_faults(seed, setup, before, ["/a", "/b"]) for seed in range(300)]


def disk_with(log: bytes) -> SimulatedDisk:
    with Simulation(0) as simulation:
        disk = simulation.add_node("master").simulated_disk
        disk.load({LOG: log, "durable": b""})
        return disk


def test_a_record_is_struck_only_if_a_later_one_says_that_it_had_been_durable():
    frames = [encode_frame(b"record", sequence, durable) for sequence, durable in ((1, 0), (2, 0), (3, 2), (4, 2))]
    disk = disk_with(b"".join(frames))
    assert [is_vouched_for(disk, number) for number in (1, 2, 3, 4, 5)] == [True, True, False, False, False]
    assert not is_vouched_for(disk_with(b""), 1)


def test_what_an_operator_mends_is_what_has_rotted_and_nothing_that_was_written_since():
    disk = disk_with(bytes(range(1, 101)))
    rot = RotInLog(disk)
    disk.rot(LOG, 10, count=4)
    rot.note()
    disk.content(LOG).write(12, b"new")
    rot.mend()
    expected = bytearray(range(1, 101))
    expected[12:15] = b"new"
    assert disk.stored(LOG) == bytes(expected)
    rot.mend()
    assert disk.stored(LOG) == bytes(expected)


def test_the_only_master_refuses_a_rotten_log_until_it_is_mended_and_forgets_nothing():
    plan = draw_plan(1310000)
    assert plan.setup.masters == 1
    faults = (
        Fault(At(8.0), RottenRecord(3), Node("master")),
        Fault(At(9.0), Kill(), Node("master"), 1.0),
    )
    result = run_plan(replace(plan, setup=replace(plan.setup, checkpoint_log_bytes=1 << 20), faults=faults))
    assert result.struck == {"RottenRecord": 1, "Kill": 1}
    assert [verdict.text for verdict in result.verdicts] == []
