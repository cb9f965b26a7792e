"""Planted bugs of tables: see `cluster/swarm/bugs.py`."""

from typing import Any

from cluster.swarm.bug_tools import Bug, Planted, noted_in, nothing, replaced, together
from cluster.swarm.tables.planted import PLANTED
from gfs.client import Client
from tablet.client.metadata import MetadataRows
from tablet.hosting import life as hosting_life
from tablet.hosting.life import Life
from tablet.hosting.server import TabletServerNode
from tablet.master.servers import Servers
from tablet.storage.folders import GfsStorage

BUGS: dict[str, Bug] = dict(PLANTED)
bug = noted_in(BUGS)


@bug
def tablet_served_after_its_lock_is_lost() -> Planted:
    """Without looking at the session before each answer, and without an end as soon as it is over, a server that was
    paused or cut off answers reads of tablets that others have by now (BT 5.2)."""

    def always(self: Life, *, definite: bool = True) -> None:
        """Nobody looks."""

    async def late(self: TabletServerNode, life: Life) -> None:
        await life.session.expired.wait()
        await life.world.clock.sleep(5.0)
        await life.end("its session is long over")

    return together(replaced(Life, "require_safe", always), replaced(TabletServerNode, "_until_over", late))


@bug
def log_read_while_its_writer_may_write() -> Planted:
    """Without moving the files of a dead server's log before it is read, the server may only have been paused, and have
    writes acknowledged that nobody reads (BT 6; GFS 3.1)."""

    async def as_it_is(client: Client, name: str, *, logs: str, closing: str, closed: str) -> GfsStorage:
        return GfsStorage(client, f"{logs}/{name}")

    return replaced(hosting_life, "close_log", as_it_is)


@bug
def log_of_the_dead_not_read() -> Planted:
    """Without reading the log of a tablet's former server, everything that it had in memory only is lost (BT 5.3)."""

    async def none(self: Life, lives: Any) -> list[Any]:
        return []

    return replaced(Life, "_sorted_logs", none)


@bug
def silent_server_given_up_without_its_lock() -> Planted:
    """Without taking its lock first, a server that only did not answer the master loses its tablets while it serves
    them (BT 5.2)."""
    look = Servers.look

    async def impatient(self: Servers) -> list[str]:
        gone = await look(self)
        silent = [name for name, server in self.alive.items() if server.has_answered and not server.answers]
        for name in silent:
            del self.alive[name]
        return [*gone, *silent]

    return replaced(Servers, "look", impatient)


@bug
def split_left_half_done() -> Planted:
    """Without writing the METADATA row of the lower half, a split leaves two tablets in one row for ever (BT 5.2)."""
    return replaced(MetadataRows, "settle", nothing)
