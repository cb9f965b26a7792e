"""A run of any size, for the page: six nodes that grant leases, copy chunks, and are killed now and then.

python -m tests.browser.large_runs 100000       # how long the page takes to load, and to draw a frame
"""

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from chunkserver.events import ChunkCloned, LeaseEnded, LeaseReceived
from cluster.fault_log import NodeKilled
from cluster.timeline.building import timeline_of_records
from cluster.timeline.formats import Format, write_timeline
from cluster.timeline.model import Timeline
from master.events import ChunkCreated, CloneFinished, CloneStarted, FileCreated, LeaseGranted
from runtime.events import Event, NodeStarted, Record
from tests.browser.chromium import Chromium

SERVERS = ("cs1", "cs2", "cs3", "cs4", "cs5")
FRAMES = 120


def large_run(count: int, seed: int = 1) -> Timeline:
    """A timeline of about so many events."""
    chance = random.Random(seed)
    records: list[Record] = []

    def tell(node: str, event: Event, cause: str = "") -> None:
        time_of = records[-1].wall_microseconds + chance.randint(50, 2000) if records else 1_700_000_000_000_000
        records.append(Record(len(records) + 1, time_of, node, cause, event))

    for node in ("master", *SERVERS):
        tell(node, NodeStarted("master" if node == "master" else "chunkserver"))
    number = 0
    while len(records) < count:
        number += 1
        handle, cause = number, f"client.{number}"
        primary, *others = chance.sample(SERVERS, 3)
        path = f"/folder{number % 50}/file{number}"
        tell("master", FileCreated(path, 3), cause)
        tell("master", ChunkCreated(handle, path, 0, (primary, *others)), cause)
        tell(primary, LeaseReceived(handle, 1, 60.0, tuple(others)), cause)
        tell("master", LeaseGranted(handle, 1, primary, tuple(others)), cause)
        if number % 3 == 0:
            tell("master", CloneStarted(handle, primary, others[0]))
            tell(others[0], ChunkCloned(handle, 1, 1 << 20, primary))
            tell("master", CloneFinished(handle, others[0], 3, 3))
        tell(primary, LeaseEnded(handle, 1, "it was not extended"))
        if number % 2000 == 0:
            tell("faults", NodeKilled(primary))
            tell(primary, NodeStarted("chunkserver"))
    return timeline_of_records(f"{count} events", records)


def measure(count: int) -> None:
    """Print what a page of so many events costs."""
    begun = time.process_time()
    timeline = large_run(count)
    modelled = time.process_time()
    with tempfile.TemporaryDirectory() as folder, Chromium(width=1400, height=860) as browser:
        path = Path(folder) / "run.html"
        size = write_timeline(timeline, path, Format.HTML)
        written = time.process_time()
        page = browser.open(path)
        print(f"{len(timeline.moments)} events, {len(timeline.arrows)} arrows, {len(timeline.bars)} bars")
        print(f"model {modelled - begun:.1f} s, page {written - modelled:.1f} s of processor time, {size / 1e6:.1f} MB")
        print(f"the page is ready after {page.evaluate('timeline.loadMilliseconds'):.0f} ms")
        for name, shown in (("the whole run", 1.0), ("a tenth", 0.1), ("a thousandth", 0.001)):
            times = page.evaluate(
                f"""(() => {{ const span = timeline.run.end * {shown}; const found = [];
                for (let i = 0; i < {FRAMES}; i++) {{
                  timeline.view.begin = (timeline.run.end - span) * i / {FRAMES};
                  timeline.view.end = timeline.view.begin + span;
                  const began = performance.now(); timeline.drawNow(); found.push(performance.now() - began);
                }} return found; }})()"""
            )
            print(f"a frame of {name}: best {min(times):.1f} ms, half of them within {statistics.median(times):.1f} ms")


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
