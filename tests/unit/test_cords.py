"""What was seen of a run, in the words of the matrix; and which files the matrix knows."""

import pytest

from cluster.cords.classify import global_effect, in_order, local_behaviour, what_was_seen, worst
from cluster.cords.explained import EXPLANATIONS, NEVER_EXPLAINED, explanation_of
from cluster.cords.matrix import Group, Matrix, Result, Selection
from cluster.cords.observing import Observation
from cluster.cords.picture import svg_of
from cluster.cords.striking import strike
from cluster.cords.structures import STRUCTURES, blocks_of, claimed_by
from cluster.cords.terms import BLOCK_BYTES, Block, Cell, Effect, Fault, Local, Workload
from runtime.errors import DiskFailure, InvalidRequest, NoSpace
from runtime.simulated.world import Simulation

ACCESSED = {"changed": True, "reads": 1, "read_first": True}


@pytest.mark.parametrize(
    ("seen", "fault", "expected"),
    [
        (Observation(changed=True), Fault.ZEROS, [Local.NOT_ACCESSED]),
        (Observation(reads=3), Fault.WRITE_ERROR, [Local.NOT_ACCESSED]),
        (Observation(writes=3), Fault.READ_ERROR, [Local.NOT_ACCESSED]),
        (Observation(changed=True, writes=1, reads=1), Fault.GARBAGE, [Local.OVERWRITTEN]),
        (Observation(**ACCESSED), Fault.GARBAGE, [Local.NO_DETECTION]),
        (Observation(**ACCESSED), Fault.READ_ERROR, [Local.RETRY]),
        (Observation(**ACCESSED, crashes=3, is_up=False), Fault.ZEROS, [Local.CRASH]),
        (Observation(**ACCESSED, crashes=1), Fault.ZEROS, [Local.CRASH, Local.RETRY]),
        (Observation(**ACCESSED, events=frozenset({"ChunkPutAside"})), Fault.ZEROS, [Local.PARTIAL_CRASH]),
        (Observation(**ACCESSED, events=frozenset({"MetadataRepaired"})), Fault.ZEROS, [Local.INTERNAL_REDUNDANCY]),
        (Observation(**ACCESSED, events=frozenset({"CorruptionFound", "ReplicaLost"})), Fault.ZEROS, [Local.REPLICA]),
        (Observation(**ACCESSED, events=frozenset({"LogReplayed: dropped the last"})), Fault.ZEROS, [Local.TRUNCATED]),
        (Observation(**ACCESSED, events=frozenset({"CorruptionFound"})), Fault.ZEROS, [Local.DETECTED]),
        (Observation(**ACCESSED, writes=1, failed=("x",)), Fault.NO_SPACE, [Local.DETECTED]),
    ],
)
def test_what_the_node_did(seen: Observation, fault: Fault, expected: list[Local]):
    assert list(local_behaviour(seen, fault)) == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Observation(wrong=("a",), lost=("b",)), Effect.CORRUPTION),
        (Observation(lost=("b",), reads_go_on=False), Effect.DATA_LOSS),
        (Observation(reads_go_on=False, writes_go_on=False), Effect.UNAVAILABLE),
        (Observation(writes_go_on=False, failed=("c",)), Effect.WRITE_UNAVAILABLE),
        (Observation(unread=("d",)), Effect.QUERY_FAILURE),
        (Observation(failed=("c",)), Effect.QUERY_FAILURE),
        (Observation(below_goal=("e",)), Effect.REDUCED_REDUNDANCY),
        (Observation(differing=("f",)), Effect.REDUCED_REDUNDANCY),
        (Observation(is_up=False), Effect.REDUCED_REDUNDANCY),
        (Observation(crashes=1), Effect.CORRECT),
    ],
)
def test_what_came_of_it(seen: Observation, expected: Effect):
    assert global_effect(seen) is expected


def test_the_worst_effect_and_all_behaviours_stand_for_a_group():
    assert worst([Effect.CORRECT, Effect.DATA_LOSS, Effect.REDUCED_REDUNDANCY]) is Effect.DATA_LOSS
    assert in_order(iter([Local.RETRY, Local.NOT_ACCESSED, Local.CRASH])) == (Local.CRASH, Local.RETRY)
    assert what_was_seen(Observation(last_problem="it is broken")) == "it is broken"


