"""Burying a tablet server whose lock was lost, when the lock service does not answer in the middle of it (BT 5.2)."""

import pytest

from cluster.interface import wait_until
from lockservice.client.session import OwnSession
from runtime.errors import TimedOut
from tablet.engine.model.operations import SetCell
from tablet.location.places import SERVERS_PATH
from tests.sim.small_tables import SCHEMA, TableCluster, play

ROWS = [b"row%02d" % number for number in range(10)]


def test_a_burial_that_was_cut_short_is_brought_to_its_end_in_the_next_round(monkeypatch: pytest.MonkeyPatch):
    """The master has taken the lock of the dead server, and the lock service does not answer when its file is to be
    deleted. The lock is not free then, and it is the master's own: a server that seemed to hold it would keep its
    tablets, and nobody would ever serve them again."""
    delete, refused = OwnSession.delete, list[str]()

    async def delete_at_the_second_try(session: OwnSession, path: str, *, generation: int | None = None) -> None:
        if path.startswith(SERVERS_PATH) and not refused:
            refused.append(path)
            raise TimedOut("the lock service gave no answer in time")
        await delete(session, path, generation=generation)

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
        [place] = await tables.tablets("users")
        [node] = cluster.who_serves(place.tablet)
        monkeypatch.setattr(OwnSession, "delete", delete_at_the_second_try)
        await cluster.kill(node)

        async def is_served() -> bool:
            return bool(cluster.who_serves(place.tablet))

        await wait_until(is_served, what="the tablet is served again", timeout_seconds=60.0)
        assert refused == [f"{SERVERS_PATH}/{place.server}"]
        assert [key async for key, _ in tables.scan("users")] == ROWS

    play(1, story)
