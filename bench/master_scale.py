"""How the master scales: memory for each file and chunk at a million files, and how soon it is back after a restart.

    python -m bench.master_scale --files 1000000

fills a master's state with files of one chunk (in directories of 100, with names as a crawler gives them), writes a
checkpoint, forgets everything and recovers from the checkpoint; then again with a log of 100,000 records behind the
checkpoint. Memory is what the process grew by (resident set) and what Python counts (tracemalloc, in a second,
slower pass over a tenth of the files).
"""

import argparse
import asyncio
import gc
import tempfile
import time
import tracemalloc
from dataclasses import dataclass

from master.log.operation_log import OperationLog
from master.log.records import ChunkAllocated, DirectoriesMade, FileCreated, HandlesReserved
from master.log.state import MasterState
from runtime.real.world import RealWorld

FILES_A_DIRECTORY = 100
SERVERS = 20
LOG_RECORDS = 100_000


@dataclass(frozen=True, slots=True)
class ScaleFigures:
    """What was measured. Bytes, seconds."""

    files: int
    resident_bytes_a_file: float
    namespace_bytes_a_file: float
    chunk_table_bytes_a_chunk: float
    checkpoint_bytes: int
    snapshot_seconds: float
    checkpoint_seconds: float
    restart_seconds: float
    restart_with_log_seconds: float
    log_records: int

    def lines(self) -> list[str]:
        """The figures, for people."""
        return [
            f"files of one chunk                        {self.files:>12,}",
            f"memory a file with its chunk (resident)   {self.resident_bytes_a_file:>12.1f} bytes",
            f"  namespace, a file (tracemalloc)         {self.namespace_bytes_a_file:>12.1f} bytes",
            f"  chunk table, a chunk (tracemalloc)      {self.chunk_table_bytes_a_chunk:>12.1f} bytes",
            f"checkpoint                                {self.checkpoint_bytes / 1e6:>12.1f} MB",
            f"  pause for the snapshot                  {self.snapshot_seconds * 1000:>12.1f} ms",
            f"  written in                              {self.checkpoint_seconds:>12.2f} s",
            f"restart from the checkpoint               {self.restart_seconds:>12.2f} s",
            f"restart, and {self.log_records:,} log records       {self.restart_with_log_seconds:>12.2f} s",
        ]


def path_of(number: int) -> tuple[str, str]:
    """(directory, path) of a file."""
    directory = f"/crawl-{number // FILES_A_DIRECTORY:06d}"
    return directory, f"{directory}/part-{number % FILES_A_DIRECTORY:05d}-of-{FILES_A_DIRECTORY:05d}"


def fill(state: MasterState, first: int, last: int) -> None:
    """Apply the records of files `first` to below `last`, and tell where their replicas are."""
    state.apply(HandlesReserved(2 * last + 2))
    for number in range(first, last):
        directory, path = path_of(number)
        if number % FILES_A_DIRECTORY == 0:
            state.apply(DirectoriesMade((directory,), 1_700_000_000_000_000))
        place = number * 7 % SERVERS
        servers = (f"cs{place}", f"cs{(place + 1 + number % 5) % SERVERS}", f"cs{(place + 7 + number % 3) % SERVERS}")
        file_id = state.chunks.reserve_handle()
        state.apply(FileCreated(path, 3, 1_700_000_000_000_000 + number, file_id))
        handle = state.chunks.reserve_handle()
        state.apply(ChunkAllocated(path, 0, handle, 1, servers))
        state.chunks.set_replicas(handle, servers)
        state.chunks.note_length(handle, 20_000_000 + number)


def python_bytes(files: int) -> tuple[float, float]:
    """(namespace bytes a file, chunk table bytes a chunk) as Python's allocator counts them."""
    tracemalloc.start()
    state = MasterState()
    fill(state, 0, files)
    state.namespace.table.snapshot()
    gc.collect()
    whole = tracemalloc.get_traced_memory()[0]
    del state.namespace
    gc.collect()
    chunks = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (whole - chunks) / files, chunks / files


async def measure(files: int) -> ScaleFigures:
    """Fill, checkpoint, restart; in a temporary folder."""
    namespace_bytes, chunk_bytes = python_bytes(max(1000, files // 10))
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder:
        world = RealWorld(node="master", root=folder, token="")
        before = world.resident_bytes()
        log = OperationLog(world, cluster="bench", checkpoint_log_bytes=2**40)
        await log.recover()
        fill(log.state, 0, files)
        gc.collect()
        resident = world.resident_bytes() - before
        began = time.perf_counter()
        log.state.snapshot()
        snapshot_seconds = time.perf_counter() - began
        began = time.perf_counter()
        await log.checkpoint()
        checkpoint_seconds = time.perf_counter() - began
        names = await world.disk.list("log")
        (size,) = [await world.disk.size(f"log/{name}") for name in names if name.endswith(".checkpoint")]
        restart_seconds = await restart(world, log, files)
        log = OperationLog(world, cluster="bench", checkpoint_log_bytes=2**40)
        await log.recover()
        await asyncio.gather(*(log.commit(FileCreated(f"/{number}", 3, 1, 0)) for number in range(LOG_RECORDS)))
        with_log_seconds = await restart(world, log, files + LOG_RECORDS)
        await world.close()
    return ScaleFigures(
        files=files,
        resident_bytes_a_file=resident / files,
        namespace_bytes_a_file=namespace_bytes,
        chunk_table_bytes_a_chunk=chunk_bytes,
        checkpoint_bytes=size,
        snapshot_seconds=snapshot_seconds,
        checkpoint_seconds=checkpoint_seconds,
        restart_seconds=restart_seconds,
        restart_with_log_seconds=with_log_seconds,
        log_records=LOG_RECORDS,
    )


async def restart(world: RealWorld, log: OperationLog, files: int) -> float:
    """Seconds until a new log has recovered everything."""
    await log.close()
    log.state = MasterState()
    gc.collect()
    began = time.perf_counter()
    again = OperationLog(world, cluster="bench", checkpoint_log_bytes=2**40)
    await again.recover()
    seconds = time.perf_counter() - began
    if again.state.namespace.files != files:
        raise RuntimeError(f"recovered {again.state.namespace.files} files of {files}")
    if again.state.namespace.file(path_of(0)[1]).handles != (1,):
        raise RuntimeError(f"{path_of(0)[1]} has lost its chunk")
    await again.close()
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    print("\n".join(asyncio.run(measure(parser.parse_args().files)).lines()))


if __name__ == "__main__":
    main()
