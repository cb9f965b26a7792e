"""What a legal path is: `/` and names between slashes.

There are no directories to be made: one is there as long as a file's path begins with it.

>>> check_path("/servers/cs1")
>>> check_path("servers")
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: path 'servers': expected '/' before each of its names, and no empty name
>>> ancestors("/servers/cs1")
['/servers', '/']
>>> name_below("/servers/cs1", "/"), name_below("/servers/cs1", "/servers"), name_below("/servers", "/master")
('servers', 'cs1', '')
"""

from runtime.errors import InvalidRequest, shown

ROOT = "/"
MOST_PATH_BYTES = 1024


def check_path(path: str, *, may_be_root: bool = False) -> None:
    """Raise InvalidRequest for a path that no file or lock can have."""
    if path == ROOT and may_be_root:
        return
    if not path.startswith("/") or not all(path[1:].split("/")):
        raise InvalidRequest(f"path {shown(path)}: expected '/' before each of its names, and no empty name")
    if not path.isprintable():
        raise InvalidRequest(f"path {shown(path)}: expected only characters that can be shown")
    if len(path.encode()) > MOST_PATH_BYTES:
        raise InvalidRequest(f"path {shown(path)}: expected at most {MOST_PATH_BYTES} bytes of UTF-8")


def below(path: str) -> str:
    """What the paths below this one begin with."""
    return path if path == ROOT else path + "/"


def ancestors(path: str) -> list[str]:
    """The directories that a path is in, the nearest first."""
    names = path.split("/")[1:-1]
    return ["/" + "/".join(names[:count]) for count in range(len(names), 0, -1)] + [ROOT]


def name_below(path: str, directory: str) -> str:
    """The name directly below a directory that leads to the path; empty if the path is not in it."""
    prefix = below(directory)
    return path[len(prefix) :].partition("/")[0] if path.startswith(prefix) else ""
