"""What the file system's client says, in the words that the engine knows: NoSpace, DiskFailure, Corrupted, Superseded.

A definite error stays definite. NoSpace says that nothing was changed, so an indefinite one becomes a DiskFailure.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import (
    AlreadyExists,
    Conflict,
    Corrupted,
    DiskFailure,
    InvalidRequest,
    NoSpace,
    NotADirectory,
    NotFound,
    Superseded,
    TabletopError,
    TooFewServers,
)


@contextmanager
def in_engine_words() -> Iterator[None]:
    """Errors of names and of files that are looked for: NotFound and AlreadyExists are what they are."""
    try:
        yield
    except NotADirectory as error:
        raise NotFound(error.message, definite=error.definite) from error
    except (NotFound, AlreadyExists, Corrupted, InvalidRequest, Superseded, NoSpace, TooFewServers) as error:
        if isinstance(error, NoSpace | TooFewServers):
            raise _shortage(error) from error
        raise
    except TabletopError as error:
        raise DiskFailure(error.message, definite=error.definite) from error


@contextmanager
def of_an_open_file() -> Iterator[None]:
    """Errors of a file that is open: if it is not at its path any more, somebody has taken it away."""
    try:
        with in_engine_words():
            yield
    except NotFound as error:
        raise _taken(error) from error
    except DiskFailure as error:
        if isinstance(error.__cause__, Conflict):
            raise _taken(error) from error
        raise


@contextmanager
def of_a_folder() -> Iterator[None]:
    """Errors of making a file: if its folder is not there, somebody has taken it away."""
    try:
        with in_engine_words():
            yield
    except NotFound as error:
        raise _taken(error) from error


def _shortage(error: TabletopError) -> TabletopError:
    return NoSpace(error.message) if error.definite else DiskFailure(error.message)


def _taken(error: TabletopError) -> Superseded:
    return Superseded(f"{error.message}: another owner has taken the file away", definite=error.definite)
