"""What the cluster is like, now: computed from the tables when asked, never noted at some earlier time."""

from master.chunk_table import Chunk
from master.chunkservers import location
from master.core import Core
from master.draining import Draining
from master.moving import Moving
from master.repair import Repair
from master.replicas import ReplicaState
from runtime.wire import common_pb2, master_pb2

_BREATHE_EVERY = 1000


async def cluster_status(
    core: Core, repair: Repair, moving: Moving, draining: Draining, *, with_chunks: bool, path: str = "/"
) -> master_pb2.ClusterStatus:
    """The answer to GetClusterStatus; if asked for, with one entry for each chunk of the files at and below a path."""
    namespace, chunks = core.state.namespace, core.state.chunks
    lacking = [chunks.chunk(handle) for handle in chunks.needing_attention()]
    missing = sum(1 for chunk in lacking if not chunk.replicas)
    under = sum(1 for chunk in lacking if 0 < len(chunk.replicas) < chunk.goal)
    unsure = sum(
        1 for chunk in lacking if not chunk.replicas and core.replicas.servers_in(chunk.handle, ReplicaState.UNSURE)
    )
    corrupt = sum(
        1 for chunk in lacking if not chunk.replicas and core.replicas.servers_in(chunk.handle, ReplicaState.CORRUPT)
    )
    status = master_pb2.ClusterStatus(
        cluster=core.settings.cluster,
        uptime_seconds=core.now - core.started,
        file_count=namespace.files,
        directory_count=namespace.directories,
        hidden_files=namespace.hidden_files,
        chunk_count=len(chunks),
        under_replicated_chunks=under,
        missing_chunks=missing,
        unsure_chunks=unsure,
        corrupt_chunks=corrupt,
        corrupt_replicas=sum(
            len(core.replicas.servers_in(handle, ReplicaState.CORRUPT)) for handle in core.replicas.exceptions()
        ),
        dead_after_seconds=core.settings.dead_after_seconds,
        trash_grace_seconds=core.settings.trash_grace_seconds,
        authority=core.authority,
        clones_running=repair.clones_running,
        replication_goal=core.settings.replication_goal,
        chunk_bytes=core.settings.chunk_bytes,
        log_bytes=core.log.log_bytes,
        log_sequence=core.log.next_sequence - 1,
        lease_seconds=core.settings.lease_seconds,
        recovery_note=core.log.recovery_note,
        placement=core.settings.placement,
        misplaced_chunks=len(moving.misplaced),
        moves_planned=len(moving.moves),
        hot_chunks=len(moving.heat.hot_chunks()),
        looks=moving.looks,
    )
    held = await _held_by_server(core)
    leases = core.leases.counts(core.now)
    for server in core.servers.all():
        count, size = held.get(server.name, (0, 0))
        status.servers.append(
            master_pb2.ServerStatus(
                location=location(server.address),
                alive=server.is_alive,
                seconds_since_heartbeat=core.now - server.seen if server.address.control else 0.0,
                disk_total_bytes=server.total,
                disk_free_bytes=server.free,
                chunk_count=count,
                lease_count=leases.get(server.name, 0),
                stored_bytes=size,
                draining=server.name in core.state.draining,
                left_to_drain=draining.left_on(server.name) if server.name in core.state.draining else 0,
            )
        )
    if with_chunks:
        await _add_chunks(core, repair, moving, status, path)
    return status


async def _held_by_server(core: Core) -> dict[str, tuple[int, int]]:
    """Replicas and their bytes at each server."""
    held: dict[str, tuple[int, int]] = {}
    for number, handle in enumerate(list(core.state.chunks.handles()), start=1):
        if number % _BREATHE_EVERY == 0:
            await core.world.breathe()
        if handle not in core.state.chunks:
            continue
        length = core.state.chunks.length(handle)
        for name in core.state.chunks.replicas(handle):
            count, size = held.get(name, (0, 0))
            held[name] = (count + 1, size + length)
    return held


def _is_open(core: Core, chunk: Chunk) -> bool:
    """Whether the chunk has more or fewer replicas than it should, or may have: not all servers have reported yet."""
    return len(chunk.replicas) != chunk.goal or not core.is_settled()


async def _add_chunks(core: Core, repair: Repair, moving: Moving, status: master_pb2.ClusterStatus, below: str) -> None:
    now = core.now
    for number, (path, file) in enumerate(list(core.state.namespace.files_in(below)), start=1):
        if number % _BREATHE_EVERY == 0:
            await core.world.breathe()
        for index, handle in enumerate(file.handles):
            if handle not in core.state.chunks:
                continue
            chunk = core.state.chunks.chunk(handle)
            lease = core.leases.holder(handle, now)
            status.chunks.append(
                master_pb2.ChunkStatus(
                    path=path,
                    replication_goal=chunk.goal,
                    extra_copies=moving.heat.extra(handle),
                    primary=lease.primary if lease else "",
                    others=[
                        master_pb2.OtherReplica(server=other.server, state=other.state.value, version=other.version)
                        for other in core.replicas.others(handle)
                    ],
                    waits_for=repair.why_waiting(handle) if _is_open(core, chunk) else "",
                    chunk=common_pb2.ChunkLocations(
                        index=index,
                        handle=handle,
                        version=chunk.version,
                        length=chunk.length,
                        replicas=[location(server.address) for server in core.live_servers(chunk.replicas)],
                    ),
                )
            )