def test_corruption_and_loss_are_never_explained():
    for explanation in EXPLANATIONS:
        assert explanation.effect not in (*NEVER_EXPLAINED, Effect.CORRECT)
    for effect in NEVER_EXPLAINED:
        assert explanation_of("only master", "operation log", Workload.RESTART, Fault.ZEROS, effect) is None


def test_a_file_that_no_row_claims_is_an_error():
    with pytest.raises(InvalidRequest, match=r"claims the file log/notes\.txt"):
        blocks_of("master", {"log/notes.txt": b"x"})


def test_every_block_of_a_file_is_struck_and_small_parts_of_metadata_as_well():
    files = {
        "LOCK": b"",
        "chunks/02/0000000000000002.data": bytes(9000),
        "chunks/02/0000000000000002.meta": bytes(2052),
    }
    found = blocks_of("chunkserver", files)
    data = [block.offset for block in found if block.structure == "chunk data"]
    assert data == [0, BLOCK_BYTES, 2 * BLOCK_BYTES]
    assert [block.offset for block in found if block.structure == "chunk header"] == [0, 512, 1024, 1536]
    assert [block.offset for block in found if block.structure == "checksum table"] == [2048]
    passing = {structure.name for structure in STRUCTURES if structure.is_passing and structure.role == "chunkserver"}
    assert {block.structure for block in found if block.is_passing} == passing
    assert [one.name for one in claimed_by("lockservice", "log/00000000000000000001.log")] == ["lock service's log"]


def test_a_strike_hits_its_block_alone_and_counts_who_comes_upon_it():
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        disk = world.simulated_disk

        async def story() -> None:
            disk.load({"a": bytes(range(1, 101)) * 90, "b": b"b"})
            damaged = strike(disk, Block("data", "a", BLOCK_BYTES, BLOCK_BYTES), Fault.ZEROS)
            refusing = strike(disk, Block("data", "a", 0, BLOCK_BYTES), Fault.WRITE_ERROR)
            full = strike(disk, Block("new", "n*", 0, BLOCK_BYTES, is_passing=True), Fault.NO_SPACE)
            file = await disk.open("a", "update")
            assert await file.read_at(BLOCK_BYTES, 10) == bytes(10)
            assert (await file.read_at(BLOCK_BYTES - 1, 1))[0] == (BLOCK_BYTES - 1) % 100 + 1
            with pytest.raises(DiskFailure):
                await file.write_at(BLOCK_BYTES - 1, b"xy")
            await file.write_at(2 * BLOCK_BYTES, b"xy")
            with pytest.raises(NoSpace):
                await (await disk.open("new", "create")).append(b"n")
            assert (damaged.reads, damaged.writes, damaged.read_first) == (1, 1, True)
            assert (refusing.reads, refusing.writes, refusing.read_first) == (1, 1, True)
            assert (full.reads, full.writes, full.changed) == (0, 1, True)

        simulation.run(simulation.on(world, story()))


def group(effect: Effect, structure: str = "operation log") -> Group:
    cell = Cell("master", Block(structure, "log/1.log", 0, BLOCK_BYTES), Workload.RESTART, Fault.ZEROS)
    result = Result("only master", cell, (Local.CRASH,), effect, Observation(changed=True))
    return Group("only master", structure, Workload.RESTART, Fault.ZEROS, (result,))


def test_a_cell_is_amiss_unless_it_is_correct_or_explained():
    assert not group(Effect.CORRECT).is_amiss
    assert not group(Effect.UNAVAILABLE).is_amiss and group(Effect.UNAVAILABLE).explanation is not None
    assert group(Effect.DATA_LOSS).is_amiss
    assert group(Effect.UNAVAILABLE, "checkpoint").is_amiss


def test_the_picture_has_a_square_for_each_group():
    matrix = Matrix((group(Effect.UNAVAILABLE), group(Effect.DATA_LOSS, "checkpoint")))
    picture = svg_of(matrix)
    assert picture.count("<g><title>") == 2 and "the paper&#x27;s only master" in picture


@pytest.mark.parametrize("selection", [Selection(nodes=("cs9",)), Selection(structures=("diary",))])
def test_a_selection_that_fits_nothing_is_refused(selection: Selection):
    with pytest.raises(InvalidRequest, match="there is no"):
        selection.check()
