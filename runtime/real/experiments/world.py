"""The world of one node that was started for experiments."""

import time
from collections.abc import Callable
from pathlib import Path

import grpc.aio

from runtime.events import EventLog, Sink
from runtime.faults.table import FaultTable
from runtime.guard import Observer
from runtime.real.disk import RealDisk
from runtime.real.experiments.disk import FaultyDisk
from runtime.real.experiments.network import FaultyNetwork
from runtime.real.experiments.switch import FaultSwitch, ReadRules
from runtime.real.experiments.unsynced import UnsyncedFiles
from runtime.real.network import RealNetwork
from runtime.real.world import RealWorld
from runtime.wire import faults_pb2_grpc
from runtime.world import Disk


class ExperimentalWorld(RealWorld):
    """As `RealWorld`, with faults. `folder` is the node's, with its disk in `data`; `read_rules` reads what is imposed,
    and `name_of` knows the node at an address ("host:port")."""

    def __init__(
        self,
        *,
        node: str,
        folder: Path,
        token: str,
        sink: Sink,
        observer: Observer | None,
        read_rules: ReadRules,
        name_of: Callable[[str], str],
    ) -> None:
        self._table = FaultTable(time.time)
        self._switch = FaultSwitch(self._table, read_rules)
        self._unsynced = UnsyncedFiles(folder)
        self._unsynced.lose()  # The life before was killed, unless it has stopped in good order and left nothing.
        self._name_of = name_of
        super().__init__(node=node, root=folder / "data", token=token, sink=sink, observer=observer)
        self._switch.look()

    def watch_faults(self) -> None:
        """From now on also look by itself for what is imposed: needs a running loop."""
        self.spawn(self._switch.keep_looking(), "look at imposed faults")

    def boot_id(self) -> str:
        """Another one after each loss of what lying syncs had not written, as after a loss of power."""
        losses = self._unsynced.losses()
        return super().boot_id() + (f" loss {losses}" if losses else "")

    async def close(self) -> None:
        """Stop in good order: the kernel writes what was not written."""
        await super().close()
        self._unsynced.forget()

    def _disk_at(self, disk: RealDisk) -> Disk:
        return FaultyDisk(disk, self._table, self._unsynced)

    def _network(self, token: str, events: EventLog, observer: Observer | None) -> RealNetwork:
        return FaultyNetwork(
            token,
            events,
            self.spawn,
            self.random,
            observer,
            node=self.node,
            table=self._table,
            name_of=self._name_of,
            add_services=self._add_switch,
        )

    def _add_switch(self, server: grpc.aio.Server) -> None:
        faults_pb2_grpc.add_FaultSwitchServicer_to_server(self._switch, server)
