"""A cluster's folder: everything that a cluster of real processes keeps, in one place.

    <home>/<cluster>/
        cluster.json            what the cluster is, and where its master is reached
        token                   the cluster's secret, readable by its owner alone
        faults.jsonl            what people did to it on purpose (fault_log.py)
        imposed.json            the faults that last (imposed_file.py)
        nodes/<name>/
            config.json         what the node's program is told
            ready.json          written by the program once it serves, removed when it ends in good order
            failure.json        there until the program serves; when it refuses to go on, it writes the reason into it
            events.jsonl        its events, one JSON object a line, and older ones in events.jsonl.1 and so on
            log                 what the program prints, which is nothing while all goes well
            spare               space for the files above, given up piece by piece when a start finds the disk full
            data/               the node's disk
            unsynced/           what a lying sync has not written, in experiments (runtime/real/experiments/unsynced.py)

`gfs.names.locate` knows where <home> is, and what clients need from `cluster.json` and `token`; the rest is known here.
Every file is replaced as a whole (written beside, then renamed), so that nobody ever reads half of one. The exception
is failure.json on a full disk: it is written before each start, with room for a reason, so that the reason has a place.

Two commands that work on one cluster at the same time would trip over each other: `locked` holds the folder itself.
A folder may be purged while somebody waits for it, so whoever gets the lock looks whether the name still leads to
the folder that was locked.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.processes import ProcessIdentity
from cluster.roles import CHUNKSERVER_ROLE, LOCK, MASTER, role_of
from cluster.settings import ClusterSettings, check_cluster_name
from cluster.topology import topology_of
from gfs.names import locate
from master.balance.placement_policies import PAPER
from master.balance.racks import Place
from runtime.errors import Conflict, IncompatibleFormat, NoSpace, NotFound
from runtime.real.disk import translated

LOCK_PATIENCE_SECONDS = 60.0
FAILURE_BYTES = 2048
"""Room for a reason in failure.json, taken before each start."""
SPARE_BYTES = 4 * 16 * 1024
SPARE_PIECE_BYTES = 16 * 1024


class UnknownCluster(NotFound):
    """There is no cluster of this name here."""


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """What cluster.json says. `master` is "host:port", of several masters all with commas between; empty until the
    master has served for the first time. `lock` is where the lock service of several masters is reached."""

    cluster: str
    master: str
    settings: ClusterSettings
    lock: str = ""

    def address_of(self, node: str) -> str:
        """Where a master or the lock service is reached; empty for other nodes, and if it is not known yet."""
        if node == LOCK:
            return self.lock
        return dict(zip(self.settings.master_names(), self.master.split(","), strict=False)).get(node, "")


@dataclass(frozen=True, slots=True)
class ReadyRecord:
    """What a node's program says about itself once it serves."""

    identity: ProcessIdentity
    control_address: str
    bulk_address: str
    metrics_address: str = ""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a program is told. `settings` are the fields of the role's settings class."""

    cluster: str
    node: str
    role: str
    settings: dict[str, Any]
    owner: ProcessIdentity | None = None
    experiments: bool = False

    def to_json(self) -> dict[str, Any]:
        """The configuration file's content."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "NodeConfig":
        """The configuration that `to_json` wrote."""
        owner = values.pop("owner")
        return cls(**values, owner=ProcessIdentity(**owner) if owner else None)


class NodeFolder:
    """One node's part of the cluster's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.config = path / "config.json"
        self.log = path / "log"
        self.events = path / "events.jsonl"
        self.data = path / "data"
        self._ready = path / locate.READY_FILE
        self._failure = path / locate.FAILURE_FILE
        self._spare = path / "spare"

    def prepare(self, config: NodeConfig) -> None:
        """Get the folder ready for another start of the program. Raises NoSpace, DiskFailure."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data.mkdir(mode=0o700, exist_ok=True)
        self._keep_spare()
        self._write_in_spare(self.config, _as_json(config.to_json()))
        self._write_in_spare(self._failure, _failure_record("", "it ended before it served"))
        self.forget_ready()

    def _keep_spare(self) -> None:
        """Take space for the small files of later starts, as long as the disk has enough."""
        with contextlib.suppress(OSError):
            is_whole = self._spare.exists() and self._spare.stat().st_size == SPARE_BYTES
            if not is_whole and shutil.disk_usage(self.path).free > 4 * SPARE_BYTES:
                self._spare.write_bytes(bytes(SPARE_BYTES))

    def _write_in_spare(self, path: Path, content: bytes) -> None:
        """Replace a file, with some of the spare space if there is no other. Raises NoSpace, DiskFailure."""
        while True:
            try:
                with translated("write", str(path)):
                    _replace(path, content)
                return
            except NoSpace:
                left = self._spare.stat().st_size if self._spare.exists() else 0
                if not left:
                    raise
                os.truncate(self._spare, max(0, left - SPARE_PIECE_BYTES))

    def purge(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def read_ready(self) -> ReadyRecord | None:
        """What the program wrote when it began to serve; None if it does not serve, or ended in good order."""
        values = read_json(self._ready)
        if values is None:
            return None
        identity = ProcessIdentity(values["process_id"], values["process_started"])
        metrics = values.get("metrics_address", "")  # An older program serves none.
        return ReadyRecord(identity, values["control_address"], values["bulk_address"], metrics)

    def write_ready(self, record: ReadyRecord) -> None:
        """Say that the program serves."""
        values = {
            "process_id": record.identity.process_id,
            "process_started": record.identity.started,
            "control_address": record.control_address,
            "bulk_address": record.bulk_address,
            "metrics_address": record.metrics_address,
        }
        self._write_in_spare(self._ready, _as_json(values))

    def forget_ready(self) -> None:
        """Take back what `write_ready` said."""
        self._ready.unlink(missing_ok=True)

    def read_failure(self) -> tuple[str, str] | None:
        """Why the program does not serve: the error's kind, empty if it did not say, and a message. None if it served,
        or was asked to end."""
        values = read_json(self._failure)
        return None if values is None else (values["kind"], values["message"])

    def write_failure(self, kind: str, message: str) -> None:
        """Leave the reason for whoever started the program, also where the disk takes nothing new."""
        record = _failure_record(kind, message)
        try:
            _replace(self._failure, record)
        except OSError:
            with contextlib.suppress(OSError), self._failure.open("r+b") as file:
                file.write(record)

    def forget_failure(self) -> None:
        """The program serves, or ends as it was asked to."""
        self._failure.unlink(missing_ok=True)


def _failure_record(kind: str, message: str) -> bytes:
    shortened = message.encode("ascii", errors="backslashreplace").decode()[: FAILURE_BYTES // 2]
    return json.dumps({"kind": kind, "message": shortened}).ljust(FAILURE_BYTES - 1).encode("ascii") + b"\n"


_RECORD_ADVICE = (
    "restore it; or remove it: `tabletop up` writes it anew, by what the cluster's nodes know, and nothing else is lost"
)


class ClusterFolder:
    """The folder of the cluster of this name."""

    def __init__(self, name: str, home: Path | None = None) -> None:
        check_cluster_name(name)
        self.name = name
        # Without symbolic links: a node's processes are also found by the path on their command line.
        self.home = (home or locate.home_folder()).resolve()
        self.path = self.home / name

    def exists(self) -> bool:
        """Whether there is such a cluster, running or not."""
        return self._record.is_file()

    def require(self) -> ClusterRecord:
        """What the cluster is. Raises UnknownCluster and IncompatibleFormat."""
        self.require_exists()
        return self.read_record()

    def require_exists(self) -> None:
        """Raise UnknownCluster, with the clusters that there are, if there is none of this name."""
        if not self.exists():
            others = cluster_names(self.home)
            known = f"there are: {', '.join(others)}" if others else "there are none yet"
            raise UnknownCluster(
                f"no cluster {self.name!r} in {self.home} ({known}); start one with "
                f"`tabletop up --cluster {self.name}`, or name another with --cluster or TABLETOP_CLUSTER"
            )

    def read_record(self) -> ClusterRecord:
        """What cluster.json says. Raises IncompatibleFormat when another version wrote it."""
        values = read_json(self._record, advice=_RECORD_ADVICE) or {}
        found = values.get("format")
        if found != locate.FORMAT:
            raise IncompatibleFormat(
                f"{self._record} is of format {found!r}, this version of Tabletop reads format {locate.FORMAT}: "
                f"use the version that made the cluster, or remove {self.path} and start it anew"
            )
        settings = ClusterSettings.from_json(values["settings"])
        return ClusterRecord(values["cluster"], values["master"], settings, values.get("lock", ""))

    def write_record(self, record: ClusterRecord) -> None:
        """Create or replace cluster.json, unless it says so already: its disk may have no room for another one."""
        values = {
            "format": locate.FORMAT,
            "cluster": record.cluster,
            "master": record.master,
            **({"lock": record.lock} if record.lock else {}),
            "settings": record.settings.to_json(),
        }
        if not self.exists() or self._record.read_bytes() != _as_json(values):
            write_json(self._record, values)

    def draw_token(self) -> None:
        """Give the cluster a secret, unless it has one."""
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self.path / locate.TOKEN_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(16) + "\n")

    def token(self) -> str:
        """The cluster's secret. Raises Unauthenticated if it is missing, or not the caller's to read."""
        return locate.read_token(self.path, self.name)

    def node(self, name: str) -> NodeFolder:
        """The part of one node, which need not exist yet."""
        return NodeFolder(self.path / locate.NODES_FOLDER / name)

    def node_folders(self) -> list[NodeFolder]:
        """The parts of all nodes that were ever started."""
        return [NodeFolder(path.parent) for path in sorted(self.path.glob(f"{locate.NODES_FOLDER}/*/config.json"))]

    def has_nodes(self) -> bool:
        """Whether there is a node of the cluster, with its data: also if cluster.json is lost."""
        return any(self.path.glob(f"{locate.NODES_FOLDER}/*"))

    def record_of_nodes(self) -> ClusterRecord | None:
        """What cluster.json said, if it is lost, by what the nodes were told of it; None if they were not.

        Raises IncompatibleFormat for a damaged configuration of a node."""
        found = [values for folder in self.node_folders() if (values := read_json(folder.config)) is not None]
        configs = [NodeConfig.from_json(values) for values in found]
        master = next((config for config in configs if config.node == MASTER), None)
        servers = [config for config in configs if role_of(config.node) == CHUNKSERVER_ROLE]
        if master is None or not servers:
            return None
        told = master.settings
        masters = [entry.partition("=")[2] for entry in told.get("masters", "").split(",") if entry]
        numbers = {int(config.node.removeprefix("cs")) for config in servers}
        servers.sort(key=lambda config: int(config.node.removeprefix("cs")))
        places = [Place(config.settings.get("data_centre", ""), config.settings.get("rack", "")) for config in servers]
        settings = ClusterSettings(
            chunkservers=len(servers),
            replicas=told["replication_goal"],
            chunk_bytes=told["chunk_bytes"],
            lease_seconds=told["lease_seconds"],
            heartbeat_seconds=told["heartbeat_seconds"],
            durability=servers[0].settings["durability"],
            trash_seconds=told["trash_grace_seconds"],
            masters=len(masters) or 1,
            topology=topology_of(places),
            placement=told.get("placement", PAPER),
            clone_bytes_per_second=told.get("clone_bytes_per_second", 0),
            experiments=master.experiments,
            removed=",".join(f"cs{number}" for number in range(1, max(numbers)) if number not in numbers),
        )
        address = ",".join(masters) or told["control_address"]
        return ClusterRecord(master.cluster, address, settings, told.get("lock_service", ""))

    def forget_record(self) -> None:
        """Remove cluster.json, and nothing else."""
        self._record.unlink(missing_ok=True)

    def purge(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def locked(self, *, patience_seconds: float = LOCK_PATIENCE_SECONDS) -> AsyncIterator[None]:
        """Hold the folder, created if need be, against other commands. Raises Conflict after waiting in vain."""
        descriptor = await self._lock(patience_seconds)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self.path.rmdir()  # Only if nothing was put into it; while it is still held.
            os.close(descriptor)

    async def _lock(self, patience_seconds: float) -> int:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_seconds
        while True:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                descriptor = os.open(self.path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._leads_to(descriptor):
                    return descriptor
            except BlockingIOError:
                if loop.time() > deadline:
                    os.close(descriptor)
                    raise Conflict(
                        f"another command has been working on cluster {self.name!r} for more than "
                        f"{patience_seconds:.0f} seconds; wait for it or end it, then try again"
                    ) from None
            os.close(descriptor)
            await asyncio.sleep(0.05)

    def _leads_to(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    @property
    def _record(self) -> Path:
        return self.path / locate.CONTACT_FILE


def cluster_names(home: Path | None = None) -> list[str]:
    """The clusters that have a folder, sorted."""
    home = home or locate.home_folder()
    return sorted(path.parent.name for path in home.glob("*/cluster.json"))


def read_json(path: Path, *, advice: str = "if you did not change it, remove it") -> dict[str, Any] | None:
    """A JSON object from a file; None if there is no such file. Raises IncompatibleFormat for anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise IncompatibleFormat(f"{path} is not a JSON object: {error}; {advice}") from error
    if not isinstance(values, dict):
        raise IncompatibleFormat(f"{path} is not a JSON object; {advice}")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON object so that a reader finds either the old file or the whole new one.

    Raises NoSpace, DiskFailure."""
    with translated("write", str(path)):
        _replace(path, _as_json(values))


def _as_json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds either the old one or the whole new one."""
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_bytes(content)
        with beside.open("rb") as file:
            os.fsync(file.fileno())  # Otherwise a loss of power may leave an empty file under the name.
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
