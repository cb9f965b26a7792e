"""The judge of GFS Table 1: what is promised of a region, what it is, and regions that are worse than promised."""

from cluster.swarm.contents import FileHistory
from cluster.swarm.history import Answer, Operation
from cluster.swarm.regions import Region, State, broken_regions, counted, regions_of
from cluster.swarm.steps import file_histories
from tests.unit.swarm_histories import CHUNK, Past, facts, record, written

SERVERS = ("cs1", "cs2", "cs3")


def file_of(past: Past, created: Operation) -> FileHistory:
    return file_histories(past.history, facts())[created.number]


def alike(data: bytes) -> dict[int, dict[str, bytes]]:
    return {0: dict.fromkeys(SERVERS, data)}


def states(regions: list[Region]) -> list[tuple[int, int, str, str]]:
    return [(one.begin, one.end, one.promised.name, one.found.name) for one in regions]


def complaints(regions: list[Region]) -> list[str]:
    return [text for text, _ in broken_regions("/a", regions)]


def test_what_one_acknowledged_write_wrote_is_defined():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 1000, (2, 3))
    regions = regions_of(file_of(past, file), alike(written(write)), CHUNK)
    assert states(regions) == [(0, 1000, "DEFINED", "DEFINED")]
    assert complaints(regions) == [] and counted(regions) == "1 defined"


def test_a_replica_that_lacks_an_acknowledged_write_breaks_the_promise():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 1000, (2, 3))
    chunks = alike(written(write))
    chunks[0]["cs2"] = bytes(1000)
    regions = regions_of(file_of(past, file), chunks, CHUNK)
    [text] = complaints(regions)
    assert "inconsistent, promised defined" in text and "cs2 holds zeros" in text
    assert f"operation {write.number}" in text


def test_a_shorter_replica_breaks_the_promise():
    past = Past()
    file = past.create("/a", (0, 1))
    write = past.write(file, 0, 1000, (2, 3))
    chunks = alike(written(write))
    chunks[0]["cs3"] = written(write, 0, 900)
    assert states(regions_of(file_of(past, file), chunks, CHUNK)) == [(0, 1000, "DEFINED", "INCONSISTENT")]


def test_bytes_of_nobody_on_all_replicas_are_consistent_and_not_defined():
    past = Past()
    file = past.create("/a", (0, 1))
    past.write(file, 0, 1000, (2, 3))
    regions = regions_of(file_of(past, file), alike(b"x" * 1000), CHUNK)
    assert states(regions) == [(0, 1000, "DEFINED", "UNDEFINED")]
    assert len(complaints(regions)) == 1


def test_an_old_write_where_a_later_one_was_acknowledged_breaks_the_promise():
    past = Past()
    file = past.create("/a", (0, 1))
    first = past.write(file, 0, 1000, (2, 3))
    past.write(file, 0, 1000, (4, 5))
    assert len(complaints(regions_of(file_of(past, file), alike(written(first)), CHUNK))) == 1


def test_concurrent_writes_may_be_mingled_if_all_replicas_agree():
    past = Past()
    file = past.create("/a", (0, 1))
    first = past.write(file, 0, 2 * CHUNK, (2, 5))
    second = past.write(file, 0, 2 * CHUNK, (3, 6), client="two")
    chunks = {0: dict.fromkeys(SERVERS, written(first, 0, CHUNK)), 1: dict.fromkeys(SERVERS, written(second, CHUNK))}
    regions = regions_of(file_of(past, file), chunks, CHUNK)
    assert states(regions) == [(0, 2 * CHUNK, "UNDEFINED", "UNDEFINED")]
    assert complaints(regions) == []
    chunks[1]["cs1"] = written(first, CHUNK)
    assert len(complaints(regions_of(file_of(past, file), chunks, CHUNK))) == 1


def test_a_write_in_doubt_leaves_a_region_that_may_be_inconsistent():
    past = Past()
    file = past.create("/a", (0, 1))
    first = past.write(file, 0, 1000, (2, 3))
    doubtful = past.write(file, 0, 1000, (4, 5), answer=Answer.DOUBTFUL)
    chunks = alike(written(first))
    chunks[0]["cs1"] = written(doubtful)
    regions = regions_of(file_of(past, file), chunks, CHUNK)
    assert states(regions) == [(0, 1000, "INCONSISTENT", "INCONSISTENT")]
    assert complaints(regions) == []


def test_an_acknowledged_record_is_defined_and_what_is_between_records_may_be_anything():
    past = Past()
    file = past.create("/a", (0, 1))
    append = past.append(file, 0, 100, (2, 3))
    past.append(file, 0, 100, (4, 5), answer=Answer.DOUBTFUL)
    frame = record(append)
    chunks = alike(frame + b"left by a try")
    chunks[0]["cs2"] = frame
    regions = regions_of(file_of(past, file), chunks, CHUNK)
    assert states(regions) == [(0, len(frame), "DEFINED", "DEFINED")]
    chunks[0]["cs2"] = frame[:-1]
    [text] = complaints(regions_of(file_of(past, file), chunks, CHUNK))
    assert "the record is not on cs2" in text


def test_a_region_says_which_is_worse():
    assert Region(0, 1, State.UNDEFINED, State.DEFINED, (), "").is_broken is False
    assert Region(0, 1, State.UNDEFINED, State.INCONSISTENT, (), "").is_broken is True
