"""Table 2 of the GFS paper: how much metadata a master and its chunkservers keep (GFS 6.2.1).

A master's state is filled as its own log would fill it: directories, files, deleted files under their hidden names,
chunks; and three servers are named for each chunk, as reports would name them. Three sizes of it are told:

    tables       the bytes of the tables themselves: pages of names, segments of chunks, and four bytes for the place of
                 each replica. A program in C++ would need about as much
    memory       what Python's allocator has given for the same state, with the objects that it needs around the tables
    checkpoint   what the frames of a checkpoint carry, which a master reads when it starts

A chunkserver keeps four bytes for each 64 KiB of a chunk, and headers. The metadata of one full replica is made by the
chunkserver's own code, and counted for every replica. So does Table 2: 13 GB for three replicas of 992,000 chunks are
4.4 KB each, which is the checksums of 64 MB and a little more, though the chunks were not full.

What we simplify. Names are as a crawler gives them, and the servers of a chunk are drawn at random. Other memory of a
master's process (its leases, calls, the interpreter) is not counted.
"""

import gc
import random
import tracemalloc
from dataclasses import dataclass

from chunkserver.storage.blocks import block_count
from chunkserver.storage.chunk_format import Header, encode_entries, encode_slots
from cluster.paper.printed import Cluster
from master.log.records import ChunkAllocated, DirectoriesMade, EntryMoved, FileCreated, HandlesReserved
from master.log.state import MasterState
from runtime.errors import InvalidRequest
from runtime.settings import CHUNK_BYTES

_FILES_A_DIRECTORY = 100
_GOAL = 3
_NOW_MICROSECONDS = 1_067_000_000_000_000
_TRASH_SECONDS = 259_200.0
_LOCATION_BYTES = 4  # a number of a server, and what a C++ program needs at least for it


@dataclass(frozen=True, slots=True)
class Metadata:
    """What was measured, bytes. The master's are of all files and all chunks together."""

    names: int  # the pages of the table of names, with all entries
    chunks: int  # versions, groups, goals, flags and lengths of the chunks
    locations: int  # a number for each replica
    memory: int  # what Python has allocated for the state
    checkpoint: int  # what a checkpoint's frames carry
    replica: int  # the metadata file of one replica on a chunkserver
    chunkservers: int  # of all replicas

    @property
    def tables(self) -> int:
        """The bytes of the tables, without what Python needs around them."""
        return self.names + self.chunks + self.locations


def measure_metadata(cluster: Cluster, *, share: float = 1.0, seed: int = 1) -> Metadata:
    """Fill a master with this share of a cluster's files and chunks; what was measured is divided by the share. Raises
    InvalidRequest."""
    if not 0 < share <= 1:
        raise InvalidRequest(f"a share of {share:g}: expected more than 0 and at most 1")
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        state = filled(cluster, share, random.Random(seed))
        snapshot = state.snapshot()
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    names = sum(map(len, snapshot.leaves))
    packed = sum(map(len, snapshot.segments))
    count = len(state.chunks)
    lengths = 5 * count  # four bytes, and whether it is exact
    groups = sum(len("\0".join(group)) + 4 for group in snapshot.groups)
    replica = replica_bytes()
    return Metadata(
        names=round(names / share),
        chunks=round((packed + lengths) / share),
        locations=round(count * _GOAL * _LOCATION_BYTES / share),
        memory=round(memory / share),
        checkpoint=round((names + packed + groups) / share),
        replica=replica,
        chunkservers=replica * _GOAL * cluster.chunks,
    )


def filled(cluster: Cluster, share: float, draws: random.Random) -> MasterState:
    """A master's state after the records of so many files, some of them deleted, and with all replicas reported."""
    state = MasterState()
    files, dead = int(cluster.files * share), int(cluster.dead_files * share)
    chunks = int(cluster.chunks * share)
    servers = [f"cs{number}" for number in range(1, cluster.chunkservers + 1)]
    state.apply(HandlesReserved(2 * (files + dead) + chunks + 2))
    made = 0
    for number in range(files + dead):
        directory = f"/crawl-{number // _FILES_A_DIRECTORY:06d}"
        path = f"{directory}/part-{number % _FILES_A_DIRECTORY:05d}-of-{_FILES_A_DIRECTORY:05d}"
        if number % _FILES_A_DIRECTORY == 0:
            state.apply(DirectoriesMade((directory,), _NOW_MICROSECONDS))
        state.apply(FileCreated(path, _GOAL, _NOW_MICROSECONDS + number, state.chunks.reserve_handle()))
        due = (number + 1) * chunks // (files + dead)  # chunks are spread evenly over the files
        for index in range(due - made):
            handle, holders = state.chunks.reserve_handle(), tuple(draws.sample(servers, _GOAL))
            state.apply(ChunkAllocated(path, index, handle, 1, holders))
            state.chunks.set_replicas(handle, holders)
            state.chunks.note_length(handle, draws.randrange(CHUNK_BYTES))
        made = due
        if number * dead // (files + dead) < (number + 1) * dead // (files + dead):
            hidden = state.hidden_name(path, _NOW_MICROSECONDS + number, trash_seconds=_TRASH_SECONDS)
            state.apply(EntryMoved(path, hidden, ""))
    return state


def replica_bytes() -> int:
    """What a chunkserver keeps beside the data of one full chunk: the size of its metadata file."""
    header = Header(sequence=1, handle=1, boot=1, version=1, length=CHUNK_BYTES, capacity=CHUNK_BYTES)
    return len(encode_slots(header)) + len(encode_entries([0] * block_count(CHUNK_BYTES)))
