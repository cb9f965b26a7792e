"""The main job, told in virtual time: the same story as `./scripts/demo`, with smaller files and no waiting."""

import contextlib
import dataclasses
import random
from collections.abc import Iterator

import pytest

from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.simulated.world import Simulation
from tabletop.progress import Meter, SilentMeter
from tabletop.sources import MemoryTree
from tabletop.story import Story

CHUNK_BYTES = 256 * 1024
SETTINGS = ClusterSettings(chunkservers=5, replicas=3, chunk_bytes=CHUNK_BYTES, lease_seconds=10.0)


class WritingNarrator:
    """Writes the story down."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def chapter(self, title: str) -> None:
        self.lines.append(f"# {title}")

    def say(self, text: str) -> None:
        self.lines.append(text)

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        self.lines.extend(" | ".join(row) for row in [columns, *rows])

    def check(self, claim: str, held: bool) -> None:
        self.lines.append(f"{'yes' if held else 'NO'}: {claim}")

    @contextlib.contextmanager
    def progress(self, verb: str, total_bytes: int, files: int) -> Iterator[Meter]:
        del verb, total_bytes, files
        yield SilentMeter()


def told(seed: int, masters: int = 1) -> tuple[bool, str, bytes]:
    """Tell the story in one seed's world: whether it held, what was said, and every event."""
    simulation = Simulation(seed)
    cluster = SimulatedCluster(simulation, dataclasses.replace(SETTINGS, masters=masters))
    contents = random.Random(seed)
    tree = MemoryTree(
        {f"folder-{number % 4}/file-{number}": contents.randbytes(contents.randrange(20_000)) for number in range(40)}
    )
    long_file = MemoryTree({"": contents.randbytes(CHUNK_BYTES * 5 + 12_345)})
    narrator = WritingNarrator()

    async def whole_story() -> bool:
        await cluster.start()
        held = await Story(cluster, tree, long_file, narrator).tell()
        await cluster.stop()
        return held

    held = simulation.run(whole_story())
    return held, "\n".join(narrator.lines), simulation.event_bytes()


@pytest.mark.parametrize("masters", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_every_claim_of_the_story_holds_in_virtual_time(seed: int, masters: int):
    held, lines, _ = told(seed, masters)
    assert held, f"seed {seed}:\n{lines}"


def test_the_story_of_one_seed_is_told_the_same_way_every_time():
    _, first_lines, first_events = told(11)
    _, second_lines, second_events = told(11)
    assert first_lines == second_lines
    assert first_events == second_events
