"""What the clients of a torture run do, if they work on files: from their making to the judgement."""

from collections.abc import Sequence

from cluster.real import RealCluster
from cluster.torture.history import History
from cluster.torture.judging import Counted, Judge
from cluster.torture.records import RECORDS
from cluster.torture.trouble import Trouble
from cluster.torture.workload import SHARED, Worker
from gfs.client import Client
from gfs.settings import ClientSettings
from runtime.events import Record
from runtime.world import World

# Every second client gives up before the faults are over, so that changes are left in doubt.
IMPATIENT = ClientSettings(
    call_seconds=1.0,
    read_seconds=1.0,
    push_seconds=2.0,
    write_seconds=2.0,
    patience_seconds=2.0,
    write_patience_seconds=4.0,
)


class FileWork:
    """The clients, one in each world."""

    compared = "byte"

    def __init__(self, cluster: RealCluster, worlds: Sequence[World], seed: int, history: History) -> None:
        self._cluster = cluster
        self._seed = seed
        self._history = history
        master, settings = cluster.folder.require().master, (ClientSettings(), IMPATIENT)
        self.workers = [
            Worker(
                world.node,
                Client(world, master, settings[number % len(settings)]),
                f"{seed}-{world.node}",
                cluster.settings.chunk_bytes,
                history,
            )
            for number, world in enumerate(worlds)
        ]

    async def prepare(self) -> None:
        """Make what all of them use."""
        for directory in SHARED:
            await self.workers[0].client.make_directory(directory)
        await self.workers[0].client.create(RECORDS)
        for worker in self.workers:
            await worker.prepare()

    def trouble(self) -> Trouble:
        """The faults of the run."""
        return Trouble(self._cluster, self._files, f"{self._seed}-faults", self._history)

    async def judge(self, client_records: Sequence[Record]) -> Counted:
        """Compare everything."""
        return await Judge(self._cluster, self.workers, self._history).judge(client_records)

    async def close(self) -> None:
        """Let go of the connections."""
        for worker in self.workers:
            await worker.client.close()

    async def _files(self) -> list[tuple[str, int]]:
        return [
            (path, contents.length)
            for worker in self.workers
            for path, contents in sorted(worker.names.files.items())
            if contents.length
        ]
