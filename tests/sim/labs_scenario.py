"""A scenario that tells sound servers from the five broken ones of the drill `tell-apart`: a good student's."""

import asyncio
import contextlib

from cluster.scenarios import check, scenario
from runtime.errors import TabletopError


@scenario(chunkservers=4)
async def tells_them_apart(cluster, seed):
    """Open files, snapshots and records are what they were promised to be."""
    client = cluster.client()
    await files_are_not_confused(client)
    await snapshots_stay(client)
    await records_are_kept(client)


async def files_are_not_confused(client):
    await client.write_file("/a", b"a" * 1000)
    file = await client.open("/a", "r+b")
    await client.rename("/a", "/b")
    await client.write_file("/a", b"other" * 200)
    with contextlib.suppress(TabletopError):  # It may be refused: the file has another name now.
        await file.pwrite(0, b"mine")
        await file.close()
    check(await client.read_file("/a") == b"other" * 200, "a file that got the name is left alone")


async def snapshots_stay(client):
    await client.write_file("/s", b"s" * 1000)
    file = await client.open("/s", "r+b")
    await file.pwrite(0, b"before")
    before = await client.read_file("/s")
    await client.snapshot("/s", "/copy")
    await file.pwrite(0, b"after!")
    await file.close()
    check(await client.read_file("/copy") == before, "a snapshot stays while an open file is written to")
    await client.snapshot("/copy", "/second")
    await client.delete("/copy", immediately=True)
    await asyncio.sleep(90)
    check(await client.read_file("/second") == before, "a snapshot stays when its source is deleted")


async def records_are_kept(client):
    await client.create("/log")
    payloads = [b"record %d" % number for number in range(30)]
    await asyncio.gather(*(client.record_append("/log", payload) for payload in payloads))
    found = await client.read_file("/log")
    missing = [payload for payload in payloads if payload not in found]
    check(not missing, "every acknowledged record is in the file")
