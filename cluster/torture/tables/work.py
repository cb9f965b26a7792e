"""What the clients of a torture run do, if they work on tables: from their making to the judgement."""

from collections.abc import Sequence

from cluster.real import RealCluster
from cluster.swarm.tables.history import History as Operations
from cluster.swarm.tables.player import TABLE, row_key
from cluster.torture.history import History
from cluster.torture.judging import Counted
from cluster.torture.tables.judging import TableJudge
from cluster.torture.tables.trouble import TableTrouble
from cluster.torture.tables.workload import PLACES, ROWS_OF_A_PLACE, TableWorker
from gfs.client import Client
from runtime.errors import TabletopError
from runtime.events import Record
from runtime.world import World
from tablet.client.client import TableClient
from tablet.client.settings import TableClientSettings
from tablet.engine.model.schema import Family, MaxVersions, Schema
from tablet.location.places import GfsPaths

TABLETS = 4  # at the beginning
# Every second client gives up before the faults are over, so that changes are left in doubt.
IMPATIENT = TableClientSettings(call_seconds=1.0, patience_seconds=4.0)
_SCHEMA = Schema().with_family(Family("f", MaxVersions(2)))


class TableWork:
    """The clients, one in each world."""

    compared = "row"

    def __init__(self, cluster: RealCluster, worlds: Sequence[World], seed: int, history: History) -> None:
        self._cluster = cluster
        self._seed = seed
        self._history = history
        record, settings = cluster.folder.require(), (TableClientSettings(), IMPATIENT)
        operations = Operations()
        self.workers = [
            TableWorker(
                world.node,
                TableClient(world, record.lock, settings[number % len(settings)]),
                f"{seed}-{world.node}",
                operations,
                history,
            )
            for number, world in enumerate(worlds)
        ]
        self._client = Client(worlds[0], record.master)

    async def prepare(self) -> None:
        """Make the table."""
        bounds = [row_key(PLACES * number // TABLETS * ROWS_OF_A_PLACE) for number in range(1, TABLETS)]
        await self.workers[0].tables.create_table(TABLE, _SCHEMA, bounds)

    def trouble(self) -> TableTrouble:
        """The faults of the run."""
        return TableTrouble(self._cluster, self._files, f"{self._seed}-faults", self._history)

    async def judge(self, client_records: Sequence[Record]) -> Counted:
        """Read everything."""
        judge = TableJudge(self._cluster, self.workers, self._client, self._history)
        await judge.judge()
        return Counted(rows=judge.rows, tablets=judge.tablets)

    async def close(self) -> None:
        """Let go of the connections."""
        for worker in self.workers:
            await worker.tables.close()
        await self._client.close()

    async def _files(self) -> list[tuple[str, int]]:
        try:
            entries = await self._client.list(GfsPaths().root, recursive=True)
        except TabletopError:
            return []  # The master does not answer.
        return [(entry.path, entry.length) for entry in entries if not entry.is_directory and entry.length]
