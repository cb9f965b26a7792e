"""Path names: what is a legal one, and which key it has in the namespace table.

A path is absolute, `/` between its parts, "/" for the root. It names one thing only: no empty part, no `.`, no `..`,
no `/` at the end, no NUL. A part has at most 255 bytes and a path at most 4096, in UTF-8.

The key of a path puts a NUL where the path has a `/`. As NUL sorts before every other byte, the keys of a directory's
descendants follow the directory's own key at once, before any sibling, whatever characters the siblings contain:

>>> sorted(["/a-b", "/a/c", "/a"]), sorted(["/a-b", "/a/c", "/a"], key=key_of)
(['/a', '/a-b', '/a/c'], ['/a', '/a/c', '/a-b'])
>>> ancestors("/users/ann/thesis")
['/', '/users', '/users/ann']

Deleted entries live below `/.deleted` (GFS 4.4, `hidden_names.py`). What stands before their old paths there may make
them longer than other paths are.
"""

import re

from runtime.errors import InvalidRequest, shown

PATH_LIMIT_BYTES = 4096
PART_LIMIT_BYTES = 255
HIDDEN_ROOT = "/.deleted"
HIDDEN_EXTRA_BYTES = 64
# Clients write a new file or folder under such a name, and rename it when it is whole (GFS 2.7.2). They draw the
# digits: a name that a person has chosen is most unlikely to look like this.
_TEMPORARY_PART = re.compile(rb"\0\.writing-[0-9a-f]{16}(?=\0|\Z)")


def check_path(path: str) -> str:
    """Return the path. Raises InvalidRequest, saying which rule it breaks."""
    if not path.startswith("/"):
        raise InvalidRequest(f"{shown(path)} is not an absolute path; begin it with /")
    if "\0" in path:
        raise InvalidRequest(f"{shown(path)} contains a NUL character; leave it out")
    encoded = _encoded(path)
    limit = PATH_LIMIT_BYTES + (HIDDEN_EXTRA_BYTES if is_hidden(path) else 0)
    if len(encoded) > limit:
        raise InvalidRequest(f"{shown(path)} has {len(encoded)} bytes, a path may have {limit}; shorten it")
    if path == "/":
        return path
    for part in path[1:].split("/"):
        if part == "":
            raise InvalidRequest(f"{shown(path)} has an empty part; write one / between parts and none at the end")
        if part in (".", ".."):
            raise InvalidRequest(f"{shown(path)} contains {part!r}; write the path out, without relative parts")
        size = len(part.encode()) if len(part) * 4 > PART_LIMIT_BYTES else len(part)
        if size > PART_LIMIT_BYTES:
            raise InvalidRequest(
                f"{shown(path)} has a part of {size} bytes, a part may have {PART_LIMIT_BYTES}; shorten it"
            )
    return path


def check_may_be_made(path: str) -> str:
    """Return a path under which something new may be put. Raises InvalidRequest: malformed, the root, or hidden."""
    check_path(path)
    if path == "/":
        raise InvalidRequest("'/' always exists and cannot be created or replaced; name something below it")
    if is_hidden(path):
        raise InvalidRequest(f"{shown(path)} lies below {HIDDEN_ROOT}, where deleted entries are kept; choose another")
    return path


def is_hidden(path: str) -> bool:
    """Whether the path is the folder of hidden names or lies in it."""
    return path == HIDDEN_ROOT or path.startswith(HIDDEN_ROOT + "/")


def parent_of(path: str) -> str:
    """The directory that holds this path; the root's is the root."""
    return path[: path.rindex("/")] or "/"


def ancestors(path: str) -> list[str]:
    """Every proper ancestor, the root first."""
    if path == "/":
        return []
    parts = path.split("/")[1:-1]
    found = ["/"]
    for part in parts:
        found.append(("" if len(found) == 1 else found[-1]) + "/" + part)
    return found


def is_below(path: str, ancestor: str) -> bool:
    """Whether `path` is a proper descendant of `ancestor`."""
    return path != ancestor and path.startswith("/" if ancestor == "/" else ancestor + "/")


def key_of(path: str) -> bytes:
    """The path's key in the namespace table."""
    return b"" if path == "/" else path.encode().replace(b"/", b"\0")


def path_of(key: bytes) -> str:
    """The path of a key."""
    return key.replace(b"\0", b"/").decode() or "/"


def temporary_part(key: bytes) -> bytes | None:
    """The key of the outermost temporary name at or above a key; None if there is none.

    >>> temporary_part(key_of("/home/.writing-0123456789abcdef/notes/a"))
    b'\\x00home\\x00.writing-0123456789abcdef'
    >>> temporary_part(key_of("/home/.writing-a-thesis")) is None
    True
    """
    found = _TEMPORARY_PART.search(key)
    return key[: found.end()] if found else None


def _encoded(path: str) -> bytes:
    try:
        return path.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{shown(path)} cannot be written in UTF-8 ({error.reason}); rename it") from error
