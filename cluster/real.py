"""A cluster of real processes on this machine.

The object is a view: all it knows is in the cluster's folder and in the processes themselves, so any command can make
one for a cluster that another command has started, and every answer is about now. What it starts and cannot bring to
serve, it stops again.
"""

import asyncio
import contextlib
import dataclasses
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import grpc.aio

# What nodes record of themselves is read back by kinds, which are known once their modules are imported.
import chunkserver.events  # noqa: F401
import gfs.events  # noqa: F401
import lockservice.events  # noqa: F401
import master.events  # noqa: F401
import tablet.hosting.events
import tablet.master.events  # noqa: F401
from cluster import faults, processes
from cluster.fault_log import BlockFlipped, NodeKilled, NodePaused, NodeResumed, note_fault
from cluster.faultplan import Target, What
from cluster.folder import ClusterFolder, ClusterRecord, NodeConfig, NodeFolder, ReadyRecord
from cluster.interface import (
    DESCRIBE_SECONDS,
    LIVING,
    START_SECONDS,
    STATUS_SECONDS,
    Corruption,
    Imposed,
    NodeReport,
    best_status,
    wait_until,
)
from cluster.leaving import require_drained
from cluster.looking import Recorded, look_at, processes_of
from cluster.processes import ProcessState
from cluster.real_faults import RealFaults
from cluster.roles import CHUNKSERVER_ROLE, LOCK, MASTER, node_settings, role_of
from cluster.settings import ClusterSettings
from cluster.starting import HOST, differences, free_port, reason_of, tables_are_served
from gfs.client import Client
from runtime.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    TabletopError,
    TimedOut,
    Unavailable,
)
from runtime.events import Record, Sink, in_causal_order
from runtime.real.disk import RealDisk
from runtime.real.event_file import EventFile, read_events
from runtime.real.experiments.unsynced import UnsyncedFiles
from runtime.real.world import RealWorld
from runtime.wire import master_pb2, master_pb2_grpc, masters_pb2, masters_pb2_grpc
from tablet.client.client import TableClient
from tablet.client.settings import TableClientSettings

GRACE_SECONDS = 5.0


