"""What the master can be measured by, beside what it counts."""

from collections import Counter
from collections.abc import Iterator

from master.core import Core
from runtime.measures import Measure


def master_measures(core: Core) -> Iterator[Measure]:
    """The figures, as of now."""
    now, chunks = core.now, core.state.chunks
    servers = core.servers.all()
    heard = {server.name: now - server.seen for server in servers if server.address.control}
    yield Measure("heartbeat_age_seconds", "Since the last heartbeat of each chunkserver.", heard, "server")
    states = Counter(server.state.value for server in servers)
    yield Measure("chunkservers", "Chunkservers by what the master believes of them.", states, "state")
    lacking = [chunks.chunk(handle) for handle in chunks.needing_attention()]
    missing = sum(1 for chunk in lacking if not chunk.replicas)
    below = sum(1 for chunk in lacking if 0 < len(chunk.replicas) < chunk.goal)
    above = sum(1 for chunk in lacking if len(chunk.replicas) > chunk.goal)
    found = {
        "at goal": len(chunks) - len(lacking),
        "below goal": below,
        "above goal": above,
        "without a replica": missing,
    }
    yield Measure("chunks_by_state", "Chunks by how many replicas count, compared with their goal.", found, "state")
    others = Counter(
        replica.state.value for handle in core.replicas.exceptions() for replica in core.replicas.others(handle)
    )
    yield Measure("other_replicas", "Replicas that do not count, by the reason.", others, "state")
    is_on = core.is_starting or core.holds_still
    yield Measure("safe_mode", "1 while neither copies nor removals are ordered.", {"": float(is_on)})
    names = core.state.namespace
    yield Measure("directories", "Directories, the root counted.", {"": names.directories})
    yield Measure("hidden_files", "Deleted files that can be had back.", {"": names.hidden_files})
