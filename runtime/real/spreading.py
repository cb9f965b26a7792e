"""Folders that lie apart on the disk.

The problem. A file system puts the files of a folder, and the folders in it, near one another, into one of the *groups*
that a disk is divided into. That is right for files that are read together. A server that shares ten thousand files out
among 256 folders only fills one group up that way, and each new file is a long search for a free inode: ext4 without a
journal gives none out again that became free in the last minutes, and looks at each of them first. Half of what a small
chunk cost a chunkserver was this search. The idea: ext2, ext3 and ext4 know a flag, "top of a directory hierarchy"
(`chattr +T`), that says of a folder that those in it have nothing to do with one another. They are spread over all
groups then, and each file finds its inode at once.

It is a hint. Where the file system does not know it, or this is not Linux, nothing is done and nothing is lost.
"""

import fcntl
import os
import struct
import sys
from contextlib import suppress

# Linux, include/uapi/linux/fs.h: _IOR('f', 1, long), _IOW('f', 2, long); the flags themselves are 32 bits.
_WORD_BYTES = struct.calcsize("l")
_GET_FLAGS = 0x80006601 | _WORD_BYTES << 16
_SET_FLAGS = 0x40006602 | _WORD_BYTES << 16
_TOP_OF_HIERARCHY = 0x00020000
_FLAGS = struct.Struct("=I")


def spread_folders_of(path: str) -> bool:
    """Have the folders that will be made in this one lie apart; whether the file system does that."""
    if sys.platform != "linux":
        return False
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = bytearray(_WORD_BYTES)
            fcntl.ioctl(descriptor, _GET_FLAGS, flags)
            (present,) = _FLAGS.unpack_from(flags)
            if not present & _TOP_OF_HIERARCHY:
                _FLAGS.pack_into(flags, 0, present | _TOP_OF_HIERARCHY)
                fcntl.ioctl(descriptor, _SET_FLAGS, flags)
        finally:
            os.close(descriptor)
        return True
    return False
