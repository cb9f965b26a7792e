"""Numbers of tablets: a counter in a file of the lock service, so that no name is ever given twice."""

from contextlib import suppress

from lockservice.interface import Session
from runtime.errors import Conflict
from tablet.location.places import NUMBER_PATH


async def new_numbers(session: Session, count: int) -> int:
    """The first of so many numbers that no tablet has had; the counter is raised before any of them is used. Raises
    Unavailable, TimedOut, Superseded, NotFound while there are no tables."""
    while True:
        contents, stat = await session.read(NUMBER_PATH)
        first = int(contents)
        with suppress(Conflict):
            await session.write(NUMBER_PATH, str(first + count).encode(), generation=stat.generation)
            return first
