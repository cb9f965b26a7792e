"""What the cluster is like, now: computed from the tables when asked, never noted at some earlier time."""

from master.chunks.chunk_table import Chunk
from master.chunks.replicas import ReplicaState
from master.core import Core
from master.maintenance.draining import Draining
from master.maintenance.repair import Repair
from master.namespace import paths
from master.namespace.namespace import FileEntry
from master.protocol.moving import Moving
from master.servers.chunkservers import location
from master.servers.servers import Server, ServerState
from runtime.wire import common_pb2, master_pb2

_BREATHE_EVERY = 1000


async def cluster_status(
    core: Core, repair: Repair, moving: Moving, draining: Draining, request: master_pb2.ClusterStatusRequest
) -> master_pb2.ClusterStatus:
    """The answer to GetClusterStatus; if asked for, with one entry for each chunk of the files at and below a path.
    Raises InvalidRequest."""
    path, after = paths.check_path(request.path or "/"), request.after and paths.check_path(request.after)
    status = master_pb2.ClusterStatus() if after else await _figures(core, repair, moving, draining)
    status.safe_mode.CopyFrom(safe_mode_status(core))
    if request.chunks:
        await _add_chunks(core, repair, moving, status, path, after, request.limit)
    return status


def safe_mode_status(core: Core) -> master_pb2.SafeMode:
    """Whether the master is in safe mode, and why."""
    reason = ""
    if core.holds_still:
        reason = "an operator has entered it; no name changes, and nothing is copied or removed"
    elif core.is_starting:
        left = core.safe_mode.seconds_left(core.now)
        reason = f"the master has just started and waits up to {left:.0f} s for servers to report"
    return master_pb2.SafeMode(
        is_on=bool(reason), by_hand=core.holds_still, reason=reason, chunks_found=core.found_share()
    )


async def _figures(core: Core, repair: Repair, moving: Moving, draining: Draining) -> master_pb2.ClusterStatus:
    """What concerns the whole cluster."""
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
    running = repair.clones()
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
                state=_state_words(server),
                clones_in=sum(order.destination == server.name for order in running),
                clones_out=sum(order.source == server.name for order in running),
                draining=server.name in core.state.draining,
                left_to_drain=draining.left_on(server.name) if server.name in core.state.draining else 0,
            )
        )
    return status


def _state_words(server: Server) -> str:
    """ "live", "suspect" or "dead"; one that was never heard counts as dead."""
    return server.state.value if server.is_alive else ServerState.DEAD.value


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


def _page(core: Core, below: str, after: str, limit: int) -> tuple[list[tuple[str, FileEntry]], str]:
    """The files of one page, and the last of them; "" if none follows. Without a limit, all of them."""
    found: list[tuple[str, FileEntry]] = []
    count = 0
    for path, file in core.state.namespace.files_in(below, after=after):
        if limit and count >= limit:
            return found, found[-1][0]
        found.append((path, file))
        count += max(1, len(file.handles))
    return found, ""


def _unreachable(core: Core, chunk: Chunk) -> list[str]:
    """Servers that were given the chunk's present version, and that the master does not hear."""
    members = core.state.chunks.members(chunk.handle)
    return [name for name in members if not core.has_reported(name)]


async def _add_chunks(
    core: Core,
    repair: Repair,
    moving: Moving,
    status: master_pb2.ClusterStatus,
    below: str,
    after: str,
    limit: int,
) -> None:
    now = core.now
    files, status.last_path = _page(core, below, after, limit)
    for number, (path, file) in enumerate(files, start=1):
        status.files_seen += 1
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
                    unreachable=_unreachable(core, chunk),
                    chunk=common_pb2.ChunkLocations(
                        index=index,
                        handle=handle,
                        version=chunk.version,
                        length=chunk.length,
                        replicas=[location(server.address) for server in core.live_servers(chunk.replicas)],
                    ),
                )
            )
