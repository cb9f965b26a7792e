"""A node's world in a cluster that was started for experiments: what is imposed, and who is reached where.

Both are read from the cluster's folder. The program of a node imports this module only if its cluster is such a one.
"""

import time
from pathlib import Path

from cluster.folder import ClusterFolder, NodeConfig, NodeFolder
from cluster.imposed_file import ImposedFile
from cluster.real_rules import rules_for
from runtime.errors import TabletopError
from runtime.events import Sink
from runtime.faults.table import Rule
from runtime.guard import Observer
from runtime.real.experiments.world import ExperimentalWorld

UNKNOWN = "?"
_FRESH_SECONDS = 1.0


def experimental_world(
    config: NodeConfig, folder: NodeFolder, token: str, sink: Sink, observer: Observer
) -> ExperimentalWorld:
    """The world of one node."""
    cluster = folder.path.parent.parent
    return ExperimentalWorld(
        node=config.node,
        folder=folder.path,
        token=token,
        sink=sink,
        observer=observer,
        read_rules=ImposedRules(ImposedFile(cluster), config.node).read,
        name_of=NodeNames(ClusterFolder(cluster.name, cluster.parent)).name_of,
    )


class ImposedRules:
    """The rules of one node, read again when the file has changed."""

    def __init__(self, file: ImposedFile, node: str) -> None:
        self._file = file
        self._node = node
        self._seen: tuple[int, int] | None = None
        self._rules: list[Rule] = []

    def read(self) -> list[Rule]:
        """What this node has to carry out now. A file that cannot be read changes nothing."""
        found = _identity(self._file.path)
        if found != self._seen:
            try:
                self._rules = rules_for(self._node, self._file.read().faults)
                self._seen = found
            except TabletopError:  # It is damaged, or gone: whoever changes it next is told.
                return self._rules
        return self._rules


def _identity(path: Path) -> tuple[int, int]:
    """Changes whenever the file is replaced."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


class NodeNames:
    """Which node is reached at an address, by what the nodes say when they serve."""

    def __init__(self, folder: ClusterFolder) -> None:
        self._folder = folder
        self._names: dict[str, str] = {}
        self._looked_at = 0.0

    def name_of(self, address: str) -> str:
        """The node's name, or `UNKNOWN`. An address that is not known yet is looked for again, once a second."""
        found = self._names.get(address)
        if found is None and time.monotonic() - self._looked_at > _FRESH_SECONDS:
            self._look()
            found = self._names.get(address)
        return found or UNKNOWN

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        names: dict[str, str] = {}
        for folder in self._folder.node_folders():
            ready = folder.read_ready()
            if ready is not None:
                names |= {ready.control_address: folder.name, ready.bulk_address: folder.name}
        record = self._folder.read_record()
        for name in record.settings.node_names():
            if address := record.address_of(name):
                names[address] = name
        names.pop("", None)
        self._names = names
