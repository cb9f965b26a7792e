"""The list of snapshots as users ask for it: of what, where, when, and what they still share (GFS 3.4)."""

from master.core import Core
from master.namespace import paths
from master.namespace.namespace import FileEntry
from master.namespace.origins import Origin
from runtime.wire import master_pb2

_ENTRIES_A_REPLY = 200
_FILES_BETWEEN_BREATHS = 1000


async def list_snapshots(core: Core, request: master_pb2.FileSnapshotsRequest) -> master_pb2.FileSnapshotsReply:
    """Some snapshots of an entry at or below a path, in the order of their own paths. Raises InvalidRequest."""
    path, after = paths.check_path(request.path or "/"), request.after and paths.check_path(request.after)
    limit = min(request.limit or _ENTRIES_A_REPLY, _ENTRIES_A_REPLY)
    found = [(target, origin) for target, origin in core.state.origins.taken_of(path) if target > after]
    reply = master_pb2.FileSnapshotsReply(is_last=len(found) <= limit)
    for target, origin in found[:limit]:
        entry = core.state.namespace.find(target)
        if entry is not None:  # It may have gone while others were looked at.
            is_directory = not isinstance(entry, FileEntry)
            reply.entries.append(await _described(core, target, origin, is_directory=is_directory))
    return reply


async def _described(core: Core, target: str, origin: Origin, *, is_directory: bool) -> master_pb2.FileSnapshot:
    chunks = core.state.chunks
    told = master_pb2.FileSnapshot(
        source=origin.source,
        target=target,
        is_directory=is_directory,
        taken_microseconds=origin.taken_microseconds,
        files=origin.files,
    )
    ids = range(origin.first_file_id, origin.first_file_id + origin.files)
    for number, (_, file) in enumerate(list(core.state.namespace.files_in(target)), start=1):
        told.files_left += file.file_id in ids
        for handle in file.handles if file.file_id in ids else ():
            if handle not in chunks:
                continue
            told.chunks += 1
            told.length += chunks.length(handle)
            if chunks.sharings.owners(handle):
                told.shared_chunks += 1
                told.shared_bytes += chunks.length(handle)
        if number % _FILES_BETWEEN_BREATHS == 0:
            await core.world.breathe()
    return told
