"""A message that arrives twice, the second time late, changes nothing that was decided meanwhile (GFS leaves it open).

The network doubles a request, and one copy is late by seconds. What it asks for has been done, or has been refused, and
others have written since.
"""

from collections.abc import Awaitable, Callable

import pytest

from chunkserver.mutation import mutations
from gfs.client import Client
from runtime.errors import NoSpace, TabletopError
from runtime.faults.disk import FullDisk
from runtime.faults.links import Kind, LinkFaults
from runtime.simulated.messages import Double, Message
from tests.sim.small_clusters import SmallCluster, outcome, play, wait

OLD = b"o" * 1000
LATE_SECONDS = 15.0


@pytest.mark.parametrize("others", [3, 300])
@pytest.mark.parametrize("seed", range(2))
def test_a_write_that_was_acknowledged_is_not_applied_again_over_later_ones(seed: int, others: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        first, second = [await cluster.client(number).open("/a", "r+b") for number in (1, 2)]
        cluster.delay_each_second("/Write", "client1", LATE_SECONDS)
        end_of_doubling = cluster.simulation.impose(LinkFaults(duplication=1.0), "client1", cluster.primary("/a"))
        await first.pwrite(0, b"1" * 500)
        end_of_doubling()
        await second.pwrite(0, b"2" * 500)
        for number in range(others):
            await second.pwrite(500, bytes([number % 250]) * 500)
        await wait(2 * LATE_SECONDS)
        expected = b"2" * 500 + bytes([(others - 1) % 250]) * 500
        assert await cluster.found("/a", client=3) == expected

    play(seed, story, clients=3, lease_seconds=60.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_write_that_was_refused_is_not_applied_afterwards(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        first, second = [await cluster.client(number).open("/a", "r+b") for number in (1, 2)]
        primary = cluster.primary("/a")
        end_of_fullness = cluster.disk(primary).impose(FullDisk())
        cluster.delay_each_second("/Write", "client1", LATE_SECONDS)
        end_of_doubling = cluster.simulation.impose(LinkFaults(duplication=1.0), "client1", primary)
        error = await outcome(first.pwrite(len(OLD), b"n" * 500))
        end_of_doubling()
        end_of_fullness()
        assert isinstance(error, NoSpace) and error.definite
        assert await cluster.found("/a") == OLD
        await second.pwrite(len(OLD), b"z" * 500)
        await wait(2 * LATE_SECONDS)
        assert await cluster.found("/a", client=3) == OLD + b"z" * 500

    play(seed, story, clients=3, lease_seconds=60.0)


async def _delete(client: Client) -> None:
    await client.delete("/a")


async def _rename(client: Client) -> None:
    await client.rename("/a", "/b")


@pytest.mark.parametrize("change", [_delete, _rename])
@pytest.mark.parametrize("seed", range(2))
def test_a_change_that_the_master_puts_off_is_not_called_definitely_undone(
    seed: int, change: Callable[[Client], Awaitable[None]]
):
    """The copy of the last try that is late may yet be carried out."""

    async def story(cluster: SmallCluster) -> TabletopError | None:
        file = await cluster.client().open("/a", "xb")
        await file.write(OLD)
        await file.flush()
        end_of_partition = cluster.simulation.partition(["master"], cluster.chunkservers())
        cluster.simulation.impose(LinkFaults(duplication=1.0), "client2", "master")
        for method in ("/Delete", "/Rename"):
            cluster.delay_each_second(method, "client2", 40.0)
        error = await outcome(change(cluster.client(2)))
        end_of_partition()
        await wait(60)
        assert error is not None
        assert not error.definite
        assert not await cluster.client(3).exists("/a"), "no copy was late: the test proves nothing"
        return error

    play(seed, story, clients=3, lease_seconds=60.0)


@pytest.mark.parametrize("seed", range(2))
def test_a_mutation_is_not_applied_again_by_a_server_that_has_turned_to_many_other_chunks(
    seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mutations, "_MOST_QUEUES", 1)

    def double(message: Message) -> Double | None:
        is_order = message.method.endswith("/Apply") and message.kind is Kind.REQUEST
        return Double(LATE_SECONDS) if is_order else None

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        file = await cluster.client(1).open("/a", "r+b")
        end_of_doubling = cluster.simulation.on_message(double)
        await file.pwrite(0, b"1" * 500)
        end_of_doubling()
        await file.pwrite(0, b"2" * 500)
        for number in range(6):
            await cluster.client(1).write_file(f"/b{number}", OLD)
        await wait(2 * LATE_SECONDS)
        found = await cluster.client(1).verify_chunk(await cluster.handle("/a"))
        assert len(found) == 3 and len({replica.digest for replica in found}) == 1
        assert await cluster.found("/a") == b"2" * 500 + OLD[500:]

    play(seed, story, lease_seconds=60.0)
