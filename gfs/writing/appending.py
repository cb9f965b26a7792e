"""Appending records to a file whose end nobody knows (GFS 3.3).

The problem. Many clients append to one file at once. None of them knows where the file ends, and to agree upon it they
would need locks. The idea is the paper's: a client says only *what*, and goes with it to the last chunk of the file, as
far as it knows; the primary of that chunk says *where*. If the chunk is full, the client asks the master how many
chunks there are by now, and goes to the next one, which the master makes for the first client that asks.

So the master is asked once a chunk, and not once a record.

Which file is at a path is asked once, too. If the file was renamed or replaced since, the servers refuse, and the
client asks again.
"""

from collections import OrderedDict

from gfs.names.identity import FileIdentity, identity_of, must_be_file
from gfs.names.master_link import MasterLink
from gfs.reading.reading import ChunkReader
from gfs.writing.writing import ChunkWriter
from runtime.errors import Conflict, InvalidRequest, NotFound
from runtime.settings import MOST_CHUNKS, RECORD_SHARE
from runtime.wire.master_pb2 import FileInfo

_MOST_FILES = 4096


class RecordAppender:
    """One client's record appends, to any number of files."""

    def __init__(self, reader: ChunkReader, master: MasterLink, writer: ChunkWriter) -> None:
        self._reader = reader
        self._master = master
        self._writer = writer
        self._files: OrderedDict[str, FileInfo] = OrderedDict()  # By path.
        self._last: OrderedDict[FileIdentity, int] = OrderedDict()  # The last chunk of each file, as far as is known.

    async def append_at(self, path: str, data: memoryview) -> int:
        """Append a record to the file at a path. Raises as `append`, and IsADirectory."""
        known = self._files.get(path)
        if known is not None:
            try:
                return await self.append(known, data)
            except (NotFound, Conflict) as error:
                self._files.pop(path, None)
                if not error.definite:
                    raise  # Otherwise the path may name another file by now.
        info = self._files[path] = must_be_file(await self._reader.open(path))
        if len(self._files) > _MOST_FILES:
            self._files.popitem(last=False)
        return await self.append(info, data)

    def forget_tree(self, path: str) -> None:
        """Forget which file is at a path, and which ones are below it."""
        below = path.rstrip("/") + "/"
        for known in [known for known in self._files if known == path or known.startswith(below)]:
            del self._files[known]

    async def append(self, info: FileInfo, data: memoryview) -> int:
        """Append a record of 1 byte to a quarter of a chunk; returns its offset in the file, the same on every replica.

        The record is in the file at least once: tries that failed may have left it, or a part of it, elsewhere. Raises
        InvalidRequest, NotFound (the file is gone), Conflict (its path names another one), NoSpace, TooFewServers, and
        after the patience MutationFailed or TimedOut. All are indefinite if a try may have left the record somewhere.
        """
        file, most = identity_of(info), info.chunk_bytes // RECORD_SHARE
        if not 0 < len(data) <= most:
            raise InvalidRequest(
                f"a record of {len(data)} bytes for {file.path}: expected 1 to {most} bytes, a quarter of a chunk; "
                "write a longer one at an offset, or cut it"
            )

        async def next_index(full: int) -> int:
            if full + 1 >= MOST_CHUNKS:
                raise InvalidRequest(f"{file.path} is full: a file may have {MOST_CHUNKS} chunks")
            found = (await self._master.find_locations(file, 0, 0)).file
            return self._note(file, max(full + 1, found.chunk_count - 1))

        known = self._last.get(file, 0)
        index = self._note(file, max(known, info.chunk_count - 1, 0))
        index, offset = await self._writer.append_record(file, index, data, next_index)
        return index * info.chunk_bytes + offset

    def _note(self, file: FileIdentity, index: int) -> int:
        """Remember that a file has a chunk of this index, or will have one; returns the last that is known."""
        index = self._last[file] = max(index, self._last.get(file, 0))
        self._last.move_to_end(file)
        if len(self._last) > _MOST_FILES:
            self._last.popitem(last=False)
        return index
