"""What callers hand over, checked before any of it goes anywhere.

The problem. Python lets anything be passed for a path, and a wrong thing shows itself late: as bytes in a cache of
texts, where it breaks the calls that come after, or as the words of a library that the caller never heard of. The idea:
every operation of the client takes its arguments through these functions first.

>>> checked_path("/lab/notes"), checked_path("/lab/")
('/lab/notes', '/lab')
>>> checked_path(b"/a")
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: path b'/a' (bytes): expected a text, or a path object such as pathlib.PurePosixPath('/a')
>>> checked_bytes("text")
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: data of type str: expected bytes; a text becomes bytes with text.encode()
"""

from typing import Any, Protocol, runtime_checkable

from runtime.errors import InvalidRequest, shown
from runtime.world import Buffer

SHOWN_CHARACTERS = 100
MOST_REPLICAS = 1000
"""The master allows fewer; this keeps what it is asked within the message's field."""


@runtime_checkable
class PathObject(Protocol):
    """What `os.PathLike[str]` is."""

    def __fspath__(self) -> str:
        """The path as a text."""


Path = str | PathObject


def checked_path(path: Path) -> str:
    """A path as a text, without the slash at its end that people write after directories.

    Raises InvalidRequest for what is neither a text nor a path object, and for a text that is not Unicode.
    """
    text: Any = path
    if not isinstance(text, str) and isinstance(text, PathObject):
        text = text.__fspath__()
    if not isinstance(text, str):
        raise InvalidRequest(
            f"path {repr(path)[:SHOWN_CHARACTERS]} ({type(path).__name__}): expected a text, or a path object such as "
            "pathlib.PurePosixPath('/a')"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"path {shown(text)} is not Unicode; leave out what cannot be encoded") from None
    return text[:-1] if len(text) > 1 and text.endswith("/") and not text.endswith("//") else text


def checked_bytes(data: Buffer) -> memoryview:
    """The bytes of a buffer. Raises InvalidRequest for anything else."""
    given: Any = data
    if isinstance(given, str):
        raise InvalidRequest("data of type str: expected bytes; a text becomes bytes with text.encode()")
    try:
        return memoryview(data).cast("B")
    except TypeError:
        raise InvalidRequest(
            f"data of type {type(data).__name__}: expected bytes, or another buffer without gaps"
        ) from None


def checked_number(value: int, name: str) -> int:
    """A number from 0. Raises InvalidRequest for anything else.

    >>> checked_number(-1, "offset")
    Traceback (most recent call last):
    ...
    runtime.errors.InvalidRequest: offset -1: expected 0 or more
    """
    if checked_whole(value, name) < 0:
        raise InvalidRequest(f"{name} {value}: expected 0 or more")
    return value


def checked_whole(value: int, name: str) -> int:
    """A whole number, which may be negative. Raises InvalidRequest for anything else."""
    given: Any = value
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidRequest(f"{name} {repr(value)[:SHOWN_CHARACTERS]}: expected a whole number")
    return value


def checked_goal(value: int, *, least: int) -> int:
    """A number of replicas. Raises InvalidRequest.

    >>> checked_goal(0, least=1)
    Traceback (most recent call last):
    ...
    runtime.errors.InvalidRequest: replication goal 0: expected 1 or more
    """
    if not least <= checked_number(value, "replication goal") <= MOST_REPLICAS:
        expected = f"{least} or more" if value < least else "no more than there are chunkservers"
        raise InvalidRequest(f"replication goal {value}: expected {expected}")
    return value
