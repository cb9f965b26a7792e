"""Writing a file that somebody asked for: whole, or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from runtime.errors import InvalidRequest
from runtime.real.disk import translated


def write_whole(path: Path, parts: Iterable[str]) -> int:
    """Write text to a new file beside `path`, and give it that name when it is complete; returns its bytes.

    Raises NoSpace, DiskFailure, InvalidRequest where `path` is a folder or in none; then there is nothing new, and what
    was at `path` before is unchanged.
    """
    if path.is_dir():
        raise InvalidRequest(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InvalidRequest(f"there is no folder {path.parent} for {path.name}; make it first")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    with translated("write", str(path)):
        try:
            with beside.open("x", encoding="utf-8", newline="\n") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())  # Some disks say only now that they are full.
                size = file.tell()
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    return size
