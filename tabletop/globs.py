"""Patterns in paths of the cluster, as a shell has them for local ones: `*`, `?` and `[…]`, within one part of a path.

The shell of the terminal knows nothing of the cluster's names, so that it hands a pattern on as it is (if nothing local
fits, or if it is quoted). A path that exists as it is written is never taken for a pattern.
"""

import fnmatch

from gfs.client import Client
from runtime.errors import NotADirectory, NotFound, shown

MARKS = frozenset("*?[")


def is_pattern(text: str) -> bool:
    """Whether the text has a mark of a pattern in it.

    >>> is_pattern("/logs/*.txt"), is_pattern("/logs")
    (True, False)
    """
    return any(mark in text for mark in MARKS)


async def expanded(client: Client, paths: list[str]) -> list[str]:
    """The paths, with what fits in place of each pattern, in order. Raises NotFound for a pattern that fits nothing."""
    found: list[str] = []
    for path in paths:
        if not is_pattern(path) or await client.exists(path):
            found.append(path)
            continue
        fitting = await _fitting(client, path)
        if not fitting:
            raise NotFound(f"no file or directory fits {shown(path)}; see what there is with `tabletop fs ls`")
        found += fitting
    return found


async def _fitting(client: Client, pattern: str) -> list[str]:
    places = [""]
    for part in pattern.strip("/").split("/"):
        if is_pattern(part):
            places = [f"{place}/{name}" for place in places for name in await _names(client, place, part)]
        else:
            places = [f"{place}/{part}" for place in places]
    return [place for place in places if await client.exists(place)]


async def _names(client: Client, directory: str, pattern: str) -> list[str]:
    try:
        names = [entry.name for entry in await client.list(directory or "/")]
    except (NotFound, NotADirectory):
        return []
    # As in a shell, names that begin with a point are only meant by patterns that do.
    hidden = pattern.startswith(".")
    return [name for name in fnmatch.filter(names, pattern) if hidden or not name.startswith(".")]
