"""Removing what the dead have left of their logs, when no tablet needs anything of it any more (BT 6).

The problem. A master may be paused in the middle of this, and be replaced. Meanwhile a server may begin, be given a
tablet, and die; the old master knows nothing of that tablet, finds the log among those of the dead, and removes what
nobody has read yet.

The idea. It is looked first whose logs there are, and only then read in METADATA which of them are needed. A server
that was dead before METADATA was read is given nothing any more. So what was true once stays true, however late it is
acted upon, and by whomever.

A server takes its lock before it makes the folder of its log: whoever can take the lock of a log's owner knows that its
life is over. That also finds the logs of lives that never came to serve, and of those that an earlier master has
buried.
"""

from collections.abc import Callable, Collection
from contextlib import suppress

from gfs.client import Client
from runtime.errors import NotFound
from runtime.world import World
from tablet.location.places import GfsPaths
from tablet.master.events import LogsOfTheDeadRemoved
from tablet.master.servers import Servers
from tablet.storage.folders import names_in

_SECONDS = 2.0


class OldLogs:
    """What one tenure knows of them. `forget`: called with each life whose sorted log is gone."""

    def __init__(
        self, world: World, client: Client, paths: GfsPaths, servers: Servers, forget: Callable[[str], None]
    ) -> None:
        self._world = world
        self._client = client
        self._paths = paths
        self._servers = servers
        self._forget = forget
        self._due = 0.0

    async def of_the_dead(self) -> list[str]:
        """The lives that are over and have left something, from time to time; to be asked before METADATA is read.
        Raises what the calls raise."""
        if self._world.clock.now() < self._due:
            return []
        self._due = self._world.clock.now() + _SECONDS
        paths, found = self._paths, dict[str, None]()
        for folder in (paths.closing, paths.closed, paths.sorted):
            found.update(dict.fromkeys(await self._names(folder)))
        found.update(dict.fromkeys(map(sorted_life, await self._names(paths.sorting))))
        for life in await self._names(paths.logs):
            if life not in self._servers.alive and (life in self._servers.over or await self._servers.bury(life)):
                found[life] = None
        return [life for life in found if life not in self._servers.alive]

    async def remove(self, dead: Collection[str], needed: Collection[str]) -> None:
        """Remove everything of those that METADATA, which was read afterwards, does not name."""
        for life in dead:
            if life in needed:
                continue
            self._forget(life)
            self._servers.over.discard(life)
            paths = self._paths
            for folder in (paths.logs, paths.closing, paths.closed, paths.sorted):
                await self._remove(f"{folder}/{life}")
            for name in await self._names(paths.sorting):
                if sorted_life(name) == life:
                    await self._remove(f"{paths.sorting}/{name}")
            self._world.events.emit(LogsOfTheDeadRemoved(life))

    async def _names(self, folder: str) -> list[str]:
        with suppress(NotFound):
            return await names_in(self._client, folder)
        return []

    async def _remove(self, path: str) -> None:
        with suppress(NotFound):
            await self._client.delete(path, recursive=True, immediately=True)


def sorted_life(name: str) -> str:
    """The life whose log is sorted in a folder of this name: `ts1-17` in `ts1-17.ts2-3.0badcafe`."""
    return name.rsplit(".", 2)[0]
