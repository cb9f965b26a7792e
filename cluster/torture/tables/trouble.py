"""The faults of a torture run on tables: those of the file system below, and those of the nodes above it.

Tablet servers may all be out at once: nothing is on their disks, and what they acknowledged is in GFS.
"""

from collections.abc import Sequence

from cluster.faultplan import BadLink, Group, Isolate, Node, Partition
from cluster.real import RealCluster
from cluster.roles import LOCK
from cluster.torture.history import History
from cluster.torture.trouble import Files, Trouble


class TableTrouble(Trouble):
    """All faults of one run on tables, drawn from a seed."""

    def __init__(self, cluster: RealCluster, files: Files, seed: str, history: History) -> None:
        super().__init__(cluster, files, seed, history)
        names = cluster.settings.tablet_node_names()
        self._tablet_masters = [name for name in names if name.startswith("tm")]
        self._tablet_servers = [name for name in names if name.startswith("ts")]
        self.episodes += [
            (40, self._kill_a_tablet_server),
            (25, self._pause_a_tablet_server),
            (10, self._restart_a_tablet_server),
            (10, self._isolate_a_tablet_server),
            (10, self._deafen_a_tablet_server),
            (10, self._part_a_tablet_server_from_the_lock_service),
            (10, self._part_a_tablet_server_from_the_file_system),
            (12, self._delay_a_tablet_server),
            (12, self._kill_a_tablet_master),
            (8, self._pause_a_tablet_master),
            (5, self._isolate_a_tablet_master),
            (2, self._kill_all_tablet_servers),
        ]

    async def _kill_a_tablet_server(self) -> None:
        await self.out_for_a_while(self._one_of(self._tablet_servers), "kill", self.cluster.kill, self.restart)

    async def _pause_a_tablet_server(self) -> None:
        await self.out_for_a_while(self._one_of(self._tablet_servers), "pause", self.cluster.pause, self.cluster.resume)

    async def _restart_a_tablet_server(self) -> None:
        await self.restarted(self._one_of(self._tablet_servers))

    async def _isolate_a_tablet_server(self) -> None:
        await self.broken_for_a_while(self._one_of(self._tablet_servers), "isolate", Isolate())

    async def _deafen_a_tablet_server(self) -> None:
        what = Isolate(speaks=True) if self.random.random() < 0.5 else Isolate(hears=True)
        await self.broken_for_a_while(self._one_of(self._tablet_servers), "one-way isolate", what)

    async def _part_a_tablet_server_from_the_lock_service(self) -> None:
        await self.broken_for_a_while(self._one_of(self._tablet_servers), "partition", Partition(Node(LOCK)))

    async def _part_a_tablet_server_from_the_file_system(self) -> None:
        others = Group(tuple(Node(name) for name in self.chunkservers))
        await self.broken_for_a_while(self._one_of(self._tablet_servers), "partition", Partition(others))

    async def _delay_a_tablet_server(self) -> None:
        await self.broken_for_a_while(self._one_of(self._tablet_servers), "delay", BadLink(self.bad_link()))

    async def _kill_a_tablet_master(self) -> None:
        await self.out_for_a_while(self._one_of(self._tablet_masters), "kill", self.cluster.kill, self.restart)

    async def _pause_a_tablet_master(self) -> None:
        await self.out_for_a_while(self._one_of(self._tablet_masters), "pause", self.cluster.pause, self.cluster.resume)

    async def _isolate_a_tablet_master(self) -> None:
        await self.broken_for_a_while(self._one_of(self._tablet_masters), "isolate", Isolate())

    async def _kill_all_tablet_servers(self) -> None:
        await self.kill_together(self._tablet_servers)

    def _one_of(self, names: Sequence[str]) -> str:
        """One that works now; empty if the one that is drawn does not."""
        choice = self.random.choice(names)
        return "" if choice in self.out else choice
