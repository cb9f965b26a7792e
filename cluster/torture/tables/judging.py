"""The end of a torture run on tables: everything is healed, everything is read, and at last nothing is left.

In this order, and each step is a claim that can fail:

1. Every node that was left alone still runs, and the file system is at its goals again (`torture/resting.py`).
2. Every tablet is served within `SERVED_SECONDS`, no split is half done, and METADATA has each row in one tablet.
3. Every row can be read, and a row can be written; one scan of the whole table has each row once, in order, and no
   other row.
4. For each row there is an order of all operations that explains every answer: nothing acknowledged is lost.
5. No log of a dead server is left, and the living have one each.
6. The table is deleted, and no file of it is left.
7. No node recorded a background task that failed.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from cluster.interface import wait_until
from cluster.real import RealCluster
from cluster.swarm.history import Answer
from cluster.swarm.tables.judging import judge_cover, judge_rows
from cluster.swarm.tables.plan import Kind, PlannedOperation
from cluster.swarm.tables.player import TABLE, row_key
from cluster.torture.history import History
from cluster.torture.resting import AtRest
from cluster.torture.tables.workload import PLACES, ROWS_OF_A_PLACE, TableWorker, turn_of
from gfs.client import Client
from runtime.errors import NotFound, TabletopError, TimedOut
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.client import TableClient
from tablet.engine.model.filters import LATEST
from tablet.location.places import METADATA, GfsPaths

SERVED_SECONDS = 120.0
JUDGE = "judge"


class TableJudge:
    """Looks at a cluster with tables after its run. `client` is for the files of the tables."""

    def __init__(self, cluster: RealCluster, workers: Sequence[TableWorker], client: Client, history: History) -> None:
        self._cluster = cluster
        self._tables = workers[0].tables
        self._operations = workers[0].operations
        self._client = client
        self._history = history
        self._paths = GfsPaths()
        self.rows = self.tablets = 0

    async def judge(self) -> None:
        """Go through all claims; what does not hold becomes a violation."""
        rest = AtRest(self._cluster, self._history)
        await rest.nodes_run()
        await rest.at_goals()
        if await self._served():
            await self._cover()
            await self._rows()
            self._orders()
            await self._logs()
            await self._deleted()
        rest.no_task_failed()

    async def _served(self) -> bool:
        last = ""

        async def served() -> bool:
            nonlocal last
            try:
                status = await self._tables.status()
                half = [place.tablet for place in status.tablets if place.HasField("lower_half")]
            except TabletopError as error:
                last = error.message
                return False
            last = f"nobody serves {', '.join(status.waiting)}; half split: {', '.join(half) or 'none'}"
            is_complete = len(status.servers) == self._cluster.settings.tablet_servers
            return is_complete and bool(status.tablets) and not status.waiting and not half

        return await self._in_time(served, "every tablet is served", lambda: last)

    async def _in_time(self, condition: Callable[[], Awaitable[bool]], what: str, why: Callable[[], str]) -> bool:
        try:
            await wait_until(condition, what=what, timeout_seconds=SERVED_SECONDS, poll_seconds=0.5)
            return True
        except TimedOut:
            self._history.violation(
                f"{SERVED_SECONDS:g} seconds after the last fault it does not hold: {what}; {why()}"
            )
            return False

    async def _cover(self) -> None:
        for table in (METADATA, TABLE):
            try:
                places = await places_of(self._tables, table)
            except TabletopError as error:
                self._history.violation(f"METADATA cannot be read though no fault is left: {error.message}")
                return
            self.tablets += len(places)
            for verdict in judge_cover(table, places):
                self._history.violation(verdict.text)

    async def _rows(self) -> None:
        judge = TableWorker(JUDGE, self._tables, JUDGE, self._operations, self._history)
        turns = turn_of(self._operations) + 1
        wanted = [PlannedOperation(JUDGE, 0.0, Kind.SCAN, place * ROWS_OF_A_PLACE, turns) for place in range(PLACES)]
        for planned in (*wanted, PlannedOperation(JUDGE, 0.0, Kind.PUT), PlannedOperation(JUDGE, 0.0, Kind.READ)):
            for one in await judge.do(planned):
                if one.answer is not Answer.VALUE:
                    self._history.violation(f"though no fault is left: {one.told()}")
        known = {row_key(one.row) for one in self._operations.operations}
        keys: list[bytes] = []
        try:
            async for key, _ in self._tables.scan(TABLE, wanted=LATEST):
                keys.append(key)
        except TabletopError as error:
            self._history.violation(f"the table cannot be scanned though no fault is left: {error.message}")
        self.rows = len(keys)
        if keys != sorted(set(keys)):
            self._history.violation(f"one scan of the whole table has rows twice, or out of order: {keys}")
        if surplus := sorted(set(keys) - known):
            self._history.violation(f"one scan of the whole table has rows that nobody wrote: {surplus}")

    def _orders(self) -> None:
        verdicts, is_undecided = judge_rows(self._operations, PLACES * ROWS_OF_A_PLACE)
        for verdict in verdicts:
            self._history.violation(verdict.text)
        if is_undecided:
            self._history.remark("The history of some row has too many orders to try; it is not judged.")

    # What is left.

    async def _logs(self) -> None:
        last = ""

        async def tidy() -> bool:
            nonlocal last
            try:
                alive = set((await self._tables.status()).servers)
                left = [path for path in await self._log_folders() if path.rpartition("/")[2] not in alive]
            except TabletopError as error:
                last = error.message
                return False
            last = f"left are {', '.join(left)}"
            return not left

        await self._in_time(tidy, "no log of a dead server is left", lambda: last)

    async def _log_folders(self) -> list[str]:
        paths = self._paths
        folders = (paths.logs, paths.closing, paths.closed, paths.sorting, paths.sorted)
        return [entry.path for folder in folders for entry in await self._client.list(folder)]

    async def _deleted(self) -> None:
        """Delete the table, again if it is in doubt whether it is; the tablet master sweeps its files (BT 6)."""
        last = ""

        async def swept() -> bool:
            nonlocal last
            try:
                with suppress(NotFound):
                    await self._tables.delete_table(TABLE)
                folders = [entry.path for entry in await self._client.list(self._paths.data)]
            except TabletopError as error:
                last = error.message
                return False
            left = [path for path in folders if not path.startswith(f"{self._paths.data}/{METADATA}-")]
            last = f"left are {', '.join(left)}"
            return not left

        await self._in_time(swept, "the table is deleted, and no file of it is left", lambda: last)


async def places_of(tables: TableClient, table: str) -> list[TabletPlace]:
    """The tablets of a table in order, with the root tablet."""
    root = [await tables.locator.place_of(METADATA, b"0")] if table == METADATA else []
    return [*root, *await tables.tablets(table)]
