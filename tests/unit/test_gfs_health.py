"""The verdict about chunks and files, from what the master knows."""

import pytest

from gfs.health import Health, Tally, by_file, verdict
from runtime.wire.common_pb2 import ChunkLocations, Location
from runtime.wire.master_pb2 import ChunkStatus, OtherReplica


def chunk(path: str, current: int, *others: str, goal: int = 3, unreachable: tuple[str, ...] = ()) -> ChunkStatus:
    replicas = [Location(server=f"cs{number}") for number in range(current)]
    return ChunkStatus(
        path=path,
        replication_goal=goal,
        chunk=ChunkLocations(replicas=replicas, length=10),
        others=[OtherReplica(server=f"other{number}", state=state) for number, state in enumerate(others)],
        unreachable=unreachable,
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (chunk("/a", 3), Health.HEALTHY),
        (chunk("/a", 4, "stale"), Health.ABOVE_GOAL),
        (chunk("/a", 1, "stale", "corrupt"), Health.BELOW_GOAL),
        (chunk("/a", 0, "stale", "unsure", "corrupt", unreachable=("cs9",)), Health.UNSURE),
        (chunk("/a", 0, "stale", "corrupt", unreachable=("cs9",)), Health.DAMAGED),
        (chunk("/a", 0, "stale", unreachable=("cs9",)), Health.UNREACHABLE),
        (chunk("/a", 0, "unreadable"), Health.UNREACHABLE),
        (chunk("/a", 0, "stale"), Health.PUT_ASIDE),
        (chunk("/a", 0, "condemned"), Health.PUT_ASIDE),
        (chunk("/a", 0), Health.LOST),
        (chunk("/a", 0, "forming"), Health.LOST),
    ],
)
def test_the_best_that_is_left_decides(status: ChunkStatus, expected: Health) -> None:
    assert verdict(status) is expected
    assert verdict(status, is_starting=True) is (Health.NOT_KNOWN_YET if not status.chunk.replicas else expected)


def test_a_file_is_as_well_as_its_worst_chunk_and_a_tally_as_its_worst_file() -> None:
    chunks = [chunk("/a", 3), chunk("/a", 2), chunk("/b", 3), chunk("/c", 0, "stale", unreachable=("cs9",))]
    files = list(by_file(chunks))
    assert [(file.path, file.worst) for file in files] == [
        ("/a", Health.BELOW_GOAL), ("/b", Health.HEALTHY), ("/c", Health.UNREACHABLE)
    ]  # fmt: skip
    tally = Tally()
    assert tally.worst is Health.HEALTHY
    for file in files:
        for status, health in file.chunks:
            tally.add(status, health)
    assert (tally.worst, tally.length, tally.unreachable) == (Health.UNREACHABLE, 40, 1)
    assert tally.replicas == {"current": 8, "stale": 1} and tally.chunks[Health.HEALTHY] == 2
    assert not list(by_file([]))


def test_only_what_certainly_lacks_acknowledged_bytes_is_called_lost() -> None:
    assert [health for health in Health if health.is_lost] == [Health.PUT_ASIDE, Health.LOST]
    assert all(not health.is_lost for health in Health if health.can_be_read)
