"""Which file an open file is.

The problem. A path names one file now and another one after a rename or a replacement. Whoever opened the first must
not read half of each, nor write into the second. The idea: the master gives every file an id that never changes and is
never used again; an open file remembers it and sends it with each question, and the master refuses (Conflict) when the
path names another file by now. The path goes along with the id, because a file that was renamed away is no longer what
was opened either: so a server that renames a file keeps an old writer out of it.
"""

from dataclasses import dataclass

from runtime.errors import IsADirectory
from runtime.wire.master_pb2 import FileInfo


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """A file as it was opened: its path then, and its id. The id 0 stands for whatever is at the path."""

    path: str
    file_id: int


def identity_of(info: FileInfo) -> FileIdentity:
    """The identity in a master's answer.

    >>> identity_of(FileInfo(path="/a", file_id=7))
    FileIdentity(path='/a', file_id=7)
    """
    return FileIdentity(info.path, info.file_id)


def must_be_file(info: FileInfo) -> FileInfo:
    """The master's answer, if it is about a file. Raises IsADirectory."""
    if info.is_directory:
        raise IsADirectory(f"{info.path} is a directory; name a file in it, or list it")
    return info
