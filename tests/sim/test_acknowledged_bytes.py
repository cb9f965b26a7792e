"""Acknowledged bytes are kept, byte by byte, in the cases that were once lost (GFS 3.1, 4.5, 5.2).

Each story has one fault, or two that meet, and leaves no chance to them: it waits for the one moment in which the
fault matters. The swarm (test_swarm.py) looks for moments that nobody has thought of.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chunkserver.events import WriteResolved
from chunkserver.storage.chunk_files import metadata_path
from runtime.errors import Conflict, NoSpace
from runtime.faults.disk import FullDisk, OpenError, Operation, ShortWrites, SlowDisk
from runtime.faults.links import Kind
from runtime.faults.undo import Undo
from runtime.simulated.messages import BULK_METHOD, DROP, Delay, Drop, Message
from tests.sim.small_clusters import BLOCK, SmallCluster, outcome, play, wait

DURABLE_SECONDS = 12.0  # after which the background sync has seen every chunk

Mishap = Callable[[SmallCluster, list[str]], Awaitable[Undo]]


# Overwrites that stop in the middle


async def _lose_all_power_in_an_overwrite(cluster: SmallCluster, path: str, offset: int, data: bytes) -> None:
    """Take the power in the moment in which every replica has written the data, and none has synced it."""
    are_all_syncing, syncing = asyncio.Event(), set()
    for node in cluster.chunkservers():
        cluster.disk(node).impose(SlowDisk(seconds_per_sync=0.05))

        def hook(operation: Operation, node: str = node) -> None:
            if operation.verb == "sync" and operation.path.endswith(".data"):
                syncing.add(node)
                if len(syncing) == cluster.settings.replicas:
                    are_all_syncing.set()

        cluster.disk(node).on_operation(hook)
    file = await cluster.client().open(path, "r+b")
    writing = asyncio.create_task(outcome(file.pwrite(offset, data)))
    await are_all_syncing.wait()
    await cluster.power_cut_all()
    writing.cancel()
    await wait(1)
    for node in cluster.settings.node_names():
        await cluster.start_node(node)


@pytest.mark.parametrize("seed", range(5))
def test_with_fsync_an_overwrite_that_all_power_interrupts_hurts_only_the_bytes_that_it_writes(seed: int):
    old, begin, new = bytes([1]) * BLOCK, 1000, bytes([2]) * 5000

    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", old)
        await wait(2 * DURABLE_SECONDS)
        await _lose_all_power_in_an_overwrite(cluster, "/a", begin, new)
        await wait(30)
        records = [one.event for one in cluster.simulation.sink.records if isinstance(one.event, WriteResolved)]
        assert any("1 torn" in one.verdict for one in records), "no replica was torn: the test proves nothing"
        found = await cluster.found("/a")
        assert isinstance(found, bytes), found
        assert found[:begin] == old[:begin] and found[begin + len(new) :] == old[begin + len(new) :]
        assert len((await cluster.client().locations("/a"))[0].replicas) == 3
        async with await cluster.client(2).open("/a", "r+b") as file:
            await file.pwrite(begin, new)
        assert await cluster.found("/a") == old[:begin] + new + old[begin + len(new) :]

    play(seed, story, durability="fsync")


async def _fill_the_disk_in_an_overwrite(cluster: SmallCluster, node: str, room: int) -> Undo:
    """Fill a disk but for `room` bytes, after the server has looked for space and before it writes the data."""
    disk = cluster.disk(node)
    undos = [disk.impose(ShortWrites())]
    taken = (await disk.usage()).free_bytes - room if room else None

    def hook(operation: Operation) -> None:
        if len(undos) == 2 and operation.verb == "write" and operation.path.endswith(".data"):
            undos.append(disk.impose(FullDisk(taken)))

    undos.append(disk.on_operation(hook))

    def undo() -> None:
        for one in undos:
            one()

    return undo


@pytest.mark.parametrize("room", [0, 1000])
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_disk_that_fills_up_in_the_middle_of_an_overwrite_that_extends_changes_nothing(replicas: int, room: int):
    old, begin, new = bytes([1]) * 100_000, 50_000, bytes([2]) * 100_000

    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", old)
        await wait(DURABLE_SECONDS)
        file = await cluster.client().open("/a", "r+b")
        undos = [await _fill_the_disk_in_an_overwrite(cluster, node, room) for node in cluster.chunkservers()]
        error = await outcome(file.pwrite(begin, new))
        for undo in undos:
            undo()
        assert isinstance(error, NoSpace) and error.definite
        await wait(60)
        assert await cluster.found("/a") == old
        async with await cluster.client().open("/a", "r+b") as again:
            await again.pwrite(begin, new)
        assert await cluster.found("/a") == old[:begin] + new

    play(room, story, chunkservers=replicas, replicas=replicas, lease_seconds=60.0)


# Replicas that answer what they should not


@pytest.mark.parametrize("seed", range(5))
def test_a_reader_of_a_replica_that_was_left_out_is_never_given_zeros_that_nobody_wrote(seed: int):
    chunk_bytes, head = 2 * BLOCK, bytes([7]) * 1000
    body = bytes([9]) * (2 * chunk_bytes - len(head))

    async def story(cluster: SmallCluster) -> None:
        writer, reader = cluster.client(1), cluster.client(2)
        asked: list[str] = []

        def hook(message: Message) -> None:
            if message.method == BULK_METHOD and message.source == "client2":
                asked.append(message.target)

        await writer.write_file("/a", head)
        file = await reader.open("/a", "rb")
        end_of_watch = cluster.simulation.on_message(hook)
        assert await file.pread(0, len(head)) == head
        end_of_watch()
        # The replica that the reader asks can be reached by nobody else from now on.
        others = [name for name in cluster.settings.node_names() if name != asked[0]]
        undo = cluster.simulation.partition([asked[0]], [*others, "client1"])
        async with await writer.open("/a", "r+b") as appended:
            await appended.pwrite(len(head), body)
        found = await file.pread(0, 2 * chunk_bytes)
        undo()
        assert (head + body).startswith(found)

    play(seed, story, chunkservers=4, chunk_bytes=chunk_bytes)


@pytest.mark.parametrize("seed", range(5))
def test_a_primary_that_has_lost_power_does_not_say_how_long_the_chunk_is(seed: int):
    addresses = {
        name: {"control_address": f"{name}:8000", "bulk_address": f"{name}:8001"} for name in ("cs1", "cs2", "cs3")
    }
    durable, last = b"o" * 1000, b"n" * 9000

    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client().open("/a", "xb")
        await file.write(durable)
        await file.flush()
        await wait(8)
        await file.write(last)
        await file.flush()
        primary = cluster.primary("/a")
        cluster.simulation.power_cut(primary)

        def hook(message: Message) -> Delay | None:
            is_registration = message.method.endswith("/Register") and message.kind is Kind.REQUEST
            return Delay(4.0) if is_registration and message.source == primary else None

        undo = cluster.simulation.on_message(hook)
        await cluster.start_node(primary)
        # The master asks the primary of the lease, at an address that has not changed, for its last word.
        await cluster.client(2).rename("/a", "/b")
        status = await cluster.client(2).stat("/b")
        assert status.length == len(durable + last)
        async with await cluster.client(2).open("/b", "ab") as appended:
            await appended.write(b"x" * 100)
        undo()
        await wait(30)
        assert await cluster.found("/b") == durable + last + b"x" * 100

    play(seed, story, loses_all=True, overrides=addresses)


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("seed", range(2))
def test_a_replica_that_cannot_be_read_for_a_moment_at_the_start_is_not_given_up(seed: int, replicas: int):
    durable, last = b"old" * 1000, b"acknowledged" * 1000

    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", durable)
        await wait(DURABLE_SECONDS)
        async with await cluster.client().open("/a", "ab") as file:
            await file.write(last)
        path = metadata_path(await cluster.handle("/a"))
        loser, *keepers = cluster.holders("/a")
        for keeper in keepers:
            await cluster.kill(keeper)  # Its page cache has everything.
        await cluster.power_cut(loser)
        await wait(8)
        undos = [cluster.disk(keeper).impose(OpenError(path=path)) for keeper in keepers]
        for keeper in keepers:
            await cluster.start_node(keeper)
        await cluster.start_node(loser)
        await wait(5)
        [chunk] = (await cluster.status(chunks=True)).chunks
        assert {one.server: one.state for one in chunk.others} == {loser: "unsure"} | dict.fromkeys(
            keepers, "unreadable"
        )
        for undo in undos:
            undo()
        await wait(30)  # They try again by themselves.
        assert await cluster.found("/a") == durable + last
        for keeper in keepers:
            await cluster.restart(keeper)
        await wait(40)
        assert await cluster.found("/a") == durable + last

    play(seed, story, chunkservers=replicas, replicas=replicas)


# What a person orders


async def _damage_last_block(cluster: SmallCluster, servers: list[str]) -> Undo:
    """The last block is damaged everywhere, so that nobody can mend it; the one before is whole."""
    for server in servers:
        await cluster.corrupt("/a", 0, 1, server)
    await cluster.found("/a")  # So the damage is noticed.
    return lambda: None


async def _take_power(cluster: SmallCluster, servers: list[str]) -> Undo:
    """Both have lost power, are back, and were not compared yet."""
    for server in servers:
        await cluster.power_cut(server)

    def hook(message: Message) -> Drop | None:
        return DROP if message.method.endswith("/AdvanceChunks") and message.target in servers else None

    undo = cluster.simulation.on_message(hook)
    for server in servers:
        await cluster.start_node(server)
    await wait(1)
    return undo


STATE_AFTER: dict[Mishap, str] = {_damage_last_block: "corrupt", _take_power: "unsure"}


@pytest.mark.parametrize("mishap", [_damage_last_block, _take_power])
@pytest.mark.parametrize("seed", range(2))
def test_a_stale_replica_is_not_admitted_without_force_beside_better_ones(seed: int, mishap: Mishap):
    durable, missed = b"o" * 1000, b"n" * 70_000

    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", durable)
        handle = await cluster.handle("/a")
        stale, *better = cluster.holders("/a")
        await cluster.kill(stale)
        file = await cluster.client().open("/a", "r+b")
        await file.pwrite(len(durable), missed)
        await wait(2 * DURABLE_SECONDS)
        undo = await mishap(cluster, better)
        await cluster.start_node(stale)
        await wait(3)
        [chunk] = (await cluster.status(chunks=True)).chunks
        states = {one.server: one.state for one in chunk.others}
        assert states == {stale: "stale"} | dict.fromkeys(better, STATE_AFTER[mishap])
        error = await outcome(cluster.client(2).admit_replica(handle, stale, force=False))
        assert isinstance(error, Conflict) and all(server in error.message for server in better)
        undo()
        await wait(60)
        async with await cluster.client(2).open("/a", "rb") as again:
            assert await again.pread(0, BLOCK) == (durable + missed)[:BLOCK], "far more than the stale one has"
        if mishap is _take_power:
            assert await cluster.found("/a") == durable + missed

    play(seed, story)
