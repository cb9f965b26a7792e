"""Taking a log out of the hands of its writer, who may only have been paused (BT 6; GFS 3.1).

    LOGS/ts1-7/…       the folder in which the server writes its log
    CLOSING/ts1-7/…    moved here in one step: nobody makes a file or gets a lease under the old path any more
    CLOSED/ts1-7/…     each file was moved here by itself: the leases on its chunks have ended, and no write that is
                       under way can be acknowledged

A write that GFS has acknowledged before a file was moved is read by whoever opens it afterwards. One that was under way
is either on all replicas then, or was never acknowledged.

Every step can be done again, by another process too: what is not there any more has been moved already.
"""

from contextlib import suppress

from gfs.client import Client
from runtime.errors import AlreadyExists, NotFound
from tablet.storage.errors import in_engine_words
from tablet.storage.folders import GfsStorage, names_in


async def close_log(client: Client, name: str, *, logs: str, closing: str, closed: str) -> GfsStorage | None:
    """Move the log in the folder `logs`/`name` to `closed`/`name`; returns it when nobody can write to it any more,
    None if there is none. Raises DiskFailure; then it is to be called again."""
    with in_engine_words():
        await client.make_directory(closing, parents=True)
        with suppress(NotFound, AlreadyExists):
            await client.rename(f"{logs}/{name}", f"{closing}/{name}")
        left: list[str] = []
        with suppress(NotFound):
            left = await names_in(client, f"{closing}/{name}")
            await client.make_directory(f"{closed}/{name}", parents=True)
        for file_name in left:
            with suppress(NotFound):  # Another one who closes it was quicker.
                await client.rename(f"{closing}/{name}/{file_name}", f"{closed}/{name}/{file_name}")
        with suppress(NotFound):
            await client.delete(f"{closing}/{name}", immediately=True)
        is_there = await client.exists(f"{closed}/{name}")
    return GfsStorage(client, f"{closed}/{name}") if is_there else None