class RealCluster:
    """The cluster of this name; `owned` makes its nodes stop when the calling process ends, however it ends. What this
    object's own client records goes to `sink`."""

    def __init__(self, name: str, *, home: Path | None = None, owned: bool = False, sink: Sink | None = None) -> None:
        self.folder = ClusterFolder(name, home)
        self.name = name
        self._owner = processes.this_process() if owned else None
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._sink = sink
        self._world: RealWorld | None = None
        self._client: Client | None = None
        self._faults = RealFaults(self)

    @property
    def settings(self) -> ClusterSettings:
        """What the cluster was set up with."""
        return self.folder.require().settings

    def made_with(self) -> ClusterSettings | None:
        """What the cluster was set up with, also if it has lost its cluster.json; None if there is no cluster."""
        record = self.folder.read_record() if self.folder.exists() else self.folder.record_of_nodes()
        return None if record is None else record.settings

    async def start(self, settings: ClusterSettings, *, port: int | None = None) -> tuple[str, ...]:
        """Bring the cluster up; returns when every node that was started serves, and has registered with the master.
        What runs already is left alone. Returns the names of the nodes that were started.

        Raises what `ClusterSettings.check` raises, Conflict for a port in use or settings other than those the cluster
        was made with, and whatever kept a node from starting. On any failure everything that was started is stopped,
        and a cluster that did not exist before leaves no file. A folder that holds nodes is a cluster, also if
        cluster.json is lost: then it is written anew, by what the nodes know.
        """
        settings.check()
        processes.require_descriptors()
        async with self.folder.locked():
            missing = settings.node_names()
            if not self.folder.exists() and self.folder.has_nodes():
                self._refuse_unless_at_rest()
                if (lost := self.folder.record_of_nodes()) is not None:
                    self.folder.write_record(lost)
            if self.folder.exists():
                self._check_same(settings)
                missing = [report.node for report in await self.nodes() if report.state not in LIVING]
            with self._undone_on_failure(missing):
                await self._start_all(settings, missing, port)
        for name in missing:
            self._faults.forget_node(name)
        return tuple(missing)

    async def add_chunkservers(self, count: int) -> list[str]:
        """Make the cluster larger by so many chunkservers and start them; returns their names.

        Raises Unavailable if the cluster is down, and as `start`.
        """
        async with self.folder.locked():
            record = self.folder.require()
            if self.is_down():
                raise Unavailable(self.down_message(), definite=True)
            if not any(processes_of(self.folder.node(name)) for name in record.settings.master_names()):
                self._require_process(MASTER)
            old = record.settings
            settings = dataclasses.replace(old, chunkservers=old.chunkservers + count)
            settings.check()
            added = [name for name in settings.node_names() if name not in old.node_names()]
            try:
                with self._undone_on_failure(added):
                    await self._start_all(settings, added, None)
            except BaseException:
                self.folder.write_record(record)
                raise
        return added

    async def remove_chunkserver(self, node: str) -> None:
        """Stop a chunkserver that is drained and empty, have the master forget it, and remove its folder.

        Raises Conflict (chunks need it yet), NotFound, Unavailable (the master does not answer)."""
        folder = self._node(node)
        if node == MASTER:
            raise Conflict("the master cannot be removed; `tabletop down --purge` removes a whole cluster")
        self.require_master()
        await require_drained(self, node)
        async with self.folder.locked():
            await self._end_in_order(node)
            await self.client().operators.remove_server(node)
            record = self.folder.read_record()
            self.folder.write_record(dataclasses.replace(record, settings=record.settings.without(node)))
            folder.purge()
            self._faults.forget_node(node)

    def is_down(self) -> bool:
        """Whether none of its processes lives."""
        ready = (folder.read_ready() for folder in self.folder.node_folders())
        if any(found and processes.state_of(found.identity) is not ProcessState.GONE for found in ready):
            return False
        return not processes.find_programs(self.folder.path)

    def down_message(self) -> str:
        """What to say to who needs the cluster while it is down."""
        return f"cluster {self.name!r} is down; start it with `tabletop up`"

    def require_master(self) -> None:
        """Raise Unavailable if the master's process is gone: to ask it would be in vain until somebody starts it.

        The processes say so at once; a client that asked would try for half a minute.
        """
        self.folder.require()
        names = self.settings.master_names()
        if any(processes_of(self.folder.node(name)) for name in names):
            return
        if self.is_down():
            raise Unavailable(self.down_message(), definite=True)
        raise Unavailable(
            f"the master of cluster {self.name!r} is not running; start it again with "
            f"`tabletop fault restart {MASTER}`",
            definite=True,
        )

    def disks(self) -> dict[str, int]:
        """On which disk each node keeps its data, by a number that the operating system gives to disks."""
        found = {}
        for folder in self.folder.node_folders():
            with contextlib.suppress(OSError):
                found[folder.name] = folder.data.stat().st_dev
        return found

    async def stop(self, *, purge: bool = False) -> None:
        """Stop every node in good order, killing what does not stop within 5 seconds; with `purge`, remove the folder
        too. A cluster that does not run is fine."""
        await self.close()
        async with self.folder.locked():
            self._end_all()
            self._faults.forget_all()
            if purge:
                self.folder.purge()

    async def close(self) -> None:
        """Let go of the connections of this object, and end no more faults from here; the cluster goes on."""
        await self._faults.close()
        client, self._client = self._client, None
        world, self._world = self._world, None
        if client is not None:
            await client.close()
        if world is not None:
            await world.close()

    # What is.

    async def nodes(self) -> list[NodeReport]:
        """What each node is at this moment, by its process and by what it answers within a second."""
        looked = (look_at(self.folder.node(name), self.client_world) for name in self.settings.node_names())
        return list(await asyncio.gather(*looked))

    async def status(self, *, chunks: bool = False) -> master_pb2.ClusterStatus:
        """What the acting master knows; if none acts, what a shadow knows."""
        addresses = [address for address in self.folder.require().master.split(",") if address]
        if not addresses:
            raise Unavailable(f"the master of cluster {self.name!r} has not served yet", definite=True)
        if self.is_down():
            raise Unavailable(self.down_message(), definite=True)
        request = master_pb2.ClusterStatusRequest(chunks=chunks, may_be_old=len(addresses) > 1)
        asked = [
            master_pb2_grpc.MasterStub(self.client_world.network.channel(address)).GetClusterStatus(
                request, timeout=STATUS_SECONDS
            )
            for address in addresses
        ]
        return best_status(await asyncio.gather(*asked, return_exceptions=True))

    async def who_acts(self) -> str:
        """The node of the master that acts; the only one, if there is one. Raises Unavailable while none does."""
        if self.settings.masters == 1:
            return MASTER
        acting = [name for name, found in (await self.standings()).items() if found is not None and found.acting]
        if not acting:
            raise Unavailable("none of the masters acts at this moment; try again")
        return acting[0]

    async def standings(self) -> dict[str, masters_pb2.MasterStanding | None]:
        """What each of several masters is now, by name; None for one that does not say."""
        record = self.folder.require()

        async def ask(name: str) -> masters_pb2.MasterStanding | None:
            stub = masters_pb2_grpc.MasterReplicaStub(self.client_world.network.channel(record.address_of(name)))
            try:
                return await stub.GetStanding(masters_pb2.StandingRequest(), timeout=DESCRIBE_SECONDS)
            except TabletopError:
                return None

        names = record.settings.master_names() if record.settings.masters > 1 else []
        return dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))

    def table_client(self, settings: TableClientSettings | None = None) -> TableClient:
        """A new client of this cluster's tables. Raises InvalidRequest if it has no tablet servers."""
        record = self.folder.require()
        if not record.settings.tablet_servers:
            raise InvalidRequest(
                f"cluster {self.name!r} has no tablet servers; `tabletop up --tablet-servers 3` makes one that has"
            )
        if self.is_down():
            raise Unavailable(self.down_message(), definite=True)
        return TableClient(self.client_world, record.lock, settings)

    def client(self) -> Client:
        """The file system of this cluster."""
        if self._client is None:
            record = self.folder.require()
            if self.is_down():
                raise Unavailable(self.down_message(), definite=True)
            self._client = Client(self.client_world, record.master)
        return self._client

    @property
    def client_world(self) -> RealWorld:
        """The world of this object's own calls."""
        if self._world is None:
            self._world = RealWorld(node="client", root=self.folder.path, token=self.folder.token(), sink=self._sink)
        return self._world

    # Faults.

    async def kill(self, node: str) -> None:
        """SIGKILL."""
        self.end_process(node)
        note_fault(self.folder.path, NodeKilled(node))

    async def pause(self, node: str) -> None:
        """SIGSTOP."""
        self.freeze_process(node)
        note_fault(self.folder.path, NodePaused(node))

    async def resume(self, node: str) -> None:
        """SIGCONT. No imposed pause holds the node any more."""
        processes.send_signal(self._require_process(node), signal.SIGCONT)
        note_fault(self.folder.path, NodeResumed(node))
        self._faults.forget_node(node, pauses_only=True)

    async def restart(self, node: str) -> None:
        """Start the node's program again, after SIGTERM if it runs. No imposed fault holds it down any more."""
        async with self.folder.locked():
            await self._end_in_order(node)
            await self._start_once_more(node)
        self._faults.forget_node(node)

    async def impose(self, what: What, target: Target, *, seconds: float | None = None) -> Imposed:
        """Have a fault strike now."""
        self.folder.require()
        return await self._faults.impose(what, target, seconds)

    def imposed(self) -> list[Imposed]:
        """The imposed faults that last, oldest first."""
        return self._faults.imposed()

    async def heal(self, number: int | None = None) -> list[Imposed]:
        """End one imposed fault, or all."""
        self.folder.require()
        return await self._faults.heal(number)

    def is_ended_here(self, fault: Imposed) -> bool:
        """Whether a fault with a duration ends only if this object lives on: it holds a process down."""
        return self._faults.is_ended_here(fault)

    async def until_over(self, fault: Imposed) -> None:
        """Return when a fault has ended that this object has imposed for some seconds."""
        await self._faults.until_over(fault)

    def end_process(self, node: str) -> list[str]:
        """SIGKILL; returns when the process is gone, with the files that lost what lying syncs had not written.

        Raises Conflict if there is no process."""
        processes.kill_process(self._require_process(node))
        self._collect(node)
        return UnsyncedFiles(self._node(node).path).lose()

    def plain_channel(self, address: str) -> grpc.aio.Channel:
        """A channel whose unary calls share no stream."""
        return self.client_world.plain_channel(address)

    def freeze_process(self, node: str) -> None:
        """SIGSTOP. Raises Conflict if there is no process."""
        processes.send_signal(self._require_process(node), signal.SIGSTOP)

    def thaw_process(self, node: str) -> None:
        """SIGCONT, if there is a process."""
        for identity in processes_of(self._node(node)):
            processes.send_signal(identity, signal.SIGCONT)

    async def stop_process(self, node: str) -> None:
        """Stop a node in good order, and kill it if that takes too long. Raises Conflict if there is no process."""
        self._require_process(node)
        async with self.folder.locked():
            await self._end_in_order(node)

    async def start_again(self, node: str) -> None:
        """Start a node's program on its disk, unless it runs; returns when it serves."""
        async with self.folder.locked():
            if not processes_of(self._node(node)):
                await self._start_once_more(node)

    async def corrupt(self, path: str, chunk_index: int, block: int, server: str = "") -> Corruption:
        """Flip bits in a file below the server's folder."""
        done = await faults.corrupt(self, self._disk_of, path, chunk_index, block, server)
        event = BlockFlipped(done.server, done.handle, done.block, done.flipped_bytes, done.path)
        note_fault(self.folder.path, event)
        return done

    def events(self, node: str) -> list[Record]:
        """The node's records."""
        return self.event_file(node).records

    def event_file(self, node: str) -> EventFile:
        """The node's records, and how many lines of its files were none."""
        return read_events(self.event_path(node))

    def recorded(self, nodes: Sequence[str]) -> Recorded:
        """What these nodes have recorded of themselves, merged: causes stand before their effects."""
        files = {node: self.event_file(node) for node in nodes}
        return Recorded(
            in_causal_order(record for file in files.values() for record in file.records),
            {node: file.damaged_lines for node, file in files.items() if file.damaged_lines},
        )

    def event_path(self, node: str) -> Path:
        """The file of the node's youngest records."""
        return self._node(node).events

    def _disk_of(self, node: str) -> RealDisk:
        return RealDisk(self._node(node).data)

    # Starting and ending.

    async def _end_in_order(self, node: str) -> None:
        await asyncio.to_thread(processes.end_processes, processes_of(self._node(node)), GRACE_SECONDS)
        self._collect(node)

    async def _start_once_more(self, node: str) -> None:
        if not self._node(node).config.exists():
            raise NotFound(f"node {node!r} of cluster {self.name!r} was never started; use `tabletop up`")
        record = self.folder.read_record()
        await self._start_node(node, record, record.address_of(node) or f"{HOST}:0")

    async def _start_all(self, settings: ClusterSettings, names: list[str], port: int | None) -> None:
        self.folder.draw_token()
        old = self.folder.read_record() if self.folder.exists() else ClusterRecord(self.name, "", settings)
        record = dataclasses.replace(old, settings=settings)
        self.folder.write_record(record)
        if settings.has_lock_service and not record.lock:
            record = dataclasses.replace(record, lock=f"{HOST}:{free_port()}")
            self.folder.write_record(record)
        if LOCK in names:
            await self._start_node(LOCK, record, record.lock)
        if settings.masters > 1:
            await self._start_masters(record, names, port)
        elif MASTER in names:
            await self._start_master(record, port)
        record = self.folder.read_record()
        chunkservers = [name for name in names if role_of(name) == CHUNKSERVER_ROLE]
        await asyncio.gather(*(self._start_node(name, record, f"{HOST}:0") for name in chunkservers))
        if chunkservers:
            await wait_until(
                lambda: self._have_registered(chunkservers),
                what=f"{', '.join(chunkservers)} have registered (their logs: {self.folder.path}/nodes)",
                timeout_seconds=START_SECONDS,
                poll_seconds=0.05,
            )
        above = [name for name in names if name in settings.tablet_node_names()]
        await asyncio.gather(*(self._start_node(name, record, f"{HOST}:0") for name in above))
        if above:
            await self._until(lambda: tables_are_served(self.table_client(), settings), "tables are served")

    async def _start_master(self, record: ClusterRecord, port: int | None) -> None:
        known = f"{HOST}:{port}" if port else record.master
        for attempt in range(5):
            address = known or f"{HOST}:{free_port()}"
            try:
                ready = await self._start_node(MASTER, record, address)
                break
            except Conflict as error:
                if known:
                    raise Conflict(f"{error.message} with `tabletop up --port`") from None
                if attempt == 4:
                    raise
        self.folder.write_record(dataclasses.replace(record, master=ready.control_address))

    async def _start_masters(self, record: ClusterRecord, names: list[str], port: int | None) -> None:
        """Start those of several masters that do not run; the first acts, if none does yet. Returns when one acts, and
        the others are in sync with it."""
        masters = record.settings.master_names()
        if not record.master:
            ports = [port or free_port()]
            while len(ports) < len(masters):
                ports = list(dict.fromkeys((*ports, free_port())))
            addresses = ",".join(f"{HOST}:{number}" for number in ports)
            record = dataclasses.replace(record, master=addresses)
            self.folder.write_record(record)
        for name in masters:
            if name in names:
                await self._start_node(name, record, record.address_of(name))
                await self._until(self._somebody_acts, "one of the masters acts")
        await self._until(self._all_in_sync, "all masters are in sync")

    async def _until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        logs = f"(their logs: {self.folder.path}/nodes)"
        await wait_until(condition, what=f"{what} {logs}", timeout_seconds=START_SECONDS, poll_seconds=0.05)

    async def _somebody_acts(self) -> bool:
        return any(found is not None and found.acting for found in (await self.standings()).values())

    async def _all_in_sync(self) -> bool:
        acting = [found for found in (await self.standings()).values() if found is not None and found.acting]
        return bool(acting) and all(follower.in_sync for follower in acting[0].followers)

    async def _start_node(self, name: str, record: ClusterRecord, address: str) -> ReadyRecord:
        settings = node_settings(
            name,
            record.cluster,
            record.settings,
            address=address,
            master_address=record.master,
            lock_address=record.lock,
        )
        folder = self._node(name)
        experiments = record.settings.experiments
        folder.prepare(NodeConfig(record.cluster, name, role_of(name), settings, self._owner, experiments))
        child = self._children[name] = processes.start_program(folder.config, folder.log, small=record.settings.small)

        async def ready() -> ReadyRecord | None:
            if child.poll() is not None:
                raise reason_of(folder, child.returncode)
            return folder.read_ready()

        found = await wait_until(
            ready, what=f"{name} serves (its log: {folder.log})", timeout_seconds=START_SECONDS, poll_seconds=0.02
        )
        assert found is not None
        return found

    async def _have_registered(self, names: list[str]) -> bool:
        with contextlib.suppress(Unavailable, TimedOut):
            status = await self.status()
            return {server.location.server for server in status.servers if server.alive}.issuperset(names)
        return False

    @contextlib.contextmanager
    def _undone_on_failure(self, names: list[str]) -> Iterator[None]:
        """Nothing is removed that was there before: the folder only if it held no node."""
        had_record, had_nodes = self.folder.exists(), self.folder.has_nodes()
        try:
            yield
        except BaseException:
            with processes.without_interrupts():
                if had_record:
                    self._end_nodes(names)
                else:
                    self._end_all()
                    if had_nodes:
                        self.folder.forget_record()
                    else:
                        self.folder.purge()
            raise

    def _end_nodes(self, names: list[str]) -> None:
        found = [identity for name in names for identity in processes_of(self.folder.node(name))]
        processes.end_processes(found, GRACE_SECONDS)
        for name in names:
            self._collect(name)

    def _end_all(self) -> None:
        with processes.without_interrupts():
            # A tablet server gives its lock back, for which it needs the lock service.
            above = [self.folder.node(name) for name in self._tablet_nodes()]
            processes.end_processes([found for node in above for found in processes_of(node)], GRACE_SECONDS)
            found = {identity.process_id: identity for identity in processes.find_programs(self.folder.path)}
            for folder in self.folder.node_folders():
                for identity in processes_of(folder):
                    found.setdefault(identity.process_id, identity)
            processes.end_processes(found.values(), GRACE_SECONDS)
            for name in list(self._children):
                self._collect(name)

    def _tablet_nodes(self) -> list[str]:
        made_with = self.made_with()
        return [] if made_with is None else made_with.tablet_node_names()

    def _collect(self, node: str) -> None:
        child = self._children.pop(node, None)
        if child is not None:
            child.wait()

    def _refuse_unless_at_rest(self) -> None:
        """Raise Conflict if nodes run of which no cluster.json tells."""
        found = processes.find_programs(self.folder.path)
        if found:
            numbers = " ".join(str(identity.process_id) for identity in found)
            raise Conflict(
                f"{self.folder.path} has lost its cluster.json, and nodes of it run; end them with `kill {numbers}`, "
                "then start the cluster again"
            )

    def _check_same(self, settings: ClusterSettings) -> None:
        made_with = self.folder.read_record().settings
        if made_with.experiments != settings.experiments:
            if not self.is_down():
                word = "with" if made_with.experiments else "without"
                raise Conflict(f"cluster {self.name!r} runs {word} --experiments; stop it first with `tabletop down`")
            made_with = dataclasses.replace(made_with, experiments=settings.experiments)
        if made_with != settings:
            raise Conflict(
                f"cluster {self.name!r} was made with other settings: {differences(made_with, settings)}; start it "
                f"without options, or remove it first with `tabletop down --cluster {self.name} --purge`"
            )

    # Processes.

    def _require_process(self, node: str) -> processes.ProcessIdentity:
        found = processes_of(self._node(node))
        if not found and self.is_down():
            raise Unavailable(self.down_message(), definite=True)
        if not found:
            raise Conflict(
                f"{node} of cluster {self.name!r} is not running; `tabletop fault restart {node}` starts it again"
            )
        return found[0]

    def _node(self, name: str) -> NodeFolder:
        known = self.settings.node_names()
        if name not in known:
            raise NotFound(f"no node {name!r} in cluster {self.name!r}; there are: {', '.join(known)}")
        return self.folder.node(name)
